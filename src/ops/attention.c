/* Checks a call of attention, makes its plan and records it; attention_forward.c and its like do the work. */
#include "ops/attention.h"

#include <limits.h>
#include <math.h>

#include "ops/attention_plan.h"

typedef struct {
    attention_plan plan;
    cot_tensor    *qkv, *out;
    void          *lse;
} attention_saved;

/* ---- checks ---- */

static cot_status check_shape(const cot_tape *tape, const cot_attention_shape *s, const cot_tensor *qkv)
{
    const char *where = cot_tape_where(tape);
    if (s->num_heads < 1 || s->num_kv_heads < 1 || s->num_heads % s->num_kv_heads || s->head_dim < 2 || s->head_dim % 2)
        return cot_fail(COT_INVALID, "%s: attention with %d heads, %d key/value heads and head size %d, "
                        "expected key/value heads to divide heads and an even size",
                        where, s->num_heads, s->num_kv_heads, s->head_dim);
    if (!(s->rope_theta >= 0) || s->sliding_window < 0 || !(s->scale >= 0))
        return cot_fail(COT_INVALID,
                        "%s: attention with rope_theta %g, sliding_window %lld and scale %g, expected none below 0",
                        where, s->rope_theta, (long long)s->sliding_window, s->scale);
    const int64_t width = ((int64_t)s->num_heads + 2 * (int64_t)s->num_kv_heads) * s->head_dim;
    if (qkv->rank != 2 || qkv->shape[1] != width || qkv->shape[0] < 1 || qkv->dtype != cot_tape_act(tape))
        return cot_fail(COT_SHAPE_MISMATCH, "%s: attention on %s [%lld, %lld], expected %s [tokens, %lld]", where,
                        cot_dtype_name(qkv->dtype), (long long)qkv->shape[0], (long long)qkv->shape[1],
                        cot_dtype_name(cot_tape_act(tape)), (long long)width);
    const char *wanted = s->rope_theta > 0 ? cot_rope_fault(&s->rope, s->rope_theta, s->head_dim) : NULL;
    if (wanted) return cot_fail(COT_INVALID, "%s: attention with scaled rotary positions, expected %s", where, wanted);
    if (qkv->shape[0] >= INT32_MAX - ATTENTION_TILE)
        return cot_fail(COT_INVALID, "%s: attention over %lld tokens, expected fewer than 2^31 - 64", where,
                        (long long)qkv->shape[0]);
    return COT_OK;
}

static cot_status check_state(const cot_tape *tape, const cot_attention_shape *s, const cot_kv_state *state,
                              const int32_t *first, int64_t count)
{
    int64_t tokens = first ? 1 : count;  /* up to the furthest position */
    for (int64_t t = 0; first && t < count; t++) tokens = t - first[t] >= tokens ? t - first[t] + 1 : tokens;
    const char *where = cot_tape_where(tape);
    if (state->window && state->window != s->sliding_window)
        return cot_fail(COT_SHAPE_MISMATCH, "%s: a state for a window of %d, expected one of %lld", where,
                        state->window, (long long)s->sliding_window);
    if (state->window && first)
        return cot_fail(COT_INVALID, "%s: a walk over a state that keeps a window, expected one that keeps all tokens",
                        where);
    if (state->num_kv_heads != s->num_kv_heads || state->head_dim != s->head_dim || state->mode != cot_tape_mode(tape))
        return cot_fail(COT_SHAPE_MISMATCH, "%s: a state of %d heads of %d in %s, expected %d of %d in %s", where,
                        state->num_kv_heads, state->head_dim, cot_dtype_name(cot_mode_act(state->mode)),
                        s->num_kv_heads, s->head_dim, cot_dtype_name(cot_tape_act(tape)));
    const int64_t length = cot_kv_state_length(state);
    if (tokens > state->capacity - length)
        return cot_fail(COT_INVALID, "%s: %lld more tokens after %lld, expected at most %d in all, the state's capacity",
                        where, (long long)tokens, (long long)length, state->capacity);
    return COT_OK;
}

/* Tokens of a walk over a state: each goes on from the one before or from one still there. */
static cot_status check_walk(const cot_tape *tape, const int32_t *first, int32_t tokens)
{
    for (int32_t t = 0, before = -1; t < tokens; before = t - first[t], t++)
        if (first[t] > t || t - first[t] > before + 1 || first[t] < 0)
            return cot_fail(COT_INVALID, "%s: token %d goes to position %d, expected 0 to %d", cot_tape_where(tape), t,
                            t - first[t], before + 1);
    return COT_OK;
}

static cot_status check_first(const cot_tape *tape, const int32_t *first, int32_t tokens)
{
    for (int32_t t = 0; t < tokens; t++)
        if (first[t] < 0 || first[t] > t)
            return cot_fail(COT_INVALID, "%s: token %d sees tokens from %d on, expected 0 to %d", cot_tape_where(tape),
                            t, first[t], t);
    return COT_OK;
}

