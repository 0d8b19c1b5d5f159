#include <coterie/generate.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "models/model.h"

/* A generated token whose text waits until it cannot belong to a stop text. */
typedef struct {
    int32_t id, expert;
    size_t  end;  /* of its bytes in the text */
} waiting;

typedef struct {
    cot_model                  *model;
    const cot_tokenizer        *tokenizer;
    const cot_generate_options *options;
    cot_on_token on_token;
    void        *context;
    cot_session *session;
    int64_t      capacity;      /* of the session, in tokens */
    int32_t     *ids;           /* prompt and output */
    size_t       count, room;
    char        *text;          /* of the output */
    size_t       length, text_room, told;
    waiting     *tokens;        /* of the output */
    size_t       token_count, token_told, token_room;
    float       *logits;
    bool         opens;         /* the output begins the text: there is no prompt */
} generation;

static cot_status grow(void **array, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room) return COT_OK;
    const size_t larger = needed * 2 + 64;
    void *grown = cot_realloc(*array, *room * size, larger * size);
    if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu tokens of text", larger);
    *array = grown;
    *room = larger;
    return COT_OK;
}

static cot_status add_id(generation *g, int32_t id)
{
    COT_TRY(grow((void **)&g->ids, &g->room, g->count + 1, sizeof *g->ids));
    g->ids[g->count++] = id;
    return COT_OK;
}

/* The prompt, behind the token that texts begin with where the model has one; with neither, the token that ends
 * them. */
static cot_status take_prompt(generation *g, const char *prompt, size_t length)
{
    const int32_t start = cot_tokenizer_start_of_text(g->tokenizer), end = cot_tokenizer_end_of_text(g->tokenizer);
    int32_t *ids;
    size_t count;
    COT_TRY(cot_tokenizer_encode(g->tokenizer, prompt, length, true, &ids, &count));
    cot_status status = start >= 0 && (!count || ids[0] != start) ? add_id(g, start) : COT_OK;
    for (size_t i = 0; i < count && status == COT_OK; i++) status = add_id(g, ids[i]);
    free(ids);
    g->opens = !count;
    if (status != COT_OK || g->count) return status;
    return end >= 0
               ? add_id(g, end)
               : cot_fail(COT_INVALID, "the prompt is empty and the tokenizer has no end-of-text token to start from");
}

/* Reads what the session has not read yet; a full session starts over with the later half. */
static cot_status catch_up(generation *g, size_t *read, const float **logits)
{
    const int64_t capacity = g->capacity;
    if ((int64_t)(g->count - *read) > capacity - cot_session_length(g->session)) {
        const size_t keep = (size_t)((capacity + 1) / 2);
        cot_session_truncate(g->session, 0);
        *read = g->count > keep ? g->count - keep : 0;
    }
    COT_TRY(cot_session_feed(g->session, g->ids + *read, (int64_t)(g->count - *read), logits));
    *read = g->count;
    return COT_OK;
}

/* ---- telling the text, minus what may be the start of a stop text ---- */

/* The longest end of the text that begins a stop text. */
static size_t possible_stop(const generation *g)
{
    size_t longest = 0;
    for (size_t i = 0; i < g->options->stop_count; i++) {
        const char *stop = g->options->stop[i];
        for (size_t n = strlen(stop); n-- > 1;)
            if (n <= g->length && n > longest && memcmp(g->text + g->length - n, stop, n) == 0) longest = n;
    }
    return longest;
}

/* Where the first stop text begins, or the text's length. */
static size_t found_stop(const generation *g)
{
    size_t first = g->length;
    for (size_t i = 0; i < g->options->stop_count; i++) {
        const size_t n = strlen(g->options->stop[i]);
        for (size_t at = g->told; n && at + n <= g->length && at < first; at++)
            if (memcmp(g->text + at, g->options->stop[i], n) == 0) first = at;
    }
    return first;
}

