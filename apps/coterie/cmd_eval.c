/* coterie eval: how well a model predicts text, which expert takes which text, and the yardstick beside it; or how well
 * it answers questions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/evaluate.h>
#include <coterie/yardstick.h>

#include "cli.h"
#include "eval_task.h"
#include "print_json.h"
#include "progress.h"
#include "run_folder.h"
#include "table.h"
#include "terminal.h"

enum { ORDERS = 5 };

static const cli_option options[] = {
    {.name = "data", .kind = CLI_TEXT, .value = "PATH",
     .help = "text to score instead of the validation part of the run's corpus: a file or a folder"},
    {.name = "split", .kind = CLI_CHOICE, .value = "valid|train", .fallback = "valid",
     .help = "which part of the run's corpus"},
    {.name = "window", .kind = CLI_INT, .value = "N", .min = 0, .max = 1 << 24,
     .help = "tokens that a prediction may look at (default: the model's context)"},
    {.name = "stride", .kind = CLI_INT, .value = "N", .min = 0, .max = 1 << 24,
     .help = "tokens from one window to the next (default: half a window)"},
    {.name = "max-tokens", .kind = CLI_INT, .value = "N", .min = 0, .max = 1e15,
     .help = "of each source (default: all)"},
    {.name = "no-yardstick", .kind = CLI_FLAG, .help = "leaves out the Kneser-Ney models"},
    EVAL_TASK_OPTIONS,
    {.name = "tokens", .kind = CLI_TEXT, .value = "IDS.json",
     .help = "computes the logits of this list of token ids instead; needs --logits"},
    {.name = "logits", .kind = CLI_TEXT, .value = "OUT.safetensors",
     .help = "where they go, as the tensor `logits` [tokens, vocabulary]"},
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

/* ---- the yardstick ---- */

typedef struct {
    bool   there;
    double loss[ORDERS], bits_per_byte[ORDERS];
} yardstick;

typedef struct {
    int32_t *ids;
    size_t  *starts;
    cot_text_size size;
} token_list;

static bool take_tokens(const cot_corpus *corpus, cot_split split, token_list *out)
{
    out->size = cot_corpus_size(corpus, split, -1);
    out->ids = malloc((out->size.tokens + 1) * sizeof *out->ids);
    out->starts = malloc((out->size.documents + 1) * sizeof *out->starts);
    if (out->ids && out->starts) cot_corpus_tokens(corpus, split, -1, out->ids, out->starts);
    return out->ids && out->starts;
}

static void free_tokens(token_list *list)
{
    free(list->ids);
    free(list->starts);
}

/* Kneser-Ney of order 1 to 5, trained on the training tokens, over the tokens that the model was scored on. */
static cot_status measure_yardstick(const cot_corpus *train, const cot_corpus *scored, cot_split split, uint64_t bytes,
                                    yardstick *out)
{
    token_list from = {0}, on = {0};
    cot_kneser_ney *model = NULL;
    cot_kneser_ney_score score;
    *out = (yardstick){0};
    cot_status status =
        take_tokens(train, COT_SPLIT_TRAIN, &from) && take_tokens(scored, split, &on) ? COT_OK : COT_OUT_OF_MEMORY;
    if (status == COT_OK)
        status = cot_kneser_ney_create(from.ids, from.size.tokens, from.starts, from.size.documents,
                                       cot_corpus_vocabulary(train), ORDERS, &model);
    if (status == COT_OK)
        status = cot_kneser_ney_evaluate(model, on.ids, on.size.tokens, on.starts, on.size.documents, &score);
    for (int i = 0; status == COT_OK && i < ORDERS; i++) {
        out->loss[i] = score.nll[i] / (double)score.tokens;
        out->bits_per_byte[i] = score.nll[i] / (log(2) * (double)bytes);
        out->there = true;
    }
    cot_kneser_ney_destroy(model);
    free_tokens(&from);
    free_tokens(&on);
    return status;
}

/* ---- output ---- */

