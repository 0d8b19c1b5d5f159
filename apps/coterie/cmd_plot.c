/* coterie plot: pictures of a run, from its metrics, its last evaluation, and its answers to tasks. */
#define _POSIX_C_SOURCE 200809L /* scandir */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/plot.h>

#include "cli.h"

enum { PATH_BYTES = 4096 };

typedef struct {
    const char *name;
    unsigned    part;
} picture;

static const picture pictures[] = {
    {"curve", COT_PLOT_CURVE},
    {"load", COT_PLOT_LOAD},
    {"sources", COT_PLOT_SOURCES},
    {"keys", COT_PLOT_KEYS},
    {"reliability", COT_PLOT_RELIABILITY},
};

enum { PICTURES = sizeof pictures / sizeof *pictures };

static const cli_option options[] = {
    {.name = "output", .letter = 'o', .kind = CLI_TEXT, .value = "FILE",
     .help = "the picture: .png, .svg or .pdf (default: one PNG for each part, in the folder)"},
    {.name = "what", .kind = CLI_CHOICE, .value = "curve|load|sources|keys|reliability|all", .fallback = "all",
     .help = "learning curve; load of the experts over time; which expert takes which text; use of product keys; confidence in answers"},
    {.name = "eval", .kind = CLI_TEXT, .value = "FILE",
     .help = "what `coterie eval --json` printed (default: eval.json in the folder)"},
    {.name = "task", .kind = CLI_TEXT, .repeated = true, .value = "FILE",
     .help = "what `coterie eval --task --json` printed (default: every task-*.json in the folder)"},
    {.name = "keep-script", .kind = CLI_FLAG, .help = "keeps the gnuplot script beside the picture, as .gp"},
    CLI_OPTION_END,
};

typedef struct {
    char                 folder[PATH_BYTES - 64];  /* without a slash at its end */
    const char          *title;                    /* the folder's own name */
    cot_plot_run        *run;
    cot_plot_evaluation *evaluation;
    cot_plot_tasks      *tasks;
    bool                 keep_script;
} album;

static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static bool take_folder(album *a, const char *folder)
{
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/') length--;
    if (length == 0 || length >= sizeof a->folder) return false;
    memcpy(a->folder, folder, length);
    a->folder[length] = '\0';
    const char *const slash = strrchr(a->folder, '/');
    a->title = slash && slash[1] ? slash + 1 : a->folder;
    return is_there(a->folder);
}

static int is_result(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, "task-", 5) == 0 && length > 10 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

static cot_status read_tasks(const cli_args *args, album *a)
{
    cot_status status = COT_OK;
    for (size_t i = 0; i < cli_count(args, "task") && status == COT_OK; i++)
        status = cot_plot_tasks_add(cli_text_at(args, "task", i), &a->tasks);
    struct dirent **found = NULL;
    const int count = cli_given(args, "task") ? 0 : scandir(a->folder, &found, is_result, alphasort);
    for (int i = 0; i < count; free(found[i++])) {
        char path[PATH_BYTES + 256];
        snprintf(path, sizeof path, "%s/%s", a->folder, found[i]->d_name);
        if (status == COT_OK) status = cot_plot_tasks_add(path, &a->tasks);
    }
    free(found);
    return status;
}

static cot_status read_album(const cli_args *args, album *a)
{
    char path[PATH_BYTES];
    const char *const given = cli_text(args, "eval");
    snprintf(path, sizeof path, "%s/metrics.jsonl", a->folder);
    cot_status status = is_there(path) ? cot_plot_run_read(path, &a->run) : COT_OK;
    snprintf(path, sizeof path, "%s/eval.json", a->folder);
    if (status == COT_OK && (given || is_there(path)))
        status = cot_plot_evaluation_read(given ? given : path, &a->evaluation);
    return status == COT_OK ? read_tasks(args, a) : status;
}

static int draw(const album *a, unsigned parts, const char *path)
{
    const cot_plot plot = {
        .title = a->title, .run = a->run, .evaluation = a->evaluation, .tasks = a->tasks, .parts = parts};
    CLI_TRY(cot_plot_draw(&plot, path, a->keep_script));
    printf("%s\n", path);
    return CLI_OK;
}

