/* metrics.jsonl, eval.json or task-*.json, as the first byte says, and gnuplot's script for all that can be drawn of it. */
#include <coterie/plot.h>

#include "fuzz.h"

static void write_script(const cot_plot_run *run, const cot_plot_evaluation *evaluation, const cot_plot_tasks *tasks)
{
    const cot_plot plot = {.title = "fuzz", .run = run, .evaluation = evaluation, .tasks = tasks,
                           .parts = cot_plot_parts(run, evaluation, tasks)};
    char *text;
    if (!fuzz_accepted(cot_plot_script(&plot, "fuzz.png", &text), "")) return;
    for (const char *c = text; *c; c++) FUZZ_CHECK((unsigned char)*c >= 0x20 || *c == '\n' || *c == '\t');
    free(text);
}

static void plot_metrics(const char *path)
{
    cot_plot_run *run;
    if (!fuzz_accepted(cot_plot_run_read(path, &run), "metrics.jsonl")) return;
    write_script(run, NULL, NULL);
    cot_plot_run_destroy(run);
}

static void plot_evaluation(const char *path)
{
    cot_plot_evaluation *evaluation;
    if (!fuzz_accepted(cot_plot_evaluation_read(path, &evaluation), "eval.json")) return;
    write_script(NULL, evaluation, NULL);
    cot_plot_evaluation_destroy(evaluation);
}

static void plot_tasks(const char *path)
{
    cot_plot_tasks *tasks = NULL;
    if (fuzz_accepted(cot_plot_tasks_add(path, &tasks), "task.json")) write_script(NULL, NULL, tasks);
    cot_plot_tasks_destroy(tasks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    if (data[0] == 't') plot_tasks(fuzz_file("task.json", data + 1, size - 1));
    else if (data[0] % 2) plot_evaluation(fuzz_file("eval.json", data + 1, size - 1));
    else plot_metrics(fuzz_file("metrics.jsonl", data + 1, size - 1));
    return 0;
}