/* ---- the plan ---- */

static attention_plan make_plan(const cot_tape *tape, const cot_tensor *qkv, const cot_attention_shape *shape,
                                int32_t past)
{
    attention_plan p = {.shape = *shape, .mode = cot_tape_mode(tape), .past = past};
    p.tokens = (int32_t)qkv->shape[0];
    p.row = qkv->shape[1];
    if (p.shape.scale == 0) p.shape.scale = 1 / sqrt((double)shape->head_dim);
    p.kernels = cot_attention_kernels_for(p.mode);
    p.act = cot_dtype_size(cot_tape_act(tape));
    p.real = cot_dtype_size(cot_tape_real(tape));
    p.group = shape->num_heads / shape->num_kv_heads;
    p.chunk = (p.group < ATTENTION_SLOTS ? ATTENTION_SLOTS / p.group : 1) * ATTENTION_TILE;
    p.q = qkv->data;
    p.k = p.q + (size_t)(shape->num_heads * shape->head_dim) * p.act;
    p.v = p.k + (size_t)(shape->num_kv_heads * shape->head_dim) * p.act;
    p.key_row = p.row;
    p.key_head = shape->head_dim;
    p.turn_keys = true;
    return p;
}

static cot_tile find_tile(const attention_plan *p, int32_t m, int32_t n, int32_t k, int32_t lda, int32_t ldb, bool add)
{
    static const cot_tile_type types[] = {COT_TILE_F64, COT_TILE_F32, COT_TILE_BF16};  /* by mode */
    cot_tile_spec spec = {.type = types[p->mode], .m = m, .n = n, .k = k, .lda = lda, .ldb = ldb, .ldc = ldb};
    spec.accumulate = add;
    return cot_tile_find(spec);
}

static void find_tiles(attention_plan *p)
{
    const int32_t dim = p->shape.head_dim, tile = ATTENTION_TILE;
    for (int32_t width = 0; width < 2; width++)
        for (int32_t i = 0; i < ATTENTION_STRIPS; i++) {
            const int32_t lanes = width ? tile : ATTENTION_STRIP, keys = (i + 1) * ATTENTION_STRIP;
            p->tiles.score[width][i] = find_tile(p, keys, lanes, dim, dim, tile, false);
            p->tiles.value[width][i] = find_tile(p, dim, lanes, keys, tile, tile, true);
            p->tiles.key[width][i] = find_tile(p, keys, dim, lanes, tile, dim, true);
        }
}

/* Where tokens stand and what they see. A border lies where no later token sees an earlier one. */
static void place_tokens(const attention_plan *p, const int32_t *first, int32_t *position, int32_t *lowest,
                         int32_t *span, int32_t *spans)
{
    const int64_t window = p->shape.sliding_window;
    for (int32_t t = 0; t < p->tokens; t++) {
        const int32_t start = first ? first[t] : 0;
        const int64_t near = window ? (int64_t)p->past + t - window + 1 : 0;
        position[t] = first ? t - start : t;
        lowest[t] = near > start ? (int32_t)near : start;
    }
    for (int32_t t = p->tokens; t < p->tokens + ATTENTION_TILE; t++) lowest[t] = 0;
    int32_t count = 0, least = p->tokens;
    span[count++] = p->tokens;
    for (int32_t t = p->tokens - 1; t > 0; t--) {
        if (first && first[t] < least) least = first[t];
        if (first && least >= t) span[count++] = t;
    }
    span[count] = 0;
    for (int32_t i = 0; i < count - i; i++) {  /* found from the end: turn around */
        const int32_t last = span[count - i];
        span[count - i] = span[i];
        span[i] = last;
    }
    *spans = count;
}

static void make_turns(cot_tape *tape, attention_plan *p)
{
    const int32_t dim = p->shape.head_dim;
    int32_t positions = 1;
    for (int32_t t = 0; t < p->tokens; t++) positions = p->position[t] + 1 > positions ? p->position[t] + 1 : positions;
    double *frequency = cot_tape_alloc(tape, (size_t)(dim / 2) * sizeof *frequency);
    void *turns = cot_tape_alloc(tape, (size_t)positions * (size_t)dim * p->real);
    if (cot_tape_failed(tape)) return;
    const int32_t before = p->gone + p->past;
    const int64_t length = (int64_t)before + positions;
    const double size = cot_rope_frequencies(&p->shape.rope, p->shape.rope_theta, dim, length, frequency);
    p->kernels->turns(before, positions, dim, frequency, size, turns);
    p->turns = turns;
}

