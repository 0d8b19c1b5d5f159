/* The sections of a tokenizer.json around its model, and what their readers share. */
#ifndef COT_DATA_TOKENIZERS_SECTION_H
#define COT_DATA_TOKENIZERS_SECTION_H

#include <coterie/tokenizer.h>

#include "data/tokenizers/pattern.h"
#include "formats/json.h"

/* Reads the sections normalizer, pre_tokenizer, post_processor and decoder into the tokenizer, which keeps their text
 * for saving. Tokens must be known before. Errors: COT_FORMAT for what would change ids or text and is not
 * understood. */
cot_status cot_sections_read(cot_tokenizer *tokenizer, const json_t *root, const char *name);

/* The type of a section, which `where` names. Errors: COT_FORMAT when it has none. */
cot_status cot_section_type(const json_t *section, const char *where, const char *name, const char **type);

/* A setting that is true or false; `fallback` where it is absent or null. */
cot_status cot_section_flag(const json_t *section, const char *key, bool fallback, const char *where, const char *name,
                            bool *out);

/* Reads {"Regex": PATTERN} or {"String": TEXT}. */
cot_status cot_section_pattern(const json_t *section, const char *where, const char *name, cot_pattern *out);

#endif
