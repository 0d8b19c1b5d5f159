#include "eval_task.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/task.h>

#include "print_json.h"
#include "progress.h"
#include "table.h"
#include "terminal.h"

/* ---- options ---- */

/* A text with \n, \t and \\ written out, in memory of its own; NULL stays NULL. */
static char *unescaped(const char *text)
{
    if (!text) return NULL;
    char *out = malloc(strlen(text) + 1), *to = out;
    for (; out && *text; text++) {
        const char *found = *text == '\\' && text[1] ? strchr("nt\\", text[1]) : NULL;
        if (found) text++;
        *to++ = !found ? *text : *found == 'n' ? '\n' : *found == 't' ? '\t' : '\\';
    }
    if (out) *to = '\0';
    return out;
}

const char *eval_task_option(const cli_args *args)
{
    static const cli_option own[] = {EVAL_TASK_OPTIONS, CLI_OPTION_END};
    for (const cli_option *o = own; o->name; o++)
        if (cli_given(args, o->name)) return o->name;
    return NULL;
}

typedef struct {
    char *text[4];
    cot_task *shots_from;
    cot_task_options options;
} asked;

static void release(asked *a)
{
    for (size_t i = 0; i < 4; i++) free(a->text[i]);
    cot_task_destroy(a->shots_from);
}

static int take_options(const cli_args *args, asked *a)
{
    static const char *const names[] = {"description", "query-end", "target-delimiter", "fewshot-delimiter"};
    for (size_t i = 0; i < 4; i++) a->text[i] = unescaped(cli_text(args, names[i]));
    const char *from = cli_text(args, "shots-from");
    if (from) CLI_TRY(cot_task_read(from, &a->shots_from));
    a->options = (cot_task_options){.shots = cli_int(args, "shots"),
                                    .shots_from = a->shots_from,
                                    .seed = (uint64_t)cli_int(args, "seed"),
                                    .limit = cli_int(args, "limit"),
                                    .description = a->text[0],
                                    .query_end = a->text[1],
                                    .target_delimiter = a->text[2],
                                    .fewshot_delimiter = a->text[3],
                                    .window = cli_int(args, "window"),
                                    .bins = cli_int(args, "bins")};
    return CLI_OK;
}

/* ---- tables ---- */

/* A number, or nothing where there is none. */
static void number_cell(table *t, int decimals, double value)
{
    if (isfinite(value)) table_cell(t, "%.*f", decimals, value);
    else table_cell(t, "%s", "");
}

static void percent_cell(table *t, double share)
{
    if (isfinite(share)) table_cell(t, "%.2f%%", 100 * share);
    else table_cell(t, "%s", "");
}

static void print_scores(const cot_task_result *r)
{
    table *t = table_create("lrrr");
    table_cell(t, "score");
    table_cell(t, "value");
    table_cell(t, "stderr");
    table_cell(t, "ties");
    for (size_t i = 0; i < r->score_count; i++) {
        table_cell(t, "%s", r->scores[i].name);
        number_cell(t, 4, r->scores[i].value);
        number_cell(t, 4, r->scores[i].standard_error);
        percent_cell(t, r->scores[i].tie_rate);
    }
    table_print(t, 0, stdout);
}

static void print_reliability(const cot_calibration *c, const char *what)
{
    table *t = table_create("lrrr");
    table_cell(t, "confidence");
    table_cell(t, "%s", what);
    table_cell(t, "mean");
    table_cell(t, "right");
    for (int64_t b = 0; b < c->bins; b++) {
        if (!c->width[b].count) continue;
        table_cell(t, "%.2f to %.2f", c->width[b].from, c->width[b].to);
        table_cell(t, "%lld", (long long)c->width[b].count);
        table_cell(t, "%.4f", c->width[b].confidence);
        table_heat_cell(t, c->width[b].accuracy, "%.4f", c->width[b].accuracy);
    }
    table_print(t, 0, stdout);
}

static void print_task(const cot_task_result *r)
{
    const bool choices = r->all.count > 0;
    printf("%s: %s, %lld questions, %lld shots, window %lld", r->name, cot_task_kind_name(r->kind),
           (long long)r->questions, (long long)r->shots, (long long)r->window);
    if (isfinite(r->chance)) printf("; guessing gives %.4f", r->chance);
    printf("\n\n");
    print_scores(r);
    if (r->left_out)
        printf("\n%lld questions were left out: an answer of theirs is longer than the window\n",
               (long long)r->left_out);
    if (r->cut) printf("\n%lld questions were longer than the window and lost their beginning\n", (long long)r->cut);
    printf("\ncalibration of %s: ECE %.4f in %lld bins of equal width, %.4f of equal mass",
           choices ? "the chosen answer" : "the most probable token", r->top.ece_width, (long long)r->top.bins,
           r->top.ece_mass);
    if (choices) printf("; of every answer %.4f, %.4f", r->all.ece_width, r->all.ece_mass);
    if (isfinite(r->temperature)) printf("; best temperature %.3g", r->temperature);
    printf("\n\n");
    print_reliability(&r->top, choices ? "questions" : "tokens");
}

static double value_of(const cot_task_result *r, const char *name)
{
    const cot_task_score *score = cot_task_result_score(r, name);
    return score ? score->value : NAN;
}

