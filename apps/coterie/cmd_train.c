/* coterie train: from a recipe to a trained model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/bench.h>
#include <coterie/recipes.h>
#include <coterie/train.h>

#include "cli.h"
#include "preparing.h"
#include "progress.h"
#include "table.h"
#include "terminal.h"

static const cli_option options[] = {
    CLI_SET_OPTION,
    {.name = "out", .letter = 'o', .kind = CLI_TEXT, .value = "DIR",
     .help = "the run's folder (default: runs/ and the recipe's name, numbered when taken)"},
    {.name = "from", .kind = CLI_TEXT, .value = "MODEL",
     .help = "starts from the parameters of a model folder, with its architecture and tokenizer"},
    {.name = "resume", .kind = CLI_TEXT, .value = "DIR",
     .help = "goes on with the run in DIR where its last checkpoint stands"},
    {.name = "dry-run", .kind = CLI_FLAG, .help = "says what the run would be and cost, and stops"},
    CLI_OPTION_END,
};

/* ---- what the run is ---- */

/* Seconds that so many FLOPs take: training reaches 60 % of the measured peak in models as small as the default one,
 * more in larger. */
static double expected_seconds(const cot_plan_info *info)
{
    const double peak = cot_machine_product_peak(info->bf16), update_peak = cot_machine_product_peak(false);
    return peak > 0 ? info->flops / (0.6 * peak) + info->optimizer_flops / (0.6 * update_peak) : NAN;
}

static void print_plan(const cot_plan *plan, FILE *stream)
{
    const cot_plan_info info = cot_plan_describe(plan);
    const cot_model_info model = cot_model_describe(cot_plan_model(plan), info.context);
    char total[16], active[16], tokens[16], time[32], flops[16], train[16], bytes[16], layer[256];
    format_count((double)model.parameters_total, total, sizeof total);
    format_count((double)model.parameters_active, active, sizeof active);
    format_count((double)info.tokens, tokens, sizeof tokens);
    format_count((double)info.train_tokens, train, sizeof train);
    format_count(info.flops_per_token, flops, sizeof flops);
    format_count((double)info.bytes, bytes, sizeof bytes);
    format_duration(expected_seconds(&info), time, sizeof time);
    fprintf(stream, "model      %s parameters, %s active for a token; %lld layers of width %lld, %lld symbols\n", total,
            active, (long long)model.num_layers, (long long)model.hidden_size, (long long)model.vocab_size);
    cot_model_layer_text(cot_plan_model(plan), model.num_layers - 1, layer, sizeof layer);
    fprintf(stream, "layers     %lld sparse, %lld dense; the last: %s\n", (long long)model.sparse_layers,
            (long long)(model.num_layers - model.sparse_layers), layer);
    if (info.from) fprintf(stream, "from       %s\n", info.from);
    if (info.parameters_frozen > 0) {
        format_count((double)info.parameters_trained, active, sizeof active);
        fprintf(stream, "frozen     all but %s parameters\n", active);
    }
    fprintf(stream, "data       %s training tokens in %d sources, %lld for validation\n", train,
            cot_corpus_source_count(cot_plan_corpus(plan)), (long long)info.valid_tokens);
    fprintf(stream, "training   %s tokens in %lld steps of %lld rows of %lld; %s, %s, products in %s, seed %llu\n",
            tokens, (long long)info.steps, (long long)info.rows, (long long)info.context, info.optimizer, info.schedule,
            info.precision, (unsigned long long)info.seed);
    fprintf(stream, "cost       %s FLOPs a token, %.2g in all; about %sB of memory\n", flops, info.flops, bytes);
    fprintf(stream, "expected   %s on this machine\n", time);
}

/* ---- the run ---- */

static void note_of(const cot_step_report *r, double peak, char *out, size_t size)
{
    const cot_step_layer *worst = NULL;
    for (int64_t i = 0; i < r->layer_count; i++)
        if (!worst || r->layers[i].max_vio > worst->max_vio) worst = &r->layers[i];
    char tokens[16];
    format_count((double)r->tokens, tokens, sizeof tokens);
    int n = snprintf(out, size, "step %lld, %s tokens, loss %.3f", (long long)r->step, tokens, r->loss);
    if (peak > 0) n += snprintf(out + n, size - (size_t)n, ", %.0f%% of peak", 100 * r->flops_per_s / peak);
    if (worst)
        snprintf(out + n, size - (size_t)n, ", worst balance layer %lld max/mean %.2f", (long long)worst->layer,
                 1 + worst->max_vio);
}

static void print_validation(const cot_step_report *r)
{
    if (cli_quiet()) return;
    fprintf(stderr, "step %lld: validation loss %.4f", (long long)r->step, r->valid->total.loss);
    if (isfinite(r->valid->total.bits_per_byte)) fprintf(stderr, ", %.4f bits per byte", r->valid->total.bits_per_byte);
    fputc('\n', stderr);
}

static int stopped(cot_trainer *trainer)
{
    CLI_TRY(cot_trainer_save(trainer));
    fprintf(stderr, "stopped and saved; go on with: coterie train --resume %s\n", cot_trainer_folder(trainer));
    return CLI_OK;
}

/* What a full disk or a crowded one broke off goes on once there is room. */
static int broke_off(cot_trainer *trainer, cot_status status)
{
    if (status != COT_IO && status != COT_OUT_OF_MEMORY) return cli_failed();
    return cli_fail("%s; go on later with: coterie train --resume %s", cot_last_error(), cot_trainer_folder(trainer));
}

