/* GPT-2's pre-tokenizer: text is cut into pre-tokens, and no token crosses from one to the next. */
#ifndef COT_DATA_TOKENIZERS_PRETOKENIZER_H
#define COT_DATA_TOKENIZERS_PRETOKENIZER_H

#include <stddef.h>

/* The length in bytes of the first pre-token of `text` (length >= 1, any bytes). What follows is cut on its own; the
 * end of `text` counts as the end of everything. */
size_t cot_pretoken_length(const char *text, size_t length);

#endif