static void place(cot_tape *tape, attention_plan *p, const int32_t *first)
{
    int32_t *position = cot_tape_alloc(tape, (size_t)p->tokens * sizeof *position);
    int32_t *lowest = cot_tape_alloc(tape, (size_t)(p->tokens + ATTENTION_TILE) * sizeof *lowest);
    int32_t *span = cot_tape_alloc(tape, (size_t)(p->tokens + 1) * sizeof *span);
    if (cot_tape_failed(tape)) return;
    place_tokens(p, first, position, lowest, span, &p->spans);
    p->position = position;
    p->lowest = lowest;
    p->span = span;
    if (p->shape.rope_theta > 0) make_turns(tape, p);
}

/* ---- the operation ---- */

static void attention_backward(cot_tape *tape, void *saved_)
{
    attention_saved *s = saved_;
    bool accumulate = false;
    void *grad = cot_tape_grad(tape, s->qkv, &accumulate);
    if (grad) cot_attention_backward(tape, &s->plan, s->out->data, s->out->grad, s->lse, grad, accumulate);
}

static cot_status check(const cot_tape *tape, const cot_tensor *qkv, const cot_attention_shape *shape,
                        const int32_t *first, const cot_kv_state *state)
{
    COT_TRY(check_shape(tape, shape, qkv));
    if (!state) return check_first(tape, first, (int32_t)qkv->shape[0]);
    if (first) COT_TRY(check_walk(tape, first, (int32_t)qkv->shape[0]));
    return check_state(tape, shape, state, first, qkv->shape[0]);
}

/* Tokens [begin, end) of a call, which go on from the state. */
static void continue_state(cot_tape *tape, const cot_tensor *qkv, const cot_attention_shape *shape, cot_kv_state *state,
                           int64_t begin, int64_t end, char *out)
{
    cot_kv_state_make_room(state, (int32_t)(end - begin));
    attention_plan plan = make_plan(tape, qkv, shape, state->length);
    plan.gone = state->gone;
    const size_t skip = (size_t)(begin * plan.row) * plan.act;
    plan.tokens = (int32_t)(end - begin);
    plan.q += skip, plan.k += skip, plan.v += skip;
    out += (size_t)(begin * shape->num_heads * shape->head_dim) * plan.act;
    place(tape, &plan, NULL);
    if (cot_tape_failed(tape)) return;
    cot_kv_state_append(state, &plan);
    if (plan.tokens == 1) {
        cot_attention_single(tape, &plan, out);
    } else {
        find_tiles(&plan);
        cot_attention_forward(tape, &plan, out, NULL);
    }
}

/* Runs of tokens one after the other, as long as the state takes at once; it is cut back before each. */
static void walk_state(cot_tape *tape, const cot_tensor *qkv, const cot_attention_shape *shape, const int32_t *first,
                       cot_kv_state *state, char *out)
{
    const int64_t past = cot_kv_state_length(state), tokens = qkv->shape[0], most = attention_most(state);
    for (int64_t begin = 0, end; begin < tokens && !cot_tape_failed(tape); begin = end) {
        for (end = begin + 1; end < tokens && end - begin < most && (!first || first[end] == first[begin]); end++);
        cot_kv_state_truncate(state, past + begin - (first ? first[begin] : 0));
        continue_state(tape, qkv, shape, state, begin, end, out);
    }
    if (cot_tape_failed(tape)) cot_kv_state_truncate(state, past);
}

cot_tensor *cot_attention(cot_tape *tape, cot_tensor *qkv, const cot_attention_shape *shape, const int32_t *first,
                          cot_kv_state *state)
{
    cot_tape_kind(tape, COT_TIME_ATTENTION);
    const cot_status status = cot_tape_failed(tape) ? COT_OK : check(tape, qkv, shape, first, state);
    if (status != COT_OK) cot_tape_fail(tape, status);
    const bool wants_grad = qkv->needs_grad && !state && cot_tape_recording(tape);
    cot_tensor *out = cot_tape_matrix(tape, cot_tape_act(tape), qkv->shape[0],
                                      (int64_t)shape->num_heads * shape->head_dim, wants_grad);
    if (cot_tape_failed(tape)) return out;
    if (state) {
        walk_state(tape, qkv, shape, first, state, out->data);
        return out;
    }
    attention_plan plan = make_plan(tape, qkv, shape, 0);
    place(tape, &plan, first);
    void *lse = wants_grad ? cot_tape_alloc(tape, (size_t)shape->num_heads * (size_t)plan.tokens * plan.real) : NULL;
    attention_saved *saved = wants_grad ? cot_tape_alloc(tape, sizeof *saved) : NULL;
    if (cot_tape_failed(tape)) return out;
    find_tiles(&plan);
    cot_attention_forward(tape, &plan, out->data, lse);
    if (!wants_grad) return out;
    *saved = (attention_saved){plan, qkv, out, lse};
    cot_tape_record(tape, attention_backward, saved, &out, 1);
    return out;
}