static int train(cot_trainer *trainer)
{
    const cot_plan_info info = cot_plan_describe(cot_trainer_plan(trainer));
    const double peak = cli_quiet() ? 0 : cot_machine_product_peak(info.bf16);  /* for the line of progress alone */
    progress bar;
    cot_step_report report = {0};
    char note[160];
    progress_start(&bar, "training", "tokens", (double)info.tokens, (double)cot_trainer_tokens(trainer));
    while (!cot_trainer_done(trainer)) {
        if (cli_stop_requested()) {
            progress_clear(&bar);
            return stopped(trainer);
        }
        const cot_status status = cot_trainer_step(trainer, &report);
        if (status != COT_OK) {
            progress_clear(&bar);
            return broke_off(trainer, status);
        }
        note_of(&report, peak, note, sizeof note);
        progress_update(&bar, (double)report.tokens, note);
        if (!report.valid) continue;
        progress_clear(&bar);
        print_validation(&report);
    }
    progress_clear(&bar);
    if (!cli_quiet()) {
        char time[32];
        format_duration(progress_seconds(&bar), time, sizeof time);
        fprintf(stderr, "trained in %s; the run lies in %s\n", time, cot_trainer_folder(trainer));
    }
    printf("%s\n", cot_trainer_folder(trainer));
    return CLI_OK;
}

/* ---- where ---- */

static bool taken(const char *folder)
{
    struct stat info;
    return stat(folder, &info) == 0;
}

/* runs/NAME, or runs/NAME-2 ... where that is taken. */
static void choose_folder(const char *recipe, char *out, size_t size)
{
    const char *slash = strrchr(recipe, '/'), *base = slash ? slash + 1 : recipe, *dot = strrchr(base, '.');
    const int length = (int)(dot && dot != base ? dot - base : (long)strlen(base));
    snprintf(out, size, "runs/%.*s", length, base);
    for (int i = 2; taken(out); i++) snprintf(out, size, "runs/%.*s-%d", length, base, i);
}

static int start(const cli_args *args, preparing *p)
{
    const char *name = cli_positional(args, 0) ? cli_positional(args, 0) : "default";
    cot_config *recipe;
    cot_plan *plan;
    CLI_TRY(cli_read_recipe(args, name, cli_text(args, "from"), &recipe));
    const cot_status status = cot_plan_create(recipe, show_preparation, p, &plan);
    cot_config_destroy(recipe);
    progress_clear(&p->bar);
    if (status != COT_OK) return cli_failed();
    if (cli_flag(args, "dry-run")) {
        print_plan(plan, stdout);
        cot_plan_destroy(plan);
        return CLI_OK;
    }
    char folder[4096];
    if (cli_text(args, "out")) snprintf(folder, sizeof folder, "%s", cli_text(args, "out"));
    else choose_folder(name, folder, sizeof folder);
    cot_trainer *trainer;
    CLI_TRY(cot_trainer_create(plan, folder, &trainer));
    if (!cli_quiet()) print_plan(cot_trainer_plan(trainer), stderr);
    const int code = train(trainer);
    cot_trainer_destroy(trainer);
    return code;
}

static int resume(const cli_args *args, preparing *p)
{
    const size_t count = cli_count(args, "set");
    const char **changes = malloc((count + 1) * sizeof *changes);
    cot_trainer *trainer;
    if (!changes) return cli_fail("no memory for the arguments");
    for (size_t i = 0; i < count; i++) changes[i] = cli_text_at(args, "set", i);
    const cot_status status =
        cot_trainer_resume(cli_text(args, "resume"), changes, count, show_preparation, p, &trainer);
    free(changes);
    progress_clear(&p->bar);
    if (status != COT_OK) return cli_failed();
    const int code = train(trainer);
    cot_trainer_destroy(trainer);
    return code;
}

static int run(const cli_args *args)
{
    preparing p = {0};
    if (cli_given(args, "resume") && cli_positional(args, 0))
        return cli_misuse(args, "--resume has its recipe already: leave '%s' out", cli_positional(args, 0));
    if (cli_given(args, "resume") && cli_given(args, "from"))
        return cli_misuse(args, "--resume goes on with a run, --from starts a new one: expected one of them");
    cli_watch_stop();
    return cli_given(args, "resume") ? resume(args, &p) : start(args, &p);
}

const cli_command command_train = {
    .name = "train",
    .summary = "trains a model from a recipe",
    .arguments = "[RECIPE]",
    .details = "RECIPE is a YAML file or the name of one that comes with Coterie (coterie list recipes); without it the default one is run. The run's folder "
               "is a model folder that eval, generate, info and plot take, with metrics.jsonl beside (a line a step).\n"
               "Ctrl-C and SIGTERM finish the step, save, say how to go on, and end with exit code 0; a second one ends at once. --resume goes on, and "
               "the continued run is bit-identical to one never stopped.\n"
               "--from MODEL trains a model on: its architecture and tokenizer take the place of the recipe's (--set model.dropout=0.1 changes them), "
               "the rest of RECIPE says on what and how. train.freeze keeps parameters as they are, train.optimizer.groups gives some their own learning "
               "rate and weight decay.",
    .examples = "coterie train\tthe default recipe, on the corpus that comes with Coterie\n"
                "coterie train --set train.seed=2 --set train.optimizer.lr=2e-3\tthe same with changes\n"
                "coterie train my.yaml --dry-run\tparameters, memory, FLOPs, expected time\n"
                "coterie train my.yaml --from runs/default --set 'train.freeze=[\"*\", \"!*.router.*\"]'\ttrains a model's routers on, on other texts\n"
                "coterie train --resume runs/default --set train.tokens=8e6\ta longer run from where it stopped\n",
    .max_positional = 1,
    .options = options,
    .run = run,
};
