/* coterie bench peer, beside the whole step: what its layer of a million neurons costs in it, what it moves, and how
 * near the pool's forward comes to the machine's gather. */
#include <stdio.h>

#include "bench_parts.h"

/* The layer of recipe bench-peer. */
static const double T = 4096, D = 384, HEADS = 8, K = 16, QUERY = 128, N = 1024 * 1024, SUB_KEYS = 1024, F32 = 4;
static const double least_fraction = 0.8;

typedef struct {
    const char *name;
    double      seconds, moved, least; /* bytes: as it is done, and as few as can be */
} part;

enum { PARTS = 4 };

/* Every array counts once for each pass over it. Least: what the layer is given and gives, each row that is needed
 * once. */
static void fill_parts(const cot_bench_result *r, part parts[PARTS])
{
    double       pool_back;
    const double routing = bench_seconds_of(r, "routing", NULL),
                 pool = bench_seconds_of(r, "experts", &pool_back);
    const double assigned = T * HEADS * K, row = D * F32, used = r->experts_used, tokens = T * row;
    const double queries = T * HEADS * QUERY * F32, tables = (HEADS * QUERY * D + SUB_KEYS * QUERY) * F32, found = 3 * assigned * F32;
    /* forward: product, statistics, norm, search; back: search's gradients, norm's sums and gradient, two products */
    parts[0] = (part){"retrieval", routing, 2 * tokens + 3 * tables + 12 * queries + 3 * found,
                      2 * tokens + 3 * tables + 2 * found};
    parts[1] = (part){"forward", pool - pool_back, 2 * assigned * row + 3 * tokens, 2 * used * row + 3 * tokens};
    /* rows of both tables, and x and dy kept for the update */
    parts[2] = (part){"backward", pool_back, 2 * assigned * row + 7 * tokens, 2 * used * row + 3 * tokens};
    /* rows and two moments of both tables, read and written; a token's vector for each assignment */
    parts[3] = (part){"update", bench_seconds_of(r, "rows", NULL), 12 * used * row + 2 * assigned * row,
                      12 * used * row + 2 * tokens};
}

static void print_layer(const cot_bench_result *r, const part *parts, const cot_pool_rates *rates)
{
    double seconds = 0;
    for (int i = 0; i < PARTS; i++) seconds += parts[i].seconds;
    printf("  the layer: %.1f ms, %.1f%% of the step; %.0f rows of a table used\n", 1e3 * seconds,
           1e5 * seconds / r->step_ms, r->experts_used);
    for (int i = 0; i < PARTS; i++)
        printf("    %-9s %6.1f ms, %4.1f%% of the step, passes over %7.1f MB, least %7.1f MB\n", parts[i].name,
               1e3 * parts[i].seconds, 1e5 * parts[i].seconds / r->step_ms, parts[i].moved / 1e6, parts[i].least / 1e6);
    printf("    retrieval at most 12%% of the step: %s\n",
           1e3 * parts[0].seconds <= 0.12 * r->step_ms ? "met" : "MISSED");
    printf("  rows drawn evenly: gathering alone %.1f GB/s, the pool's forward %.1f, %.0f%%   at least %.0f%%: %s\n",
           rates->gather_bytes / 1e9, rates->forward_bytes / 1e9, 100 * rates->forward_bytes / rates->gather_bytes,
           100 * least_fraction, rates->forward_bytes >= least_fraction * rates->gather_bytes ? "met" : "MISSED");
    fflush(stdout);
}

static json_t *layer_json(const cot_bench_result *r, const part *parts, const cot_pool_rates *rates)
{
    json_t *list = json_array();
    for (int i = 0; i < PARTS; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:f, s:f, s:f}", "name", parts[i].name, "ms", 1e3 * parts[i].seconds,
                                        "bytes", parts[i].moved, "least_bytes", parts[i].least));
    return json_pack("{s:f, s:o, s:f, s:f, s:f, s:b}", "rows_used", r->experts_used, "parts", list,
                     "gather_bytes_per_s", rates->gather_bytes, "forward_bytes_per_s", rates->forward_bytes, "target",
                     least_fraction, "met", rates->forward_bytes >= least_fraction * rates->gather_bytes);
}

int bench_peer_layer(const cot_bench_result *r, json_t *json)
{
    const cot_pool_case c = {
        .experts = (int64_t)N, .width = (int64_t)D, .tokens = (int64_t)T, .choices = (int64_t)(HEADS * K)};
    cot_pool_rates rates;
    part           parts[PARTS];
    CLI_TRY(cot_bench_pool(&c, &rates));
    fill_parts(r, parts);
    if (json)
        json_object_set_new(json, "layer", layer_json(r, parts, &rates));
    else
        print_layer(r, parts, &rates);
    return CLI_OK;
}
