/* coterie bench: what this machine can do, and how near training comes to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/bench.h>
#include <coterie/recipes.h>

#include "bench_parts.h"
#include "cli.h"
#include "print_json.h"
#include "progress.h"
#include "table.h"

static const char *const all_cases[] = {"dense", "moe", "small-dense", "small-moe"};

static const cli_option options[] = {
    {.name = "dtype", .kind = CLI_CHOICE, .value = "all|f32|bf16", .fallback = "all", .help = "precision of the products"},
    {.name = "steps", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 100000, .help = "steps that count (default: 6, small cases 60)"},
    {.name = "machine", .kind = CLI_FLAG, .help = "measures the machine only"},
    CLI_SET_OPTION,
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

static void print_machine(const cot_machine *m)
{
    printf("machine: %s, %d threads, kernels %s\n", m->cpu, m->threads, m->kernels);
    printf("  products  %6.0f GFLOP/s f32", m->f32_flops / 1e9);
    if (m->bf16_flops > 0) printf(", %.0f bf16", m->bf16_flops / 1e9);
    printf("\n  memory    %6.1f GB/s streaming read, %.1f gathering random rows of 1.5 KiB\n", m->read_bytes / 1e9, m->gather_bytes / 1e9);
}

static json_t *machine_json(const cot_machine *m)
{
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f}", "cpu", m->cpu, "kernels", m->kernels, "threads", m->threads, "f32_flops", m->f32_flops,
                     "bf16_flops", m->bf16_flops, "read_bytes_per_s", m->read_bytes, "gather_bytes_per_s", m->gather_bytes);
}

static json_t *case_json(const char *name, const char *dtype, const cot_bench_result *r)
{
    json_t *times = json_object();
    for (size_t i = 0; i < r->time_count; i++) json_object_set_new(times, r->times[i].kind, json_real(1e3 * r->times[i].seconds));
    return json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:I, s:f, s:o}", "name", name, "dtype", dtype, "tokens_per_s", r->tokens_per_s, "step_ms",
                     r->step_ms, "min_step_ms", r->min_step_ms, "flops_per_token", r->flops_per_token, "fraction_of_peak", r->fraction_of_peak, "peak_rss_bytes",
                     (json_int_t)r->peak_rss_bytes, "startup_s", r->startup_s, "steps", (json_int_t)r->steps, "loss", r->loss, "times_ms", times);
}

static void print_case(const char *name, const char *dtype, const cot_bench_result *r)
{
    printf("%s %s: %.0f tokens/s, %.1f ms a step, %.1f%% of the product peak (%.0f of %.0f GFLOP/s), %.2f GiB, first step after %.2f s\n", name, dtype,
           r->tokens_per_s, r->step_ms, 100 * r->fraction_of_peak, r->fraction_of_peak * r->peak_flops / 1e9, r->peak_flops / 1e9,
           (double)r->peak_rss_bytes / (1 << 30), r->startup_s);
    double whole = 0;
    for (size_t i = 0; i < r->time_count; i++) whole += r->times[i].seconds;
    printf("   ");
    for (size_t i = 0; i < r->time_count; i++)
        if (r->times[i].seconds > 0.001 * whole) printf(" %s %.0f%%", r->times[i].kind, 100 * r->times[i].seconds / whole);
    printf("\n");
    fflush(stdout);
}

int bench_train_case(const cli_args *args, const char *name, const char *dtype, const char *const *changes, int64_t warm_up, int64_t steps,
                     cot_bench_result *out)
{
    char file[128], precision[64];
    cot_config *recipe;
    snprintf(file, sizeof file, "bench-%s", name);
    snprintf(precision, sizeof precision, "train.precision=%s", dtype);
    CLI_TRY(cli_read_recipe(args, file, NULL, &recipe));
    cot_status status = cot_config_set(recipe, precision);
    if (status == COT_OK) status = cot_config_set(recipe, "train.steps=1000000");
    for (; changes && *changes && status == COT_OK; changes++) status = cot_config_set(recipe, *changes);
    if (status == COT_OK) status = cot_bench_train(recipe, warm_up, steps, out);
    cot_config_destroy(recipe);
    return status == COT_OK ? CLI_OK : cli_failed();
}

double bench_seconds_of(const cot_bench_result *r, const char *kind, double *back)
{
    for (size_t i = 0; i < r->time_count; i++) {
        if (strcmp(r->times[i].kind, kind) != 0) continue;
        if (back) *back = r->times[i].back;
        return r->times[i].seconds;
    }
    return 0;
}

bool bench_row_wanted(const cli_args *args, const char *name)
{
    for (size_t i = 1; i < cli_positionals(args); i++)
        if (strcmp(cli_positional(args, i), name) == 0) return true;
    return cli_positionals(args) < 2;
}

void bench_precisions(const cli_args *args, const cot_machine *machine, bool wanted[2])
{
    const char *dtype = cli_text(args, "dtype");
    const bool all = strcmp(dtype, "all") == 0;
    wanted[0] = all || strcmp(dtype, "f32") == 0;
    wanted[1] = all ? machine->bf16_flops > 0 : !wanted[0];
}

int bench_check_rows(const cli_args *args, const char *const *names, size_t count)
{
    char all[512] = "";
    for (size_t i = 0; i < count; i++) {
        strncat(all, i ? ", " : "", sizeof all - strlen(all) - 1);
        strncat(all, names[i], sizeof all - strlen(all) - 1);
    }
    for (size_t i = 1; i < cli_positionals(args); i++) {
        size_t at = 0;
        while (at < count && strcmp(cli_positional(args, i), names[at]) != 0) at++;
        if (at == count) return cli_misuse(args, "there is no row '%s', expected %s", cli_positional(args, i), count ? all : "none");
    }
    return CLI_OK;
}

/* One case in one precision. */
static int run_case(const cli_args *args, const char *name, const char *dtype, json_t *cases)
{
    cot_bench_result result;
    const bool small = strncmp(name, "small", 5) == 0;
    const int64_t steps = cli_int(args, "steps") ? cli_int(args, "steps") : small ? 60 : 6;
    const int code = bench_train_case(args, name, dtype, NULL, 2, steps, &result);
    if (code != CLI_OK) return code;
    json_t *json = cases ? case_json(name, dtype, &result) : NULL;
    if (cases) json_array_append_new(cases, json);
    else print_case(name, dtype, &result);
    return strcmp(name, "peer") == 0 && cli_count(args, "set") == 0 ? bench_peer_layer(&result, json) : CLI_OK;
}

