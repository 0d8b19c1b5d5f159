/* Parts of sparse layers by themselves, timed: balanced assignment, retrieval, reading the rows of a pool. */
#include <coterie/bench.h>

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kernels/gating/gating.h"
#include "kernels/peak/peak.h"
#include "kernels/product/tile.h"
#include "ops/neurons.h"
#include "ops/product_key.h"
#include "routing/auction.h"

enum { ROUNDS = 3 };

static const double FIRST_SECONDS = 1e30;

static double shorter(double best, double since)
{
    const double seconds = cot_now() - since;
    return seconds < best ? seconds : best;
}

static cot_rng_key key_of(uint32_t stream)
{
    return (cot_rng_key){.stream = COT_RNG_TEST, .step = stream};
}

/* From -1 to 1. */
static void fill(float *out, int64_t count, uint32_t stream)
{
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i++) out[i] = (float)(2 * cot_rng_uniform(key_of(stream), (uint64_t)i) - 1);
}

/* ---- balanced assignment ---- */

static void make_scores(int64_t tokens, int64_t experts, double lean, double *score)
{
    for (int64_t i = 0; i < tokens * experts; i++)
        score[i] = cot_rng_normal(key_of(0), (uint64_t)i) + lean * cot_rng_normal(key_of(1), (uint64_t)(i % experts));
}

cot_status cot_bench_auction(int64_t tokens, int64_t experts, double lean, double *seconds)
{
    if (tokens < 1 || experts < 1)
        return cot_fail(COT_INVALID, "%lld tokens for %lld experts, expected 1 or more of each", (long long)tokens,
                        (long long)experts);
    double    *score = cot_malloc((size_t)(tokens * experts) * sizeof *score);
    int32_t   *expert = cot_malloc((size_t)tokens * sizeof *expert);
    void      *memory = cot_malloc(cot_assign_bytes(tokens, experts));
    const bool room = score && expert && memory;
    *seconds = FIRST_SECONDS;
    if (room) make_scores(tokens, experts, lean, score);
    for (int i = 0; room && i < ROUNDS; i++) {
        const double since = cot_now();
        cot_assign_balanced(score, tokens, experts, 1e-4, memory, expert);
        *seconds = shorter(*seconds, since);
    }
    cot_free(score);
    cot_free(expert);
    cot_free(memory);
    return room ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld scores", (long long)(tokens * experts));
}

/* ---- retrieval ---- */

static cot_status check_retrieval(const cot_retrieval_case *c)
{
    if (c->tokens > 0 && c->heads > 0 && c->top_k > 0 && c->sub_keys >= c->top_k && c->query_dim > 1 &&
        c->query_dim % 2 == 0)
        return COT_OK;
    return cot_fail(COT_INVALID,
                    "%lld tokens, %lld heads, %lld of %lld sub-keys, queries of %lld: expected 1 or more of each, at "
                    "most all sub-keys, "
                    "and an even width",
                    (long long)c->tokens, (long long)c->heads, (long long)c->top_k, (long long)c->sub_keys,
                    (long long)c->query_dim);
}

static cot_tensor *random_matrix(cot_tape *tape, const int64_t *shape, int rank, uint32_t stream)
{
    cot_tensor *t = cot_tape_tensor(tape, COT_F32, rank, shape, false);
    if (!cot_tape_failed(tape)) fill(t->data, cot_tensor_count(t), stream);
    return t;
}

cot_status cot_bench_retrieval(const cot_retrieval_case *c, double *seconds)
{
    cot_tape *tape;
    COT_TRY(check_retrieval(c));
    COT_TRY(cot_tape_create(COT_MODE_F32, &tape));
    *seconds = FIRST_SECONDS;
    for (int i = 0; i < ROUNDS && !cot_tape_failed(tape); i++) {
        cot_tape_reset(tape, false, false, 1, 1);
        cot_tensor  *query = random_matrix(tape, (const int64_t[]){c->tokens, c->heads * c->query_dim}, 2, 0);
        cot_tensor  *keys = random_matrix(tape, (const int64_t[]){2, c->sub_keys, c->query_dim / 2}, 3, 1);
        int32_t     *slot = cot_tape_alloc(tape, (size_t)(c->tokens * c->heads * c->top_k) * sizeof *slot);
        const double since = cot_now();
        if (slot) cot_product_key(tape, query, keys, c->heads, c->top_k, slot);
        *seconds = shorter(*seconds, since);
    }
    const cot_status status = cot_tape_status(tape);
    cot_tape_destroy(tape);
    return status;
}