static void score_row(table *t, const cot_score *s)
{
    table_cell(t, "%s", s->name);
    table_cell(t, "%.4f", s->loss);
    table_cell(t, "%.2f", s->perplexity);
    table_cell(t, "%.4f", s->bits_per_byte);
    table_cell(t, "%llu", (unsigned long long)s->tokens);
    table_cell(t, "%llu", (unsigned long long)s->bytes);
}

static void print_scores(const cot_evaluation *e)
{
    static const char *const heading[] = {"source", "loss (nats/token)", "perplexity", "bits per byte", "tokens",
                                          "bytes"};
    table *t = table_create("lrrrrr");
    for (size_t i = 0; i < 6; i++) table_cell(t, "%s", heading[i]);
    for (int32_t i = 0; i < e->source_count; i++)
        if (e->sources[i].tokens) score_row(t, &e->sources[i]);
    score_row(t, &e->total);
    table_print(t, 0, stdout);
    printf(
        "\nevery token but the first of a document scored once; window %lld, stride %lld; perplexity per word %.2f\n",
        (long long)e->window, (long long)e->stride, e->total.word_perplexity);
}

static void print_yardstick(const yardstick *y, const cot_score *model)
{
    if (!y->there) return;
    printf("\nyardstick: %s over the same tokens\n", cot_kneser_ney_name());
    table *t = table_create("lrr");
    table_cell(t, "model");
    table_cell(t, "loss (nats/token)");
    table_cell(t, "bits per byte");
    for (int i = 0; i < ORDERS; i++) {
        table_cell(t, "order %d", i + 1);
        table_cell(t, "%.4f", y->loss[i]);
        table_cell(t, "%.4f", y->bits_per_byte[i]);
    }
    table_cell(t, "this model");
    table_cell(t, "%.4f", model->loss);
    table_cell(t, "%.4f", model->bits_per_byte);
    table_print(t, 0, stdout);
    printf("this model is %.4f bits per byte %s than order %d\n",
           fabs(y->bits_per_byte[ORDERS - 1] - model->bits_per_byte),
           model->bits_per_byte < y->bits_per_byte[ORDERS - 1] ? "better" : "worse", ORDERS);
}

enum { SHOWN_MOST = 1024 };  /* experts of which a table says something */

/* Of layers whose experts are too many for the table below. */
static void print_histogram(const cot_layer_use *layer)
{
    int bins = COT_USE_BINS;
    while (bins > 1 && !layer->use_histogram[bins - 1]) bins--;
    char alignment[COT_USE_BINS + 2] = "l";
    for (int b = 0; b < bins; b++) alignment[b + 1] = 'r';
    table *t = table_create(alignment);
    table_cell(t, "times used");
    for (int b = 0; b < bins; b++) {
        const long long from = b ? 1LL << (b - 1) : 0, to = b ? 2 * from - 1 : 0;
        if (b == COT_USE_BINS - 1) table_cell(t, "%lld or more", from);
        else if (from == to) table_cell(t, "%lld", from);
        else table_cell(t, "%lld-%lld", from, to);
    }
    table_cell(t, "experts");
    for (int b = 0; b < bins; b++) table_cell(t, "%lld", (long long)layer->use_histogram[b]);
    table_print(t, 2, stdout);
}

static void print_layer(const cot_evaluation *e, const cot_layer_use *layer)
{
    printf("\nlayer %lld: %% of each source's tokens an expert took (CV^2 %.3f, max/mean %.2f, router entropy %.2f "
           "nats, dropped %.2f%%, dead %lld)\n",
           (long long)layer->layer, layer->cv2, 1 + layer->max_vio, layer->router_entropy, 100 * layer->drop_fraction,
           (long long)layer->dead);
    if (layer->experts > SHOWN_MOST) {
        printf("  %lld experts: %.2f%% used, unevenness %.3f nats (%.3f of it for lack of tokens)\n",
               (long long)layer->experts, 100 * layer->usage, layer->unevenness, layer->unevenness_bias);
        print_histogram(layer);
        return;
    }
    char alignment[128] = "l";
    const int64_t shown = layer->experts < 64 ? layer->experts : 64;
    double most = 0;
    for (int64_t j = 0; j < shown; j++) alignment[j + 1] = 'r';
    for (int64_t j = 0; j < e->source_count * layer->experts; j++) most = fmax(most, layer->source_load[j]);
    table *t = table_create(alignment);
    table_cell(t, "source");
    for (int64_t j = 0; j < shown; j++) table_cell(t, "e%lld", (long long)j);
    for (int32_t s = 0; s < e->source_count; s++) {
        if (!e->sources[s].tokens) continue;
        table_cell(t, "%s", e->sources[s].name);
        for (int64_t j = 0; j < shown; j++) {
            const double load = layer->source_load[s * layer->experts + j];
            table_heat_cell(t, load / most, "%.0f", 100 * load);
        }
    }
    table_print(t, 0, stdout);
    if (shown < layer->experts) printf("(experts from %lld on are in --json)\n", (long long)shown);
    if (shown < layer->experts || layer->grid.sub_keys) print_histogram(layer);
}