/* Why a part cannot be drawn, and what to do about it. */
static int explain(const album *a, unsigned missing)
{
    if (missing & (COT_PLOT_CURVE | COT_PLOT_LOAD) && !a->run)
        return cli_fail("%s has no metrics.jsonl: it is not the folder of a training run", a->folder);
    if (missing & (COT_PLOT_SOURCES | COT_PLOT_KEYS) && !a->evaluation)
        return cli_fail("%s has no eval.json: `coterie eval %s` measures which expert takes which text", a->folder,
                        a->folder);
    if (missing & COT_PLOT_KEYS)
        return cli_fail("%s has no layers with product keys in its eval.json; `coterie eval %s` writes it anew", a->folder,
                        a->folder);
    if (missing & COT_PLOT_RELIABILITY)
        return cli_fail("%s has no task-*.json: `coterie eval %s --task FILE` asks questions", a->folder, a->folder);
    return cli_fail("%s has no sparse layers, so there are no experts to draw", a->folder);
}

/* All parts that there are: into one picture, or each into its own in the folder. */
static int draw_all(const album *a, const char *output)
{
    const unsigned parts = cot_plot_parts(a->run, a->evaluation, a->tasks);
    if (parts == 0)
        return cli_fail("%s has neither metrics.jsonl of a training run nor eval.json of `coterie eval`", a->folder);
    if (output) return draw(a, parts, output);
    int code = CLI_OK;
    for (size_t i = 0; i < PICTURES && code == CLI_OK; i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s.png", a->folder, pictures[i].name);
        if (parts & pictures[i].part) code = draw(a, pictures[i].part, path);
    }
    if (code == CLI_OK && parts & COT_PLOT_LOAD && !a->evaluation && !cli_quiet())
        printf("`coterie eval %s` adds a picture of which expert takes which text\n", a->folder);
    return code;
}

static int draw_one(const album *a, const picture *what, const char *output)
{
    char path[PATH_BYTES];
    if (!(cot_plot_parts(a->run, a->evaluation, a->tasks) & what->part)) return explain(a, what->part);
    snprintf(path, sizeof path, "%s/%s.png", a->folder, what->name);
    return draw(a, what->part, output ? output : path);
}

static int run(const cli_args *args)
{
    album a = {.keep_script = cli_flag(args, "keep-script")};
    const char *const output = cli_text(args, "output"), *const what = cli_text(args, "what");
    if (!take_folder(&a, cli_positional(args, 0)))
        return cli_fail("%s: there is no such folder", cli_positional(args, 0));
    size_t i = 0;
    while (i < PICTURES && strcmp(pictures[i].name, what) != 0) i++;
    int code = read_album(args, &a) == COT_OK ? CLI_OK : cli_failed();
    if (code == CLI_OK) code = i < PICTURES ? draw_one(&a, &pictures[i], output) : draw_all(&a, output);
    cot_plot_run_destroy(a.run);
    cot_plot_evaluation_destroy(a.evaluation);
    cot_plot_tasks_destroy(a.tasks);
    return code;
}

const cli_command command_plot = {
    .name = "plot",
    .summary = "draws a run: learning curve, load of the experts, which expert takes which text, use of product keys, reliability",
    .arguments = "RUN|MODEL",
    .details =
        "Reads metrics.jsonl of a run, and eval.json and task-NAME.json that `coterie eval` leaves in its folder. Without "
        "-o each part becomes curve.png, load.png, sources.png, keys.png and reliability.png in the folder; with -o all that there "
        "is becomes one picture.\n"
        "Drawing is done by gnuplot. With --keep-script its script stays beside the picture, numbers included, to be "
        "edited and run again.",
    .examples = "coterie plot runs/default\tall pictures, into the run's folder\n"
                "coterie plot runs/default -o report.pdf\tone page with everything\n"
                "coterie plot runs/default --what load -o load.svg --keep-script\tone part, and load.gp\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = options,
    .run = run,
};
