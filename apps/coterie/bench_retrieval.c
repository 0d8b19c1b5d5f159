/* coterie bench retrieval: the time that finding experts takes against their number, by product keys and by brute
 * force. */
#include <stdio.h>

#include "bench_parts.h"
#include "progress.h"

enum { LARGEST_FLAT = 1024, FLAT_TOKENS = 32 }; /* of brute force: sub-keys, and tokens that stand for all */

static const int64_t     sub_keys[] = {128, 256, 512, 1024, 2048};
static const char *const names[] = {"128", "256", "512", "1024", "2048"};

enum { SIZES = sizeof sub_keys / sizeof *sub_keys };

static json_t *size_json(int64_t n, double seconds, double first, double flat)
{
    return json_pack("{s:I, s:f, s:f, s:o}", "experts", (json_int_t)(n * n), "product_keys_ms", 1e3 * seconds,
                     "times_smallest", seconds / first, "brute_force_ms",
                     flat > 0 ? json_real(1e3 * flat) : json_null());
}

static void print_size(int64_t n, double seconds, double first, double flat)
{
    char beside[64] = "not measured";
    if (flat > 0) snprintf(beside, sizeof beside, "%.0f ms, %.0f times", 1e3 * flat, flat / seconds);
    printf("%4lld^2 = %7lld experts: %6.1f ms, %5.2f times the smallest (sub-keys: %.0f times)   brute force %s\n",
           (long long)n, (long long)(n * n), 1e3 * seconds, seconds / first, (double)n / (double)sub_keys[0], beside);
    fflush(stdout);
}

/* Brute force grows with queries and keys alone, so few tokens say what all of them take. */
static cot_status measure(int64_t n, double *seconds, double *flat)
{
    cot_retrieval_case c = {.tokens = 4096, .heads = 8, .top_k = 16, .query_dim = 128, .sub_keys = n};
    const double       all = (double)c.tokens / FLAT_TOKENS;
    cot_status         status = cot_bench_retrieval(&c, seconds);
    *flat = 0;
    if (status != COT_OK || n > LARGEST_FLAT) return status;
    c.tokens = FLAT_TOKENS;
    status = cot_bench_brute_force(&c, flat);
    *flat *= all;
    return status;
}

int bench_retrieval_check(const cli_args *args)
{
    return bench_check_rows(args, names, SIZES);
}

int bench_retrieval(const cli_args *args, json_t *json)
{
    progress p;
    double   first = 0;
    json_t  *list = json ? json_array() : NULL;
    if (json)
        json_object_set_new(json, "retrieval", list);
    else
        printf("retrieval of 16 experts for each of 8 heads, queries of 128, 4096 tokens, f32 (brute force: %d tokens, "
               "times %d)\n",
               FLAT_TOKENS, 4096 / FLAT_TOKENS);
    progress_start(&p, "retrieval", NULL, SIZES, 0);
    for (size_t i = 0; i < SIZES; i++) {
        double seconds, flat;
        if (!bench_row_wanted(args, names[i])) continue;
        progress_update(&p, (double)i, names[i]);
        CLI_TRY(measure(sub_keys[i], &seconds, &flat));
        progress_clear(&p);
        if (first <= 0) first = seconds;
        if (json)
            json_array_append_new(list, size_json(sub_keys[i], seconds, first, flat));
        else
            print_size(sub_keys[i], seconds, first, flat);
    }
    return CLI_OK;
}
