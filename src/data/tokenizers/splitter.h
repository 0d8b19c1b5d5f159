/* Pre-tokenizers: a text is cut into pieces, step by step, and no token crosses from one to the next. */
#ifndef COT_DATA_TOKENIZERS_SPLITTER_H
#define COT_DATA_TOKENIZERS_SPLITTER_H

#include <jansson.h>

#include "data/tokenizers/growing.h"
#include "data/tokenizers/pattern.h"

typedef enum {
    COT_SPLIT_GPT2,          /* GPT-2's pattern, by cot_pretoken_length() */
    COT_SPLIT_PATTERN,
    COT_SPLIT_PREFIX_SPACE,  /* cuts nothing: puts a space before a piece that has none */
    COT_SPLIT_METASPACE,     /* spaces become `mark`, one is put before, each begins a piece */
} cot_split_kind;

/* What becomes of what a pattern matches. */
typedef enum {
    COT_CUT_ISOLATED,
    COT_CUT_CONTIGUOUS,     /* matches that touch are one piece */
    COT_CUT_REMOVED,
    COT_CUT_WITH_PREVIOUS,  /* belongs to the piece before */
    COT_CUT_WITH_NEXT,
} cot_cut;

typedef enum { COT_PREFIX_NEVER, COT_PREFIX_FIRST, COT_PREFIX_ALWAYS } cot_prefix;

typedef struct {
    cot_split_kind kind;
    cot_pattern    pattern;
    bool           inverted;  /* what does not match counts as matched */
    cot_cut        cut;
    char          *mark;
    cot_prefix     prefix;
    bool           split;     /* at marks */
} cot_split_step;

typedef struct {
    cot_split_step *steps;
    size_t          count, capacity;
    bool            byte_level;  /* tokens are written in the byte alphabet */
} cot_splitter;

/* Adds the steps that a `pre_tokenizer` section of a tokenizer.json asks for; NULL and null ask for none. */
cot_status cot_splitter_read(cot_splitter *splitter, const json_t *section, const char *name);
void       cot_splitter_release(cot_splitter *splitter);

/* Does it put a space before a text that has none? */
static inline bool cot_splitter_adds_space(const cot_splitter *splitter)
{
    return splitter->count && splitter->steps[0].kind == COT_SPLIT_PREFIX_SPACE;
}

/* Takes one piece. */
typedef cot_status (*cot_piece_taker)(void *context, const char *text, size_t length);

/* The texts that steps rewrite: one for each step. */
typedef struct {
    cot_buffer *buffers;
    size_t      count;
} cot_splitter_room;

cot_status cot_splitter_room_create(const cot_splitter *splitter, cot_splitter_room *out);
void       cot_splitter_room_release(cot_splitter_room *room);

/* Cuts `text` by all steps and hands every piece over, in order. `first`: no text stands before this one. */
cot_status cot_split(const cot_splitter *splitter, cot_splitter_room *room, const char *text, size_t length, bool first,
                     cot_piece_taker take, void *context);

#endif
