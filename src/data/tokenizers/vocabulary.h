/* A tokenizer's content: keys and merges or scores, how texts are prepared and cut, and the tables that are derived. */
#ifndef COT_DATA_TOKENIZERS_VOCABULARY_H
#define COT_DATA_TOKENIZERS_VOCABULARY_H

#include <coterie/tokenizer.h>

#include "data/tokenizers/added.h"
#include "data/tokenizers/byte_table.h"
#include "data/tokenizers/decoder.h"
#include "data/tokenizers/normalizer.h"
#include "data/tokenizers/splitter.h"

#define COT_END_OF_TEXT "<|endoftext|>"

enum {
    COT_TOKEN_ADDED = 1,        /* looked for in the text before it is cut */
    COT_TOKEN_SPECIAL = 2,
    COT_TOKEN_NORMALIZED = 4,   /* looked for in the normalized text */
    COT_TOKEN_SINGLE_WORD = 8,  /* only where no letter touches it */
    COT_TOKEN_LSTRIP = 16,      /* takes the white space before it along */
    COT_TOKEN_RSTRIP = 32,
};

/* Two neighbouring tokens become one; the lowest rank goes first, the leftmost of equal ones. */
typedef struct {
    int32_t left, right, id, rank;
} cot_merge;

typedef struct {
    uint64_t pair;
    int32_t  rank;  /* COT_NO_MERGE in a free slot */
    int32_t  id;
} cot_merge_slot;

enum { COT_NO_MERGE = INT32_MAX };

typedef enum { COT_MODEL_BPE, COT_MODEL_UNIGRAM } cot_model_kind;

/* A section of tokenizer.json that is kept as it was read, in compact JSON. */
typedef enum {
    COT_SECTION_NORMALIZER,
    COT_SECTION_PRE_TOKENIZER,
    COT_SECTION_POST_PROCESSOR,
    COT_SECTION_DECODER,
    COT_SECTIONS
} cot_section;

extern const char *const cot_section_names[COT_SECTIONS];

struct cot_tokenizer {
    /* Filled by whoever makes one; cot_vocabulary_finish() does the rest. */
    cot_byte_table keys;    /* number = id. An added token's key is its text, any other's is in the model's alphabet:
                               the byte alphabet, or text with U+2581 for spaces. */
    uint8_t       *flags;   /* [vocab size] COT_TOKEN_* */
    cot_model_kind kind;
    cot_merge     *merges;  /* BPE: ranks rise */
    int32_t        merge_count;
    double        *scores;  /* [vocab size] unigram: natural logarithms of probabilities */
    bool           sentencepiece;  /* read from such a model: its arithmetic, its way with symbols of users */
    bool           byte_fallback;  /* characters without a token become the tokens of their bytes, "<0x41>" */
    bool           fuse_unknown;   /* neighbouring unknown characters become one token */
    bool           ignore_merges;  /* a piece that is a token is not merged step by step */
    int32_t        unknown;        /* -1: unknown characters vanish */
    int32_t        start, stop;    /* put around a text for the model; -1: nothing is */
    int32_t        end_of_text;    /* -1: to be found among the special tokens */
    char          *sections[COT_SECTIONS];  /* NULL: null */
    cot_normalizer normalizer;
    cot_splitter   splitter;
    cot_decoder    decoder;

    char           *bytes;   /* what the tokens stand for, back to back, a NUL behind each */
    size_t         *starts;  /* [vocab size + 1] */
    int32_t         byte_ids[256];      /* tokens of single bytes (of ASCII alone without the byte alphabet), or -1 */
    int32_t         fallback_ids[256];  /* the tokens "<0x00>" to "<0xFF>", or -1 */
    cot_merge_slot *slots;   /* open addressing, at most half of them taken */
    uint32_t        slot_shift;
    uint64_t       *joints;  /* pairs of characters that a merge may join across, the same way; NULL: any pair */
    uint32_t        joint_shift;
    uint64_t        ascii_joints[128][2];  /* for pairs of ASCII characters: a bit for each second one */
    cot_trie        trie;    /* unigram: all tokens that a text may be cut into */
    double          unknown_score;
    cot_added_set   added[2];  /* Hugging Face's order: first those that no normalizer may touch, then the others */
    uint64_t        fingerprint;
};

cot_tokenizer *cot_vocabulary_create(void);  /* without content; NULL when memory is short */

/* Derives tables and checks that they fit together. `name` is where the content came from, for messages. */
cot_status cot_vocabulary_finish(cot_tokenizer *tokenizer, const char *name);

/* Reads the text of a tokenizer.json; `name` stands for the file in messages. */
cot_status cot_tokenizer_parse(const char *text, size_t length, const char *name, cot_tokenizer **out);

/* Reads the bytes of a SentencePiece model. */
cot_status cot_sentencepiece_parse(const char *bytes, size_t length, const char *name, cot_tokenizer **out);

/* The name of the tokenizer's file that cot_tokenizer_load() would read from this folder; NULL when there is none. */
const char *cot_tokenizer_file_in(const char *folder);

static inline const char *cot_tokenizer_key(const cot_tokenizer *tokenizer, int32_t id, size_t *length)
{
    return cot_byte_table_at(&tokenizer->keys, (uint32_t)id, length);
}

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

/* May a merge join two neighbouring characters? Where none may, a text can be cut without changing its tokens. */
static inline bool cot_may_join(const cot_tokenizer *tokenizer, int32_t left, int32_t right)
{
    if (!tokenizer->joints) return true;
    if ((uint32_t)left < 0x80 && (uint32_t)right < 0x80)
        return tokenizer->ascii_joints[left][right >> 6] >> (right & 63) & 1;
    const uint64_t pair = cot_pair(left, right);
    const size_t   mask = SIZE_MAX >> tokenizer->joint_shift;
    size_t         i = cot_pair_hash(pair, tokenizer->joint_shift);
    while (tokenizer->joints[i] && tokenizer->joints[i] != pair) i = (i + 1) & mask;
    return tokenizer->joints[i];
}

#endif
