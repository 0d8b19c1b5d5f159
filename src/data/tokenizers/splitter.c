#include "data/tokenizers/splitter.h"

#include "base/fail.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/pretokenizer.h"

typedef struct {
    const cot_splitter *splitter;
    cot_splitter_room  *room;
    cot_piece_taker     take;
    void               *context;
} splitting;

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a text to be cut into pieces"); }

cot_status cot_splitter_room_create(const cot_splitter *splitter, cot_splitter_room *out)
{
    *out = (cot_splitter_room){.buffers = cot_calloc(splitter->count * sizeof *out->buffers), .count = splitter->count};
    return out->buffers ? COT_OK : no_memory();
}

void cot_splitter_room_release(cot_splitter_room *room)
{
    for (size_t i = 0; room->buffers && i < room->count; i++) cot_free(room->buffers[i].bytes);
    cot_free(room->buffers);
    *room = (cot_splitter_room){0};
}

static cot_status run(const splitting *s, size_t step, const char *text, size_t length, bool first);

static cot_status run_gpt2(const splitting *s, size_t step, const char *text, size_t length)
{
    const bool last = step + 1 == s->splitter->count;
    for (size_t size; length; text += size, length -= size) {
        size = cot_pretoken_length(text, length);
        if (last) COT_TRY(s->take(s->context, text, size));
        else COT_TRY(run(s, step + 1, text, size, false));
    }
    return COT_OK;
}

/* ---- patterns ---- */

/* The pieces that a pattern makes, one at a time: what it matches and what lies between. */
typedef struct {
    const cot_split_step *step;
    const char           *text;
    size_t                length, at;
    size_t                start, end;  /* of the next match */
} cutter;

typedef struct {
    size_t start, end;
    bool   matched;
} cut_piece;

static cot_status next_match(cutter *c)
{
    return cot_pattern_find(&c->step->pattern, c->text, c->length, c->end, &c->start, &c->end);
}

/* A match or a gap; the caller sees to it that the text is not at its end. */
static cot_status next_piece(cutter *c, cut_piece *out)
{
    if (c->at == c->end) COT_TRY(next_match(c));
    const bool matched = c->at == c->start && c->end > c->start;
    *out = (cut_piece){c->at, matched ? c->end : c->start, matched != c->step->inverted};
    c->at = out->end;
    return COT_OK;
}

/* Joins pieces as the step's way of cutting asks for: `held` is what may still grow. False: nothing is complete yet. */
static bool join(const cot_split_step *step, cut_piece *held, bool *holding, cut_piece next, cut_piece *complete)
{
    const bool joins = *holding && ((step->cut == COT_CUT_CONTIGUOUS && held->matched && next.matched) ||
                                    (step->cut == COT_CUT_WITH_PREVIOUS && next.matched && !held->matched) ||
                                    (step->cut == COT_CUT_WITH_NEXT && held->matched && !next.matched));
    if (joins) {
        held->end = next.end;
        held->matched = step->cut == COT_CUT_CONTIGUOUS || step->cut == COT_CUT_WITH_PREVIOUS;
        return false;
    }
    const bool done = *holding;
    *complete = *held;
    *held = next;
    *holding = true;
    return done;
}

static cot_status run_pattern(const splitting *s, size_t step, const char *text, size_t length, bool first)
{
    cutter    c = {.step = &s->splitter->steps[step], .text = text, .length = length};
    cut_piece held = {0}, next, complete;
    bool      holding = false;
    while (c.at < length) {
        COT_TRY(next_piece(&c, &next));
        if (!join(c.step, &held, &holding, next, &complete)) continue;
        if (!complete.matched || c.step->cut != COT_CUT_REMOVED)
            COT_TRY(run(s, step + 1, text + complete.start, complete.end - complete.start, first && !complete.start));
    }
    if (!holding || (held.matched && c.step->cut == COT_CUT_REMOVED)) return COT_OK;
    return run(s, step + 1, text + held.start, held.end - held.start, first && !held.start);
}

/* ---- steps that rewrite ---- */

static cot_status run_prefix_space(const splitting *s, size_t step, const char *text, size_t length, bool first)
{
    cot_buffer *buffer = &s->room->buffers[step];
    if (*text == ' ') return run(s, step + 1, text, length, first);
    buffer->length = 0;
    if (!cot_buffer_add(buffer, " ", 1) || !cot_buffer_add(buffer, text, length)) return no_memory();
    return run(s, step + 1, buffer->bytes, buffer->length, first);
}

static cot_status add_marked(const cot_split_step *step, const char *text, size_t length, cot_buffer *out)
{
    const size_t mark = strlen(step->mark);
    for (const char *space; length; text = space + 1) {
        space = memchr(text, ' ', length);
        const size_t inked = space ? (size_t)(space - text) : length;
        if (!cot_buffer_add(out, text, inked)) return no_memory();
        if (!space) break;
        if (!cot_buffer_add(out, step->mark, mark)) return no_memory();
        length -= inked + 1;
    }
    return COT_OK;
}

static cot_status run_metaspace(const splitting *s, size_t number, const char *text, size_t length, bool first)
{
    const cot_split_step *step = &s->splitter->steps[number];
    const size_t          mark = strlen(step->mark);
    cot_buffer           *buffer = &s->room->buffers[number];
    const bool            has = *text == ' ' || (length >= mark && !memcmp(text, step->mark, mark));
    buffer->length = 0;
    if (!has && (step->prefix == COT_PREFIX_ALWAYS || (step->prefix == COT_PREFIX_FIRST && first)))
        if (!cot_buffer_add(buffer, step->mark, mark)) return no_memory();
    COT_TRY(add_marked(step, text, length, buffer));
    if (!step->split) return run(s, number + 1, buffer->bytes, buffer->length, first);
    size_t start = 0;
    for (size_t at = mark; at + mark <= buffer->length; at++) {
        if (buffer->bytes[at] != step->mark[0] || memcmp(buffer->bytes + at, step->mark, mark) != 0) continue;
        COT_TRY(run(s, number + 1, buffer->bytes + start, at - start, first && !start));
        start = at;
    }
    return run(s, number + 1, buffer->bytes + start, buffer->length - start, first && !start);
}

static cot_status run(const splitting *s, size_t step, const char *text, size_t length, bool first)
{
    if (!length) return COT_OK;
    if (step == s->splitter->count) return s->take(s->context, text, length);
    switch (s->splitter->steps[step].kind) {
    case COT_SPLIT_GPT2: return run_gpt2(s, step, text, length);
    case COT_SPLIT_PATTERN: return run_pattern(s, step, text, length, first);
    case COT_SPLIT_PREFIX_SPACE: return run_prefix_space(s, step, text, length, first);
    case COT_SPLIT_METASPACE: return run_metaspace(s, step, text, length, first);
    }
    return COT_OK;
}

cot_status cot_split(const cot_splitter *splitter, cot_splitter_room *room, const char *text, size_t length, bool first,
                     cot_piece_taker take, void *context)
{
    const splitting s = {splitter, room, take, context};
    return run(&s, 0, text, length, first);
}
