/* Base64, in which tokenizer.json holds maps of characters. */
#ifndef COT_DATA_TOKENIZERS_BASE64_H
#define COT_DATA_TOKENIZERS_BASE64_H

#include <stddef.h>

/* Free the result with cot_free(); NULL when memory is short. */
char *cot_base64_encode(const char *bytes, size_t length);

/* The same; NULL also for a text that is no base64. *length: bytes of the result. */
char *cot_base64_decode(const char *text, size_t *length);

#endif