static int run_all(const cli_args *args, const cot_machine *m, json_t *cases)
{
    const size_t given = cli_positionals(args), count = given ? given : sizeof all_cases / sizeof *all_cases;
    const char *dtype = cli_text(args, "dtype");
    for (size_t i = 0; i < count; i++) {
        const char *name = given ? cli_positional(args, i) : all_cases[i];
        if (strcmp(dtype, "bf16") != 0 && run_case(args, name, "f32", cases) != CLI_OK) return CLI_FAILED;
        const bool asked = strcmp(dtype, "bf16") == 0, worth = m->bf16_flops > 0 && strncmp(name, "small", 5) != 0;
        if ((asked || (strcmp(dtype, "all") == 0 && worth)) && run_case(args, name, "bf16", cases) != CLI_OK) return CLI_FAILED;
    }
    return CLI_OK;
}

/* ---- all of it ---- */

typedef enum { CASES, ROUTERS, RETRIEVAL, GENERATION } asked;

static asked what_is_asked(const cli_args *args)
{
    const char *first = cli_positionals(args) ? cli_positional(args, 0) : "";
    if (strcmp(first, "routers") == 0) return ROUTERS;
    if (strcmp(first, "retrieval") == 0) return RETRIEVAL;
    return strcmp(first, "generation") == 0 ? GENERATION : CASES;
}

static int check(const cli_args *args, asked what)
{
    if (what == ROUTERS) return bench_routers_check(args);
    if (what == RETRIEVAL) return bench_retrieval_check(args);
    return what == GENERATION ? bench_check_rows(args, NULL, 0) : CLI_OK;
}

/* `out` gets the results unless it is NULL. */
static int measure(const cli_args *args, asked what, const cot_machine *m, json_t *out)
{
    if (cli_flag(args, "machine")) return CLI_OK;
    if (what == ROUTERS) return bench_routers(args, m, out);
    if (what == RETRIEVAL) return bench_retrieval(args, out);
    return what == GENERATION ? bench_generation(args, m, out) : run_all(args, m, out ? json_object_get(out, "cases") : NULL);
}

static int run(const cli_args *args)
{
    const asked what = what_is_asked(args);
    int code = check(args, what);
    if (code != CLI_OK) return code;
    const cot_machine m = cot_machine_measure();
    json_t *out = cli_flag(args, "json") ? json_pack("{s:o, s:[]}", "machine", machine_json(&m), "cases") : NULL;
    if (!out) print_machine(&m);
    code = measure(args, what, &m, out);
    if (out && code == CLI_OK) return print_json(out);
    json_decref(out);
    return code;
}

const cli_command command_bench = {
    .name = "bench",
    .summary = "measures this machine's limits, then training against them",
    .arguments = "[CASE... | routers|retrieval|generation [ROW...]]",
    .details = "Cases are the recipes bench-CASE: dense, moe, small-dense, small-moe (these by default), and peer, which takes 10 GiB. Each trains on random tokens and prints tokens "
               "per second of the median step, the fraction of the machine's product peak (a multiply-add is two FLOPs, attention by its causal half), peak "
               "memory of the process, and where the time went. Case peer also says what its layer costs, part by part, and how near reading its rows comes to the machine's gather.\n"
               "routers puts one router after another into case moe and prints the share of a step that is routing: everything a sparse layer does besides its "
               "experts' own work (scores, selection, sorting, sums over experts, balance losses). Rows fine-256x128 and fine-2048x16 have many small experts of the same active width; "
               "auction is router base's assignment by itself, also where all tokens prefer the same experts. Names choose rows. About three minutes.\n"
               "retrieval finds experts by product keys among 128^2 to 2048^2 of them, beside brute force.\n"
               "generation compares the time for one token with a PEER layer and without.",
    .examples = "coterie bench\teverything\n"
                "coterie bench moe --dtype bf16\tone case\n"
                "coterie bench routers sinkhorn base auction\tthree rows\n"
                "coterie bench peer --dtype f32\ta million experts\n"
                "coterie bench dense --set train.recompute=true --json\twith a change, as JSON\n",
    .max_positional = -1,
    .options = options,
    .run = run,
};