static json_t *yardstick_json(const yardstick *y)
{
    json_t *orders = json_array();
    for (int i = 0; i < ORDERS; i++)
        json_array_append_new(orders, json_pack("{s:i, s:f, s:f}", "order", i + 1, "loss", y->loss[i], "bits_per_byte",
                                                y->bits_per_byte[i]));
    return json_pack("{s:s, s:o}", "name", cot_kneser_ney_name(), "orders", orders);
}

static int print(const cli_args *args, const cot_evaluation *e, const yardstick *y, const char *run)
{
    char *text;
    CLI_TRY(cot_evaluation_to_json(e, &text));
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    if (root && y->there) json_object_set_new(root, "yardstick", yardstick_json(y));
    if (root && run) {
        char path[4096];
        snprintf(path, sizeof path, "%s/eval.json", run);
        if (!write_json(root, path))
            fprintf(stderr, "coterie: %s cannot be written; `coterie plot` will miss it\n", path);
    }
    if (cli_flag(args, "json")) return print_json(root);
    json_decref(root);
    print_scores(e);
    print_yardstick(y, &e->total);
    for (int64_t i = 0; i < e->layer_count; i++) print_layer(e, &e->layers[i]);
    return CLI_OK;
}

/* ---- the command ---- */

typedef struct {
    cot_model     *model;
    cot_tokenizer *tokenizer;
    cot_config    *recipe;   /* of the run; NULL when there is none */
    cot_corpus    *corpus;   /* of the run; NULL when there is none */
    cot_corpus    *given;    /* --data */
} things;

static void release(things *t)
{
    cot_corpus_destroy(t->given);
    cot_corpus_destroy(t->corpus);
    cot_config_destroy(t->recipe);
    cot_tokenizer_destroy(t->tokenizer);
    cot_model_destroy(t->model);
}

static bool show(void *context, uint64_t done, uint64_t total)
{
    progress *bar = context;
    bar->total = (double)total;
    progress_update(bar, (double)done, NULL);
    return !cli_stop_requested();
}

/* Another text is read as the run's own was: what its recipe says about reading holds for it too. */
static cot_status open_given(const char *path, things *t, progress *bar)
{
    static const char *const kept[] = {"cache_dir", "text_field", "invalid"};
    cot_config *data = NULL;
    cot_status status = cot_config_parse("{valid_path: ''}", "--data", &data);
    if (status == COT_OK) status = cot_config_set_text(data, "valid_path", path);
    for (size_t i = 0; status == COT_OK && i < sizeof kept / sizeof *kept; i++) {
        const char *text =
            t->recipe ? cot_config_text(cot_config_get(cot_config_get(t->recipe, "data"), kept[i])) : NULL;
        if (text) status = cot_config_set_text(data, kept[i], text);
    }
    if (status == COT_OK) status = cot_corpus_create(data, t->tokenizer, show, bar, &t->given);
    cot_config_destroy(data);
    return status;
}