static void print_summary(cot_task_result *const *results, size_t count)
{
    static const char *const heading[] = {"task", "kind",     "questions",   "guessing",      "acc", "stderr",
                                          "ties", "acc_norm", "brier_score", "bits_per_byte", "ECE"};
    static const char *const means[] = {"acc", "acc_norm", "brier_score", "bits_per_byte"};
    double sum[4] = {0};
    size_t notes = 0;
    table *t = table_create("llrrrrrrrrr");
    for (size_t i = 0; i < sizeof heading / sizeof *heading; i++) table_cell(t, "%s", heading[i]);
    for (size_t i = 0; i < count; i++) {
        const cot_task_result *r = results[i];
        const cot_task_score *acc = cot_task_result_score(r, "acc");
        for (size_t m = 0; m < 4; m++) sum[m] += value_of(r, means[m]);
        table_cell(t, "%s", r->name);
        table_cell(t, "%s", cot_task_kind_name(r->kind));
        table_cell(t, "%lld", (long long)r->questions);
        number_cell(t, 4, r->chance);
        number_cell(t, 4, acc->value);
        number_cell(t, 4, acc->standard_error);
        percent_cell(t, acc->tie_rate);
        for (size_t m = 1; m < 4; m++) number_cell(t, 4, value_of(r, means[m]));
        number_cell(t, 4, r->top.ece_width);
    }
    table_cell(t, "mean of tasks");
    for (size_t i = 0; i < 3; i++) table_cell(t, "%s", "");
    number_cell(t, 4, sum[0] / (double)count);
    for (size_t i = 0; i < 2; i++) table_cell(t, "%s", "");
    for (size_t m = 1; m < 4; m++) number_cell(t, 4, sum[m] / (double)count);
    table_cell(t, "%s", "");
    table_print(t, 0, stdout);
    for (size_t i = 0; i < count; i++)
        if (results[i]->left_out || results[i]->cut)
            printf(
                "%s%s: %lld questions left out (an answer is longer than the window), %lld without their beginning\n",
                notes++ ? "" : "\n", results[i]->name, (long long)results[i]->left_out, (long long)results[i]->cut);
}

/* ---- JSON ---- */

static int print_as_json(cot_task_result *const *results, size_t count)
{
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < count; i++) {
        char *text;
        CLI_TRY(cot_task_result_to_json(results[i], &text));
        json_array_append_new(list, json_loads(text, 0, NULL));
        free(text);
    }
    json_object_set_new(root, "tasks", list);
    return print_json(root);
}

/* What a run keeps: task-NAME.json. */
static void keep(const cot_task_result *r, const char *run)
{
    char path[4096], *text;
    if (!run || snprintf(path, sizeof path, "%s/task-%s.json", run, r->name) >= (int)sizeof path ||
        cot_task_result_to_json(r, &text) != COT_OK)
        return;
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    if (!root || !write_json(root, path))
        fprintf(stderr, "coterie: %s cannot be written; `coterie plot` will miss it\n", path);
    json_decref(root);
}

/* ---- the tasks ---- */

static bool show(void *context, uint64_t done, uint64_t total)
{
    progress *bar = context;
    bar->total = (double)total;
    progress_update(bar, (double)done, NULL);
    return !cli_stop_requested();
}

static int run_task(const cli_args *args, const cot_task *task, const asked *a, cot_model *model,
                    const cot_tokenizer *tokenizer, cot_task_result **result)
{
    progress bar;
    char what[64];
    snprintf(what, sizeof what, "%s", cot_task_name(task));
    progress_start(&bar, what, "questions", 0, 0);
    cot_status status = cot_task_run(model, tokenizer, task, &a->options, show, &bar, result);
    progress_clear(&bar);
    if (status == COT_OK && cli_given(args, "answers"))
        status = cot_task_result_write_answers(*result, task, &a->options, cli_text(args, "answers"));
    return status == COT_OK ? CLI_OK : cli_failed();
}

/* What the --task paths name, one after the other. */
typedef struct {
    cot_task       **task;
    cot_task_result **result;
    size_t           count;
} task_list;

static int read_tasks(const cli_args *args, task_list *list)
{
    for (size_t i = 0; i < cli_count(args, "task"); i++) {
        cot_task **some;
        size_t count;
        CLI_TRY(cot_tasks_read(cli_text_at(args, "task", i), &some, &count));
        cot_task **grown = realloc(list->task, (list->count + count) * sizeof *grown);
        if (grown) {
            memcpy(grown + list->count, some, count * sizeof *some);
            list->task = grown;
            list->count += count;
        }
        cot_tasks_destroy(some, grown ? 0 : count);
        if (!grown) return cli_fail("no memory for %zu tasks", list->count + count);
    }
    list->result = calloc(list->count, sizeof *list->result);
    return list->result ? CLI_OK : cli_fail("no memory for %zu tasks", list->count);
}

static int run_tasks(const cli_args *args, const asked *a, cot_model *model, const cot_tokenizer *tokenizer,
                     const char *run, const task_list *list)
{
    if (list->count > 1 && cli_given(args, "answers"))
        return cli_misuse(args, "--answers keeps one task's; %zu are given", list->count);
    for (size_t i = 0; i < list->count; i++) {
        const int code = run_task(args, list->task[i], a, model, tokenizer, &list->result[i]);
        if (code != CLI_OK) return code;
        if (!a->options.limit) keep(list->result[i], run);
    }
    if (cli_flag(args, "json")) return print_as_json(list->result, list->count);
    if (list->count == 1) print_task(list->result[0]);
    else print_summary(list->result, list->count);
    return CLI_OK;
}

int eval_tasks(const cli_args *args, cot_model *model, const cot_tokenizer *tokenizer, const char *run)
{
    asked a = {0};
    task_list list = {0};
    int code = take_options(args, &a);
    if (code == CLI_OK) code = read_tasks(args, &list);
    if (code == CLI_OK) code = run_tasks(args, &a, model, tokenizer, run, &list);
    for (size_t i = 0; i < list.count; i++) {
        if (list.result) cot_task_result_destroy(list.result[i]);
        cot_task_destroy(list.task[i]);
    }
    free(list.result);
    free(list.task);
    release(&a);
    return code;
}
