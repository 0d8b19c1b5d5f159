#include "ops/product_key.h"

#include <omp.h>
#include <string.h>

#include "base/fail.h"
#include "kernels/gating/gating.h"
#include "kernels/product/tile.h"
#include "kernels/product_key/product_key.h"
#include "ops/pieces.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"

enum { TOKENS_AT_ONCE = 32, FEW_TOKENS = 4 };  /* so few, as in generation, are not worth transposed sub-keys */

typedef struct {
    cot_tensor    *query, *keys, *out;
    const int32_t *slot;
    int64_t        tokens, heads, n, k, half;
    bool           shared;   /* all heads have the same sub-keys */
} search;

static size_t real_size(const search *s) { return cot_dtype_size(s->out->dtype); }

static char *at(void *data, const search *s, int64_t element) { return (char *)data + (size_t)element * real_size(s); }

/* The sub-keys of a head's half: which set. */
static int64_t set_of(const search *s, int64_t head, int half) { return (s->shared ? 0 : 2 * head) + half; }

/* ---- search ---- */

/* One thread's room: scores of both halves of a head, and the best of each. */
typedef struct {
    char    *scores[2];  /* [TOKENS_AT_ONCE, n] */
    int32_t *best[2];    /* [TOKENS_AT_ONCE, k] */
} room;

static size_t lay_out(const search *s, char *base, room *r)
{
    const size_t scores = (size_t)(TOKENS_AT_ONCE * s->n) * real_size(s), best = (size_t)(TOKENS_AT_ONCE * s->k) * sizeof(int32_t);
    const size_t each = (scores + best + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
    for (int half = 0; half < 2 && base; half++) {
        r->scores[half] = base + (size_t)half * each;
        r->best[half] = (int32_t *)(void *)(r->scores[half] + scores);
    }
    return 2 * each;
}

/* The sub-keys' best, then the slots', for tokens [t0, t1) of a head whose scores lie `ld` apart. */
static int64_t choose(cot_mode mode, const search *s, int64_t t0, int64_t t1, int64_t head, const room *r, int64_t ld)
{
    const cot_product_key_kernels *kernels = cot_product_key_kernels_for(mode);
    const cot_gating_kernels *gating = cot_gating_kernels_for(mode);
    int64_t bad = 0;
    for (int64_t t = t0; t < t1; t++) {
        const size_t scores = (size_t)((t - t0) * ld) * real_size(s), best = (size_t)((t - t0) * s->k);
        for (int half = 0; half < 2; half++)
            bad += gating->top_k(0, 1, s->n, s->k, r->scores[half] + scores, r->best[half] + best);
        const int64_t to = (t * s->heads + head) * s->k;
        kernels->combine(s->n, s->k, r->scores[0] + scores, r->best[0] + best, r->scores[1] + scores, r->best[1] + best,
                         (int32_t *)s->slot + to, at(s->out->data, s, to));
    }
    return bad;
}

/* Few tokens: one query after the other, sub-keys where they lie. */
static void score_few(cot_mode mode, const search *s, int64_t t0, int64_t t1, int64_t head, const room *r)
{
    const cot_gating_kernels *kernels = cot_gating_kernels_for(mode);
    for (int64_t t = t0; t < t1; t++)
        for (int half = 0; half < 2; half++)
            kernels->score(0, s->n, s->half, at(s->keys->data, s, set_of(s, head, half) * s->n * s->half),
                           at(s->query->data, s, (t * s->heads + head) * 2 * s->half + half * s->half),
                           r->scores[half] + (size_t)((t - t0) * s->n) * real_size(s));
}

static void score(const search *s, const char *transposed, int64_t t0, int64_t t1, int64_t head, const room *r)
{
    for (int half = 0; half < 2; half++) {
        const cot_tile tile = cot_tile_find((cot_tile_spec){
            .type = s->out->dtype == COT_F64 ? COT_TILE_F64 : COT_TILE_F32, .m = (int32_t)(t1 - t0), .n = (int32_t)s->n,
            .k = (int32_t)s->half, .lda = (int32_t)(s->heads * 2 * s->half), .ldb = (int32_t)s->n, .ldc = (int32_t)s->n});
        cot_tile_run(&tile, at(s->query->data, s, (t0 * s->heads + head) * 2 * s->half + half * s->half),
                     transposed + (size_t)(set_of(s, head, half) * s->n * s->half) * real_size(s), r->scores[half]);
    }
}

/* keys [sets, n, half] as [sets, half, n]. */
static void transpose(const search *s, char *to)
{
    const int64_t sets = s->keys->shape[0];
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (s->n > 64)
    for (int64_t i = 0; i < sets * s->half; i++)
        for (int64_t j = 0, set = i / s->half, p = i % s->half; j < s->n; j++)
            memcpy(to + (size_t)(i * s->n + j) * real_size(s), at(s->keys->data, s, (set * s->n + j) * s->half + p), real_size(s));
}

static void run(cot_tape *tape, const search *s)
{
    const int64_t pieces = cot_pieces(s->tokens, TOKENS_AT_ONCE), all = s->tokens * s->heads * 2 * s->n;
    const size_t mark = cot_tape_scratch_mark(tape), each = lay_out(s, NULL, NULL);
    const bool few = !cot_tape_recording(tape) && s->tokens <= FEW_TOKENS;
    char *transposed = few ? NULL : cot_tape_scratch(tape, (size_t)cot_tensor_count(s->keys) * real_size(s));
    char *memory = cot_tape_scratch(tape, each * (size_t)cot_threads());
    int64_t bad = 0;
    if (cot_tape_failed(tape)) return;
    if (!few) transpose(s, transposed);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(dynamic, 1) reduction(+ : bad)
    for (int64_t p = 0; p < pieces; p++) {
        room r;
        lay_out(s, memory + (size_t)omp_get_thread_num() * each, &r);
        for (int64_t head = 0; head < s->heads; head++) {
            const int64_t t0 = p * TOKENS_AT_ONCE, t1 = cot_piece_end(p, TOKENS_AT_ONCE, s->tokens);
            if (few) score_few(cot_tape_mode(tape), s, t0, t1, head, &r);
            else score(s, transposed, t0, t1, head, &r);
            bad += choose(cot_tape_mode(tape), s, t0, t1, head, &r, s->n);
        }
    }
    cot_tape_scratch_release(tape, mark);
    if (bad) cot_top_k_fail(tape, bad, all);
}

/* ---- going back ---- */

static void back_query(cot_tape *tape, const search *s, char *dq, bool accumulate)
{
    const cot_product_key_kernels *kernels = cot_product_key_kernels_for(cot_tape_mode(tape));
    const int64_t rows = s->tokens * s->heads, pieces = cot_pieces(rows, COT_PIECE_ROWS), d = 2 * s->half;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t r = p * COT_PIECE_ROWS; r < cot_piece_end(p, COT_PIECE_ROWS, rows); r++)
            kernels->back_query(s->n, s->half, s->k, s->slot + r * s->k, at(s->out->grad, s, r * s->k),
                                at(s->keys->data, s, set_of(s, r % s->heads, 0) * s->n * s->half),
                                at(s->keys->data, s, set_of(s, r % s->heads, 1) * s->n * s->half), dq + (size_t)(r * d) * real_size(s),
                                accumulate);
}