static int evaluate(const cli_args *args, things *t, const char *run)
{
    progress bar;
    yardstick y = {0};
    cot_evaluation *e;
    const char *given = cli_text(args, "data");
    progress_start(&bar, "scoring", "tokens", 0, 0);
    if (given) CLI_TRY(open_given(given, t, &bar));
    if (t->recipe && (!given || !cli_flag(args, "no-yardstick"))) {
        const cot_status status =
            cot_corpus_create(cot_config_get(t->recipe, "data"), t->tokenizer, show, &bar, &t->corpus);
        if (status != COT_OK && !given) return cli_failed();
        if (status != COT_OK) fprintf(stderr, "coterie: no yardstick: %s\n", cot_last_error());
    }
    const cot_corpus *corpus = t->given ? t->given : t->corpus;
    if (!corpus)
        return cli_fail("%s has no recipe.yaml that names its corpus: say what to score with --data PATH",
                        cli_positional(args, 0));
    const cot_split split =
        !t->given && strcmp(cli_text(args, "split"), "train") == 0 ? COT_SPLIT_TRAIN : COT_SPLIT_VALID;
    const cot_evaluate_options o = {.split = split,
                                    .window = cli_int(args, "window"),
                                    .stride = cli_int(args, "stride"),
                                    .max_tokens = cli_int(args, "max-tokens")};
    const cot_status status = cot_evaluate(t->model, corpus, t->tokenizer, &o, show, &bar, &e);
    progress_clear(&bar);
    if (status != COT_OK) return cli_failed();
    int code = CLI_OK;
    if (t->corpus && !cli_flag(args, "no-yardstick") && o.max_tokens == 0 &&
        measure_yardstick(t->corpus, corpus, split, e->total.bytes, &y) != COT_OK)
        code = cli_failed();
    if (code == CLI_OK) code = print(args, e, &y, given || split == COT_SPLIT_TRAIN ? NULL : run);
    cot_evaluation_destroy(e);
    return code;
}

static int run(const cli_args *args)
{
    things t = {0};
    const char *folder = cli_positional(args, 0), *ids = cli_text(args, "tokens"), *logits = cli_text(args, "logits");
    if (!ids != !logits) return cli_misuse(args, "--tokens and --logits go together");
    const char *alone = cli_given(args, "task") ? NULL : eval_task_option(args);
    if (alone) return cli_misuse(args, "--%s goes with --task", alone);
    cli_watch_stop();
    int code = CLI_OK;
    if (cot_model_load(folder, &t.model, &t.tokenizer) != COT_OK) code = cli_failed();
    else if (ids) code = cot_model_logits_file(t.model, ids, logits) == COT_OK ? CLI_OK : cli_failed();
    else if (!t.tokenizer)
        code = cli_fail("%s has no tokenizer.json, so no text can be scored; --tokens takes ids", folder);
    else if (run_recipe(folder, &t.recipe) != COT_OK) code = cli_failed();
    else if (cli_given(args, "task")) code = eval_tasks(args, t.model, t.tokenizer, t.recipe ? folder : NULL);
    else code = evaluate(args, &t, t.recipe ? folder : NULL);
    release(&t);
    return code;
}

const cli_command command_eval = {
    .name = "eval",
    .summary = "measures how well a model predicts text, by source, how its experts are used, and how well it answers questions",
    .arguments = "MODEL",
    .details = "MODEL is a run's folder or any model folder. Scores every token but the first of each document once, with at most a window of context. "
               "Beside the model stands a yardstick: interpolated Kneser-Ney models of order 1 to 5 over the same tokens.\n"
               "For a run the result is also kept as eval.json in its folder, where `coterie plot` finds it.\n"
               "With --task it answers questions instead, each answer scored by its log probability: rows of JSON with query, choices and gold; context_options, "
               "continuation and gold; sentence_good and sentence_bad; or context and continuation. Scores have lm-eval's names and are its numbers. A run "
               "keeps them as task-NAME.json.",
    .examples = "coterie eval runs/default\tthe validation part of the run's corpus\n"
                "coterie eval runs/default --data book.txt --json\tanother text, as JSON\n"
                "coterie eval runs/default --task arc_easy.jsonl --query-end '\\nAnswer:' --shots 5\tquestions, after five solved ones each\n"
                "coterie eval runs/default --task copa.jsonl --task blimp/anaphor_gender_agreement.jsonl --json\tseveral tasks, as JSON\n"
                "coterie eval runs/default --tokens ids.json --logits out.safetensors\tlogits of a token sequence\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = options,
    .run = run,
};
