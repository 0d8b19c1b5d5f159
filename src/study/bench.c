/* The bench cases: a recipe trained for some steps, timed. */
#include <coterie/bench.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <coterie/train.h>

#include "base/fail.h"
#include "base/memory.h"
#include "tensor/tape.h"

double cot_bench_now(void) { return cot_now(); }

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linux: the peak is counted from here on. Elsewhere it stays that of the process. */
static void forget_peak_memory(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

static int64_t peak_memory(void)
{
    struct rusage usage;
    char          line[256];
    long long     kib = -1;
    FILE         *file = fopen("/proc/self/status", "r");
    while (file && kib < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lld kB", &kib) != 1) kib = -1;
    if (file) fclose(file);
    if (kib < 0 && getrusage(RUSAGE_SELF, &usage) == 0) kib = usage.ru_maxrss;
    return kib * 1024;
}

static cot_status run_steps(cot_trainer *trainer, int64_t warm_up, int64_t steps, double start, double *seconds, cot_bench_result *out)
{
    cot_step_report report;
    for (int64_t i = 0; i < warm_up + steps; i++) {
        if (i == warm_up) cot_trainer_clear_times(trainer);
        COT_TRY(cot_trainer_step(trainer, &report));
        if (i == 0) out->startup_s = cot_now() - start;
        if (i >= warm_up) seconds[i - warm_up] = report.seconds;
    }
    out->loss = report.loss;
    if (report.layer_count > 0) {
        const cot_step_layer *last = &report.layers[report.layer_count - 1];
        out->experts_used = last->usage * (double)last->experts;
    }
    return COT_OK;
}

static void summarise(const cot_trainer *trainer, const cot_plan_info *plan, double *seconds, int64_t steps, cot_bench_result *out)
{
    qsort(seconds, (size_t)steps, sizeof *seconds, by_size);
    const double median = steps % 2 ? seconds[steps / 2] : (seconds[steps / 2 - 1] + seconds[steps / 2]) / 2;
    out->steps = steps;
    out->step_ms = 1e3 * median;
    out->min_step_ms = 1e3 * seconds[0];
    out->tokens_per_s = (double)plan->tokens_per_step / median;
    out->flops_per_token = plan->flops_per_token;
    out->peak_flops = cot_machine_product_peak(plan->bf16);
    out->fraction_of_peak = out->tokens_per_s * out->flops_per_token / out->peak_flops;
    out->peak_rss_bytes = peak_memory();
    for (; out->time_count < 16; out->time_count++) {
        cot_bench_time *time = &out->times[out->time_count];
        if (!cot_trainer_time(trainer, out->time_count, &time->kind, &time->seconds, &time->back)) break;
        time->back /= (double)steps;
        time->seconds /= (double)steps;
    }
}

cot_status cot_bench_train(const cot_config *recipe, int64_t warm_up, int64_t steps, cot_bench_result *out)
{
    const double start = cot_now();
    cot_plan *plan;
    cot_trainer *trainer;
    *out = (cot_bench_result){0};
    if (steps < 1 || warm_up < 0)
        return cot_fail(COT_INVALID, "%lld steps after %lld, expected 1 or more after 0 or more", (long long)steps, (long long)warm_up);
    cot_machine_product_peak(false);
    forget_peak_memory();
    COT_TRY(cot_plan_create(recipe, NULL, NULL, &plan));
    const cot_plan_info info = cot_plan_describe(plan);
    COT_TRY(cot_trainer_create(plan, NULL, &trainer));
    double *seconds = cot_malloc((size_t)steps * sizeof *seconds);
    cot_status status = seconds ? run_steps(trainer, warm_up, steps, start, seconds, out) : cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld times", (long long)steps);
    if (status == COT_OK) summarise(trainer, &info, seconds, steps, out);
    cot_free(seconds);
    cot_trainer_destroy(trainer);
    return status;
}
