/* Model cards from and to the keys of a family's config.json. */
#ifndef COT_FORMATS_CARD_JSON_H
#define COT_FORMATS_CARD_JSON_H

#include <jansson.h>

#include "formats/dialects/dialect.h"

/* Adds the family's keys to `root`, for transformers 4 (`rope_theta`, `torch_dtype`) and 5 (`rope_parameters`,
 * `dtype`) alike. */
cot_status cot_card_to_json(const cot_dialect *dialect, const cot_model_card *card, json_t *root);

/* Reads the keys; absent ones take the family's defaults, keys that nobody knows are passed over. Sizes are checked
 * one by one and against each other. `file` names it in messages. card->model stays NULL.
 * Errors: COT_FORMAT naming file and key, also for what the family has and we do not. */
cot_status cot_card_from_json(const cot_dialect *dialect, const json_t *root, const char *file, cot_model_card *card);

/* Are both the same model, as the family's keys tell it? What only training and sampling look at does not count. */
cot_status cot_cards_agree(const cot_dialect *dialect, const cot_model_card *a, const cot_model_card *b, bool *agree);

/* Reads the ids of tokens that end a text. Errors: COT_FORMAT naming file and key. */
cot_status cot_card_eos_from_json(const json_t *root, const char *file, cot_text_ids *ids);

/* Adds the ids of tokens that begin, end and fill a text, as far as there are any: a generation_config.json. */
cot_status cot_card_ids_to_json(const cot_model_card *card, json_t *root);

#endif