enum { QUERIES = 64, KEYS = 256 }; /* of a tile of scores */

typedef struct {
    int64_t  queries, keys, width, k;
    float   *query;  /* [queries, width] */
    float   *key;    /* [keys / KEYS, width, KEYS] */
    float   *score;  /* [queries, KEYS + k]: a tile's scores, then the best so far */
    int32_t *chosen; /* [queries, k] */
} flat_search;

/* The k best of the best so far and of a tile's KEYS scores; which keys they are is left out, as it costs nothing. */
static void keep_best(const flat_search *s, const cot_gating_kernels *gating, float *score, int64_t count,
                      int32_t *chosen)
{
    float best[COT_BENCH_MOST_CHOICES];
    for (int64_t q = 0; q < count; q++) {
        float *row = score + q * (KEYS + s->k);
        gating->top_k(0, 1, KEYS + s->k, s->k, row, chosen + q * s->k);
        for (int64_t j = 0; j < s->k; j++) best[j] = row[chosen[q * s->k + j]];
        memcpy(row + KEYS, best, (size_t)s->k * sizeof *best);
    }
}

static void search_all(const flat_search *s)
{
    const cot_gating_kernels *gating = cot_gating_kernels_for(COT_MODE_F32);
    const int64_t             ld = KEYS + s->k;
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic, 1)
    for (int64_t q0 = 0; q0 < s->queries; q0 += QUERIES) {
        const int64_t  count = s->queries - q0 < QUERIES ? s->queries - q0 : QUERIES;
        float         *score = s->score + q0 * ld;
        const cot_tile tile = cot_tile_find((cot_tile_spec){.type = COT_TILE_F32,
                                                            .m = (int32_t)count,
                                                            .n = KEYS,
                                                            .k = (int32_t)s->width,
                                                            .lda = (int32_t)s->width,
                                                            .ldb = KEYS,
                                                            .ldc = (int32_t)ld});
        for (int64_t q = 0; q < count; q++)
            for (int64_t j = KEYS; j < ld; j++) score[q * ld + j] = -INFINITY;
        for (int64_t k0 = 0; k0 < s->keys; k0 += KEYS) {
            cot_tile_run(&tile, s->query + q0 * s->width, s->key + k0 * s->width, score);
            keep_best(s, gating, score, count, s->chosen + q0 * s->k);
        }
    }
}

cot_status cot_bench_brute_force(const cot_retrieval_case *c, double *seconds)
{
    COT_TRY(check_retrieval(c));
    if (c->sub_keys * c->sub_keys % KEYS || c->top_k > COT_BENCH_MOST_CHOICES)
        return cot_fail(COT_INVALID, "%lld keys and top_k %lld, expected a multiple of %d and at most %d",
                        (long long)(c->sub_keys * c->sub_keys), (long long)c->top_k, KEYS, COT_BENCH_MOST_CHOICES);
    flat_search s = {
        .queries = c->tokens * c->heads, .keys = c->sub_keys * c->sub_keys, .width = c->query_dim, .k = c->top_k};
    s.query = cot_malloc((size_t)(s.queries * s.width) * sizeof *s.query);
    s.key = cot_malloc((size_t)(s.keys * s.width) * sizeof *s.key);
    s.score = cot_malloc((size_t)(s.queries * (KEYS + s.k)) * sizeof *s.score);
    s.chosen = cot_malloc((size_t)(s.queries * s.k) * sizeof *s.chosen);
    const bool room = s.query && s.key && s.score && s.chosen;
    if (room) {
        fill(s.query, s.queries * s.width, 0);
        fill(s.key, s.keys * s.width, 1);
        const double since = cot_now();
        search_all(&s);
        *seconds = cot_now() - since;
    }
    cot_free(s.query);
    cot_free(s.key);
    cot_free(s.score);
    cot_free(s.chosen);
    return room ? COT_OK
                : cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld keys of %lld", (long long)s.keys, (long long)s.width);
}

/* ---- the rows of a pool ---- */