/* Tells tokens up to `end`, the last one cut there if need be. Returns false when the listener wants no more. */
static bool tell(generation *g, size_t end, bool cut)
{
    while (g->token_told < g->token_count) {
        const waiting *t = &g->tokens[g->token_told];
        if (t->end > end && !(cut && g->told < end)) break;
        const size_t to = t->end < end ? t->end : end;
        if (g->on_token && !g->on_token(g->context, g->text + g->told, to - g->told, t->id, t->expert)) return false;
        g->told = to;
        g->token_told++;
    }
    return true;
}

static cot_status add_text(generation *g, int32_t id)
{
    size_t length = 0;
    const bool  first = g->opens && !g->token_count;
    const char *bytes = (first ? cot_tokenizer_first_token : cot_tokenizer_token)(g->tokenizer, id, &length);
    COT_TRY(grow((void **)&g->text, &g->text_room, g->length + length, 1));
    COT_TRY(grow((void **)&g->tokens, &g->token_room, g->token_count + 1, sizeof *g->tokens));
    if (length) memcpy(g->text + g->length, bytes, length);
    g->length += length;
    g->tokens[g->token_count++] = (waiting){id, cot_session_expert(g->session, g->options->layer), g->length};
    return COT_OK;
}

/* ---- the loop ---- */

static cot_status choose(generation *g, const float *logits, uint64_t draw, int32_t *id)
{
    const int64_t known = cot_tokenizer_vocab_size(g->tokenizer), all = g->model->vocab_size;
    memcpy(g->logits, logits, (size_t)all * sizeof *logits);
    for (int64_t i = known; i < all; i++) g->logits[i] = -INFINITY;  /* rows that pad the embedding mean nothing */
    return cot_sample(g->logits, all, g->ids, g->count, &g->options->sampling, draw, id);
}

static cot_status go_on(generation *g, cot_generated *out)
{
    const int32_t end = cot_tokenizer_end_of_text(g->tokenizer);
    const float *logits;
    size_t read = 0;
    double since = cot_now();
    out->prompt_tokens = (int64_t)g->count;
    COT_TRY(catch_up(g, &read, &logits));
    out->prompt_seconds = cot_now() - since;
    since = cot_now();
    bool more = true;
    while (more && out->tokens < g->options->max_tokens) {
        int32_t id;
        COT_TRY(choose(g, logits, (uint64_t)out->tokens, &id));
        if ((out->ended = id == end || cot_text_ids_end(&g->model->ids, id))) break;
        out->tokens++;
        COT_TRY(add_id(g, id));
        COT_TRY(catch_up(g, &read, &logits));
        COT_TRY(add_text(g, id));
        const size_t stop = found_stop(g);
        if ((out->ended = stop < g->length)) {
            tell(g, stop, true);
            out->seconds = cot_now() - since;
            return COT_OK;
        }
        more = tell(g, g->length - possible_stop(g), false);
    }
    if (more) tell(g, g->length, false);
    out->seconds = cot_now() - since;
    return COT_OK;
}

/* As many tokens as there can be, and no more than the model's context. */
static int64_t room_for(const generation *g)
{
    const int64_t prompt = (int64_t)g->count, context = g->model->context;
    return prompt < context && g->options->max_tokens < context - prompt ? prompt + g->options->max_tokens : context;
}

cot_status cot_generate(cot_model *model, const cot_tokenizer *tokenizer, const char *prompt, size_t length,
                        const cot_generate_options *options, cot_on_token on_token, void *context, cot_generated *out)
{
    generation g = {
        .model = model, .tokenizer = tokenizer, .options = options, .on_token = on_token, .context = context};
    *out = (cot_generated){0};
    g.logits = cot_malloc((size_t)model->vocab_size * sizeof *g.logits);
    cot_status status =
        g.logits ? take_prompt(&g, prompt, length) : cot_fail(COT_OUT_OF_MEMORY, "no memory for logits");
    if (status == COT_OK) {
        g.capacity = room_for(&g);
        status = cot_session_create(model, g.capacity, options->bf16, &g.session);
    }
    if (status == COT_OK) status = go_on(&g, out);
    cot_session_destroy(g.session);
    cot_free(g.logits);
    cot_free(g.ids);
    cot_free(g.text);
    cot_free(g.tokens);
    return status;
}