/* Which of the sub-keys of its half an entry belongs to, over all heads that have their own. */
static int64_t key_of(const search *s, int64_t entry, int half)
{
    const int64_t head = entry / s->k % s->heads, key = half ? s->slot[entry] % s->n : s->slot[entry] / s->n;
    return (s->shared ? 0 : head * s->n) + key;
}

/* Entries by sub-key (a stable counting sort): start [keys + 1], order [entries]. */
static void sort(const search *s, int half, int64_t keys, int64_t *start, int32_t *order)
{
    const int64_t entries = s->tokens * s->heads * s->k;
    memset(start, 0, (size_t)(keys + 1) * sizeof *start);
    for (int64_t e = 0; e < entries; e++) start[key_of(s, e, half) + 1]++;
    for (int64_t i = 0; i < keys; i++) start[i + 1] += start[i];
    for (int64_t e = 0; e < entries; e++) order[start[key_of(s, e, half)]++] = (int32_t)e;
    for (int64_t i = keys; i > 0; i--) start[i] = start[i - 1];
    start[0] = 0;
}

static void back_keys(cot_tape *tape, const search *s, char *dkeys, bool accumulate)
{
    const cot_product_key_kernels *kernels = cot_product_key_kernels_for(cot_tape_mode(tape));
    const int64_t keys = s->shared ? s->n : s->heads * s->n;
    const size_t mark = cot_tape_scratch_mark(tape);
    int64_t *start = cot_tape_scratch(tape, (size_t)(keys + 1) * sizeof *start);
    int32_t *order = cot_tape_scratch(tape, (size_t)(s->tokens * s->heads * s->k) * sizeof *order);
    for (int half = 0; half < 2 && !cot_tape_failed(tape); half++) {
        sort(s, half, keys, start, order);
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (keys > 16)
        for (int64_t i = 0; i < keys; i++) {
            const int64_t to = (set_of(s, i / s->n, half) * s->n + i % s->n) * s->half;
            kernels->back_key(start[i + 1] - start[i], order + start[i], s->k, s->half, 2 * s->half, s->out->grad,
                              at(s->query->data, s, half * s->half), dkeys + (size_t)to * real_size(s), accumulate);
        }
    }
    cot_tape_scratch_release(tape, mark);
}

