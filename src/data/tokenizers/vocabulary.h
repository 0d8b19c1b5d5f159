/* A tokenizer's content: keys and merges, and the tables that are derived from them. */
#ifndef COT_DATA_TOKENIZERS_VOCABULARY_H
#define COT_DATA_TOKENIZERS_VOCABULARY_H

#include <coterie/tokenizer.h>

#include "data/tokenizers/byte_table.h"

#define COT_END_OF_TEXT "<|endoftext|>"

enum { COT_TOKEN_ADDED = 1, COT_TOKEN_SPECIAL = 2, COT_TOKEN_NORMALIZED = 4 };

/* Two neighbouring tokens become one; a merge's place in its list is its rank, the lowest goes first. */
typedef struct {
    int32_t left, right, id;
} cot_merge;

typedef struct {
    uint64_t pair;
    int32_t  rank;  /* COT_NO_MERGE in a free slot */
    int32_t  id;
} cot_merge_slot;

enum { COT_NO_MERGE = INT32_MAX };

typedef struct {
    const char *bytes;
    size_t      length;
    int32_t     id;
} cot_added_token;

/* Added tokens, which are looked for in the text as they stand, before any pre-tokens are cut. */
typedef struct {
    cot_added_token *tokens;      /* by first byte, then the longest first */
    uint32_t         first[257];  /* where each first byte's tokens begin */
    bool             all_special;
} cot_added_set;

struct cot_tokenizer {
    /* Filled by whoever makes one; cot_vocabulary_finish() does the rest. */
    cot_byte_table keys;   /* number = id. An added token's key is its text, any other's is in the byte alphabet. */
    uint8_t       *flags;  /* [vocab size] COT_TOKEN_* */
    cot_merge     *merges;
    int32_t        merge_count;

    char           *bytes;   /* what the tokens stand for, back to back, a NUL behind each */
    size_t         *starts;  /* [vocab size + 1] */
    int32_t         byte_ids[256];  /* -1 where there is none: only bytes that UTF-8 does not use */
    cot_merge_slot *slots;   /* open addressing, at most half of them taken */
    uint32_t        slot_shift;
    cot_added_set   added[2];  /* Hugging Face's order: first those that no normalizer may touch, then the others */
    uint64_t        fingerprint;
};

/* Derives tables and checks that they fit together. `name` is where the content came from, for messages. */
cot_status cot_vocabulary_finish(cot_tokenizer *tokenizer, const char *name);

/* Reads the text of a tokenizer.json; `name` stands for the file in messages. */
cot_status cot_tokenizer_parse(const char *text, size_t length, const char *name, cot_tokenizer **out);

static inline uint64_t cot_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* 64 - shift bits. */
static inline size_t cot_pair_hash(uint64_t pair, uint32_t shift)
{
    return (size_t)(pair * 0x9e3779b97f4a7c15u >> shift);
}

/* The merge of two tokens; its rank is COT_NO_MERGE when they do not merge. */
static inline const cot_merge_slot *cot_find_merge(const cot_tokenizer *tokenizer, int32_t left, int32_t right)
{
    const uint64_t pair = cot_pair(left, right);
    const size_t   mask = SIZE_MAX >> tokenizer->slot_shift;
    size_t         i = cot_pair_hash(pair, tokenizer->slot_shift);
    while (tokenizer->slots[i].rank != COT_NO_MERGE && tokenizer->slots[i].pair != pair) i = (i + 1) & mask;
    return &tokenizer->slots[i];
}

#endif
