/* What a token's text in the file becomes in a decoded text, and what is put around an encoded one. */
#ifndef COT_DATA_TOKENIZERS_DECODER_H
#define COT_DATA_TOKENIZERS_DECODER_H

#include <stdbool.h>

#include <jansson.h>

#include <coterie/tokenizer.h>

/* Spaces that the first token of a text loses. */
typedef enum { COT_STRIP_NOTHING, COT_STRIP_ONE, COT_STRIP_ALL } cot_strip;

typedef struct {
    bool      byte_level;     /* tokens are written in the byte alphabet */
    bool      byte_fallback;  /* "<0x41>" is a byte */
    char     *find, *content; /* one is written for the other; NULL: nothing is */
    char     *unknown;        /* what the unknown token becomes; NULL: its text */
    cot_strip strip;
} cot_decoder;

/* Reads a `decoder` section. */
cot_status cot_decoder_read(cot_decoder *decoder, const json_t *section, const char *name);
void       cot_decoder_release(cot_decoder *decoder);

/* Reads a `post_processor` section: the ids of the tokens that it puts before and behind a text, -1 for none. */
cot_status cot_post_processor_read(const json_t *section, int32_t vocab_size, const char *name, int32_t *start,
                                   int32_t *stop);

/* The byte that a text like "<0x41>" stands for; -1 when it is no such text. */
int cot_fallback_byte(const char *text, size_t length);

#endif
