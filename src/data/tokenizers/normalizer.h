/* Normalizers: what happens to a text before it is cut into tokens. */
#ifndef COT_DATA_TOKENIZERS_NORMALIZER_H
#define COT_DATA_TOKENIZERS_NORMALIZER_H

#include <jansson.h>

#include "data/tokenizers/charsmap.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/pattern.h"
#include "data/tokenizers/trie.h"

typedef enum {
    COT_NORMALIZE_FORM,           /* NFC, NFD, NFKC, NFKD */
    COT_NORMALIZE_LOWERCASE,
    COT_NORMALIZE_STRIP,          /* white space at the ends */
    COT_NORMALIZE_STRIP_ACCENTS,  /* marks */
    COT_NORMALIZE_PREPEND,        /* `content`, unless the text is empty */
    COT_NORMALIZE_REPLACE,        /* what `pattern` or the text `find` matches, by `content` */
    COT_NORMALIZE_PRECOMPILED,    /* SentencePiece's map as Hugging Face's library applies it */
    COT_NORMALIZE_SENTENCEPIECE,
} cot_normalizer_kind;

typedef struct {
    cot_normalizer_kind kind;
    int                 form;         /* options of utf8proc */
    int32_t             plain_below;  /* code points below it are left alone by the form */
    bool                left, right;
    char               *find;         /* NULL: the pattern */
    char               *content;
    cot_pattern         pattern;
    /* SentencePiece */
    cot_charsmap        charsmap;     /* also of COT_NORMALIZE_PRECOMPILED */
    cot_trie            symbols;      /* texts that pass as they are */
    bool                trim;         /* white space at the ends goes, runs of it become one */
    bool                prefix, suffix;  /* a space that is put before, or behind */
    bool                escape;       /* spaces become U+2581 */
} cot_normalizer_step;

typedef struct {
    cot_normalizer_step *steps;
    size_t               count, capacity;
} cot_normalizer;

/* Adds the steps that a `normalizer` section of a tokenizer.json asks for; NULL and null ask for none.
 * `name` is the file, for messages. Errors: COT_FORMAT. */
cot_status cot_normalizer_read(cot_normalizer *normalizer, const json_t *section, const char *name);
cot_status cot_normalizer_add(cot_normalizer *normalizer, const cot_normalizer_step *step);  /* takes what it holds */
void       cot_normalizer_step_release(cot_normalizer_step *step);
void       cot_normalizer_release(cot_normalizer *normalizer);

/* The two texts that steps go back and forth between. */
typedef struct {
    cot_buffer buffers[2];
    int32_t   *codes;
    size_t     code_capacity;
    cot_buffer sorted;  /* codes */
} cot_normalizer_room;  /* all zero to begin with */

void cot_normalizer_room_release(cot_normalizer_room *room);

/* Normalizes `text`, which must not lie in the room; *out is the text itself or in the room.
 *
 *   goes_on   the text goes on where another one ended, so nothing is put before it */
cot_status cot_normalize(const cot_normalizer *normalizer, cot_normalizer_room *room, const char *text, size_t length,
                         bool goes_on, const char **out, size_t *out_length);

#endif
