/* Added tokens: they are looked for in the text, before it is cut into pieces. */
#ifndef COT_DATA_TOKENIZERS_ADDED_H
#define COT_DATA_TOKENIZERS_ADDED_H

#include "data/tokenizers/trie.h"

#include <coterie/tokenizer.h>

typedef struct {
    cot_trie trie;         /* of what is looked for; values are ids */
    size_t   count;
    bool     all_special;
} cot_added_set;

/* The set of the added tokens that have, or have not, the flag COT_TOKEN_NORMALIZED. */
cot_status cot_added_set_make(const cot_tokenizer *tokenizer, uint8_t normalized, cot_added_set *out);

typedef struct {
    int32_t id;
    size_t  start, end;  /* what of the text it takes */
    size_t  next;        /* where to look for the next one */
} cot_added_match;

/* The first added token at or behind `from`: of those that begin at a place, the longest; false when there is none.
 *
 *   taken   where the text that no token has taken yet begins: white space before it is not taken again */
bool cot_added_find(const cot_tokenizer *tokenizer, const cot_added_set *set, const char *text, size_t length,
                    size_t from, size_t taken, bool allow_special, cot_added_match *out);

#endif
