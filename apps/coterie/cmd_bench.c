/* coterie bench: what this machine can do, and how near training comes to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/bench.h>
#include <coterie/recipes.h>

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

/* One case in one precision. */
static int run_case(const cli_args *args, const char *name, const char *dtype, json_t *cases)
{
    char file[128], precision[64];
    cot_config *recipe;
    cot_bench_result result;
    const bool small = strncmp(name, "small", 5) == 0;
    const int64_t steps = cli_int(args, "steps") ? cli_int(args, "steps") : small ? 60 : 6;
    snprintf(file, sizeof file, "bench-%s", name);
    snprintf(precision, sizeof precision, "train.precision=%s", dtype);
    CLI_TRY(cli_read_recipe(args, file, NULL, &recipe));
    cot_status status = cot_config_set(recipe, precision);
    if (status == COT_OK) status = cot_config_set(recipe, "train.steps=1000000");
    if (status == COT_OK) status = cot_bench_train(recipe, steps, &result);
    cot_config_destroy(recipe);
    if (status != COT_OK) return cli_failed();
    if (cases) json_array_append_new(cases, case_json(name, dtype, &result));
    else print_case(name, dtype, &result);
    return CLI_OK;
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

static int run(const cli_args *args)
{
    const cot_machine m = cot_machine_measure();
    json_t *cases = cli_flag(args, "json") ? json_array() : NULL;
    if (!cases) print_machine(&m);
    const int code = cli_flag(args, "machine") ? CLI_OK : run_all(args, &m, cases);
    if (!cases) return code;
    if (code == CLI_OK) return print_json(json_pack("{s:o, s:o}", "machine", machine_json(&m), "cases", cases));
    json_decref(cases);
    return code;
}

const cli_command command_bench = {
    .name = "bench",
    .summary = "measures this machine's limits, then training against them",
    .arguments = "[CASE...]",
    .details = "Cases are the recipes bench-CASE: dense, moe, small-dense, small-moe (these by default), and peer, which takes 10 GiB. Each trains on random tokens and prints tokens "
               "per second of the median step, the fraction of the machine's product peak (a multiply-add is two FLOPs, attention by its causal half), peak "
               "memory of the process, and where the time went.",
    .examples = "coterie bench\teverything\n"
                "coterie bench moe --dtype bf16\tone case\n"
                "coterie bench dense --set train.recompute=true --json\twith a change, as JSON\n",
    .max_positional = -1,
    .options = options,
    .run = run,
};