static void search_backward(cot_tape *tape, void *saved_)
{
    const search *s = saved_;
    bool add_query = false, add_keys = false;
    char *dq = cot_tape_grad(tape, s->query, &add_query), *dkeys = cot_tape_grad(tape, s->keys, &add_keys);
    if (dq) back_query(tape, s, dq, add_query);
    if (dkeys) back_keys(tape, s, dkeys, add_keys);
}

static bool fits(cot_tape *tape, const search *s)
{
    if (s->keys->rank == 3 && cot_tensor_columns(s->query) == s->heads * 2 * s->half &&
        (s->keys->shape[0] == 2 || s->keys->shape[0] == 2 * s->heads) && s->k <= s->n)
        return true;
    cot_tape_fail(tape, cot_fail(COT_SHAPE_MISMATCH, "%s: queries of width %lld for %lld heads do not fit %lld sets of %lld sub-keys of width %lld",
                                 cot_tape_where(tape), (long long)cot_tensor_columns(s->query), (long long)s->heads,
                                 (long long)s->keys->shape[0], (long long)s->n, (long long)s->half));
    return false;
}

cot_tensor *cot_product_key(cot_tape *tape, cot_tensor *query, cot_tensor *keys, int64_t heads, int64_t k, int32_t *slot)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t tokens = cot_tensor_rows(query);
    cot_tensor *out = cot_tape_matrix(tape, cot_tape_real(tape), tokens * heads, k, query->needs_grad || keys->needs_grad);
    search *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return out;
    *s = (search){.query = query, .keys = keys, .out = out, .slot = slot, .tokens = tokens, .heads = heads, .k = k,
                  .n = keys->shape[1], .half = keys->shape[2], .shared = keys->shape[0] == 2};
    if (!fits(tape, s)) return out;
    run(tape, s);
    cot_tape_record(tape, search_backward, s, &out, 1);
    return out;
}

/* ---- from given scores ---- */

static void scores_backward(cot_tape *tape, void *saved_)
{
    const search *s = saved_;
    bool accumulate = false;
    char *dscores = cot_tape_grad(tape, s->query, &accumulate);
    const cot_dtype real = s->out->dtype;
    if (!dscores) return;
    if (!accumulate) memset(dscores, 0, (size_t)cot_tensor_count(s->query) * real_size(s));
    for (int64_t e = 0; e < cot_tensor_count(s->out); e++) {
        const int64_t row = e / s->k * 2 * s->n;
        const double  ds = cot_value_at(s->out->grad, real, e);
        cot_value_put(dscores, real, row + s->slot[e] / s->n, ds, true);
        cot_value_put(dscores, real, row + s->n + s->slot[e] % s->n, ds, true);
    }
}

cot_tensor *cot_product_key_from_scores(cot_tape *tape, cot_tensor *scores, int64_t heads, int64_t n, int64_t k,
                                        int32_t *slot)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t tokens = cot_tensor_rows(scores);
    cot_tensor *out = cot_tape_matrix(tape, cot_tape_real(tape), tokens * heads, k, scores->needs_grad);
    search *s = cot_tape_alloc(tape, sizeof *s);
    int64_t bad = 0;
    if (cot_tape_failed(tape)) return out;
    *s = (search){.query = scores, .out = out, .slot = slot, .tokens = tokens, .heads = heads, .n = n, .k = k};
    const size_t mark = cot_tape_scratch_mark(tape);
    room r;
    char *memory = cot_tape_scratch(tape, lay_out(s, NULL, NULL));
    if (!memory) return out;
    lay_out(s, memory, &r);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t head = 0; head < heads; head++) {
            for (int half = 0; half < 2; half++) r.scores[half] = at(scores->data, s, ((t * heads + head) * 2 + half) * n);
            bad += choose(cot_tape_mode(tape), s, t, t + 1, head, &r, n);
        }
    cot_tape_scratch_release(tape, mark);
    if (bad) cot_top_k_fail(tape, bad, cot_tensor_count(scores));
    cot_tape_record(tape, scores_backward, s, &out, 1);
    return out;
}