typedef struct {
    const cot_pool_case *c;
    cot_tape            *tape;
    cot_param            down, up;
    int32_t             *expert; /* [tokens, choices] */
    int64_t             *first;
} pool_run;

static _Thread_local volatile float sink;

static void run_forward(pool_run *r, cot_pool_rates *best)
{
    const cot_pool_case *c = r->c;
    const int64_t        count = c->tokens * c->choices;
    cot_tape_reset(r->tape, false, false, 1, 1);
    cot_tensor              *x = random_matrix(r->tape, (const int64_t[]){c->tokens, c->width}, 2, 0);
    const cot_neuron_choices choices = {.assignments = count,
                                        .first = r->first,
                                        .expert = r->expert,
                                        .gate = random_matrix(r->tape, (const int64_t[]){count}, 1, 1)};
    const cot_neuron_tables  tables = {.down = &r->down, .up = &r->up, .activation = COT_NEURON_GELU};
    const double             since = cot_now();
    cot_neurons(r->tape, x, &choices, &tables, NULL);
    const double rate = 2.0 * (double)(count * c->width) * sizeof(float) / (cot_now() - since);
    if (rate > best->forward_bytes) best->forward_bytes = rate;
}

/* The same rows of one table, by nothing but reading. */
static void run_gather(const pool_run *r, cot_pool_rates *best)
{
    const int64_t           count = r->c->tokens * r->c->choices, share = count / cot_threads();
    const cot_peak_kernels *kernels = cot_peak_kernels_now();
    const double            since = cot_now();
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int i = 0; i < cot_threads(); i++)
        sink = kernels->gather(r->up.value.data, r->expert + i * share, (size_t)share, (size_t)r->c->width);
    const double rate = (double)(share * cot_threads() * r->c->width) * sizeof(float) / (cot_now() - since);
    if (rate > best->gather_bytes) best->gather_bytes = rate;
}

static bool make_table(const pool_run *r, cot_param *table)
{
    const int64_t count = r->c->experts * r->c->width, piece = 1 << 16;
    float        *data = cot_malloc((size_t)count * sizeof *data);
    table->value = (cot_tensor){.dtype = COT_F32, .rank = 2, .shape = {r->c->experts, r->c->width, 1, 1}, .data = data};
    if (!data) return false;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < count; i += piece)
        for (int64_t j = i; j < i + piece && j < count; j++) data[j] = (float)(j % 7 - 3) * 0.01f;
    return true;
}

static bool make_choices(pool_run *r)
{
    const int64_t count = r->c->tokens * r->c->choices;
    r->expert = cot_malloc((size_t)count * sizeof *r->expert);
    r->first = cot_malloc((size_t)(r->c->tokens + 1) * sizeof *r->first);
    if (!r->expert || !r->first) return false;
    for (int64_t i = 0; i < count; i++)
        r->expert[i] = (int32_t)cot_rng_below(key_of(2), (uint64_t)i, (uint64_t)r->c->experts);
    for (int64_t t = 0; t <= r->c->tokens; t++) r->first[t] = t * r->c->choices;
    return true;
}

cot_status cot_bench_pool(const cot_pool_case *c, cot_pool_rates *out)
{
    pool_run r = {.c = c};
    *out = (cot_pool_rates){0};
    if (c->experts < 1 || c->experts > INT32_MAX || c->width < 1 || c->tokens < 1 || c->choices < 1)
        return cot_fail(COT_INVALID,
                        "%lld experts of width %lld, %lld tokens, %lld choices: expected 1 or more of each",
                        (long long)c->experts, (long long)c->width, (long long)c->tokens, (long long)c->choices);
    COT_TRY(cot_tape_create(COT_MODE_F32, &r.tape));
    const bool room = make_table(&r, &r.down) && make_table(&r, &r.up) && make_choices(&r);
    for (int i = 0; room && i < 2 * ROUNDS; i++) {
        run_gather(&r, out);
        run_forward(&r, out);
    }
    const cot_status status =
        room ? cot_tape_status(r.tape)
             : cot_fail(COT_OUT_OF_MEMORY, "no memory for 2 tables of %lld rows", (long long)c->experts);
    cot_tape_destroy(r.tape);
    cot_free(r.down.value.data);
    cot_free(r.up.value.data);
    cot_free(r.expert);
    cot_free(r.first);
    return status;
}
