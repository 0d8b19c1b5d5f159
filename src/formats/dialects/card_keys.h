/* Tables of keys applied to JSON maps: the part of card_json.c that knows each kind of key. */
#ifndef COT_FORMATS_CARD_KEYS_H
#define COT_FORMATS_CARD_KEYS_H

#include <jansson.h>

#include "formats/dialects/dialect.h"

/* For messages. */
typedef struct {
    const char *file;
    const char *model_type;
} cot_json_place;

/* Adds the keys to the map. False when memory is short. */
bool       cot_keys_put(const cot_dialect_key *keys, const cot_model_card *card, json_t *root);
cot_status cot_keys_read(const cot_json_place *at, const cot_dialect_key *keys, const json_t *root,
                         cot_model_card *card);
cot_status cot_keys_no_memory(void);

/* Rotary positions: `rope_theta` and `rope_parameters`, and `rope_scaling` for transformers 4 where they are scaled.
 * Reading takes the newer map first, then the older pair. */
bool       cot_rope_put(const cot_model_card *card, json_t *root);
cot_status cot_rope_read(const cot_json_place *at, const json_t *root, double absent_theta, cot_model_card *card);
/* The map of what scales them, also in a recipe's words; NULL when memory is short. */
json_t    *cot_rope_json(const cot_model_card *card);

/* "'FILE': KEY is a string, expected WHAT". */
cot_status cot_json_expected(const cot_json_place *at, const char *key, const json_t *value, const char *what);
/* A whole number from `least` to 2^31 - 1. */
cot_status cot_json_int(const cot_json_place *at, const char *key, const json_t *value, double least, int64_t *out);

#endif
