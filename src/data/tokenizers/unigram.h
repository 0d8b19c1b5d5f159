/* Cutting a piece of text into the tokens that are most probable together. */
#ifndef COT_DATA_TOKENIZERS_UNIGRAM_H
#define COT_DATA_TOKENIZERS_UNIGRAM_H

#include <coterie/tokenizer.h>

/* The best way to the end of a piece's first bytes. */
typedef struct {
    double  score;
    int32_t id;
    int32_t length;  /* of the last token; 0: no way leads here */
} cot_path;

typedef struct {
    cot_path *paths;
    size_t    capacity;
} cot_unigram_room;  /* all zero to begin with */

/* Encodes one piece.
 *
 *   ids   [length] out, of which *count are used
 *
 * Errors   COT_INVALID for 2^31 bytes and more; COT_OUT_OF_MEMORY. */
cot_status cot_unigram_encode(const cot_tokenizer *tokenizer, cot_unigram_room *room, const char *text, size_t length,
                              int32_t *ids, size_t *count);

#endif
