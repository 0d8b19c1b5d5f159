/* What a recipe's `data:` block may say: the kinds of data and their options. */
#ifndef COT_DATA_DATA_OPTIONS_H
#define COT_DATA_DATA_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/family.h"

typedef enum { COT_INVALID_REFUSE, COT_INVALID_REPLACE } cot_invalid_rule;

typedef struct {
    bool              random;  /* kind: random */
    char             *path, *valid_path;  /* NULL = none */
    char             *text_field;
    char             *cache_dir;  /* NULL = the user's */
    double            validation_fraction;
    int32_t           invalid;  /* cot_invalid_rule */
    int64_t           context;
    bool              document_restart;
    const cot_config *tokenizer;  /* for whoever makes the tokenizer */
    int64_t           vocab_size;
} cot_data_options;

/* Members of the family "data": text (the default) and random. */
const cot_member *cot_data_kind_at(size_t index);

cot_status cot_data_options_read(const cot_config *data, cot_data_options *out);
void       cot_data_options_release(cot_data_options *options);

#endif
