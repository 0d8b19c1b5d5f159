#include "training/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/cpu.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/options.h"
#include "data/recipe_tokenizer.h"
#include "objectives/objective.h"
#include "training/optimizers/optimizer.h"
#include "training/patterns.h"
#include "training/room.h"
#include "training/schedules/schedule.h"

typedef struct {
    const cot_config *model, *data, *train;
    char             *from;
} sections;

const cot_option cot_recipe_options[] = {
    COT_OPTION_PART(sections, model, "models", "the architecture"),
    COT_OPTION_PART(sections, data, "data", "what is trained on"),
    COT_OPTION_PART(sections, train, "train", "how long, how fast and how precisely"),
    COT_OPTION_STRING(sections, from, "", "a model folder to start from; what `model` says is laid over its model section"),
    COT_OPTION_END,
};

const cot_option cot_train_option_table[] = {
    COT_OPTION_DOUBLE(cot_train_options, tokens, 2e6, 1, 1e15, "tokens to train on (rounded up to whole steps)"),
    COT_OPTION_INT(cot_train_options, steps, 0, 0, 1e12, "steps to train; 0 = as many as tokens asks for"),
    COT_OPTION_INT(cot_train_options, batch, 16, 1, 1e7, "rows of `context` tokens in a step"),
    COT_OPTION_INT(cot_train_options, accumulation, 1, 1, 1e6, "parts that a step's rows are computed in, one after the other"),
    COT_OPTION_PART(cot_train_options, optimizer, "optimizers", "{kind: adamw, lr: 1e-3, ...}; see `coterie list optimizers`"),
    COT_OPTION_PART(cot_train_options, schedule, "schedules", "{kind: cosine, warmup: 0.02, ...}; see `coterie list schedules`; absent: constant"),
    COT_OPTION_PART(cot_train_options, objective, "objectives", "{kind: next_token}"),
    COT_OPTION_NODE(cot_train_options, freeze, "patterns of names of parameters that stay as they are, e.g. ['embed.*', 'layers.0.*']; a '!' in front lets go again"),
    COT_OPTION_DOUBLE(cot_train_options, clip_grad_norm, 1, 0, 1e9, "largest gradient norm (all parameters together); 0 = no limit"),
    COT_OPTION_BOOL(cot_train_options, clip_tables, false, "tables that learn by touched row (neurons, values) count in the gradient norm too; the clip scales their updates either way"),
    COT_OPTION_CHOICE(cot_train_options, precision, 0, "auto|f32|bf16", "of products; auto: the fastest that the machine has"),
    COT_OPTION_INT(cot_train_options, seed, 1, 0, 9e15, "of initialisation, shuffling, noise and dropout"),
    COT_OPTION_BOOL(cot_train_options, recompute, false, "recompute activations when going back: less memory, same bits"),
    COT_OPTION_INT(cot_train_options, eval_every, 0, 0, 1e12, "steps between evaluations; 0 = only at the end"),
    COT_OPTION_INT(cot_train_options, eval_tokens, 0, 0, 1e12, "validation tokens of each source in an evaluation; 0 = all"),
    COT_OPTION_INT(cot_train_options, save_every, 0, 0, 1e12, "steps between checkpoints (the last one is kept); 0 = only at the end"),
    COT_OPTION_INT(cot_train_options, keep_every, 0, 0, 1e12, "steps between model folders kept for good under kept/; 0 = none"),
    COT_OPTION_END,
};

typedef struct {
    cot_prepare_progress progress;
    void                *context;
    const char          *what;
} telling;

static bool tell(void *context, uint64_t done, uint64_t total)
{
    const telling *t = context;
    return !t->progress || t->progress(t->context, t->what, done, total);
}

static cot_status check_sections(const cot_config *recipe)
{
    sections found = {0};
    if (cot_config_get_kind(recipe) != COT_CONFIG_MAP)
        return cot_fail(COT_INVALID, "%s: no recipe: expected a map with model, data and train", cot_config_file(recipe));
    COT_TRY(cot_options_apply(cot_recipe_options, &found, recipe));
    const bool starts_anew = !found.from || !*found.from;
    cot_options_release(cot_recipe_options, &found);
    const char *missing = starts_anew && !found.model ? "model" : !found.data ? "data" : !found.train ? "train" : NULL;
    return missing ? cot_fail(COT_INVALID, "%s: the recipe has no '%s', expected model, data and train", cot_config_file(recipe), missing)
                   : COT_OK;
}

/* The recipe's model section is the source's, with what the recipe says about the model on top. */
static cot_status take_source(cot_plan *plan)
{
    const char *from = cot_config_text(cot_config_get(plan->recipe, "from"));
    if (!from || !*from) return COT_OK;
    if (!plan->source && !(plan->source = cot_strdup(from))) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
    cot_config *section;
    COT_TRY(cot_model_folder_describe(plan->source, &section, &plan->vocab_size, &plan->longest));
    cot_status status = cot_config_overlay(section, cot_config_get(plan->recipe, "model"));
    if (status == COT_OK) status = cot_config_put(plan->recipe, "model", section);
    cot_config_destroy(section);
    return status;
}

static cot_status take_train(cot_plan *plan)
{
    cot_train_options *o = &plan->train;
    const cot_config *section = cot_config_get(plan->recipe, "train");
    COT_TRY(cot_options_apply(cot_train_option_table, o, section));
    if (!o->optimizer) return cot_config_fail(section, "has no 'optimizer', expected e.g. {kind: adamw, lr: 1e-3}");
    if (o->batch % o->accumulation)
        return cot_config_fail(cot_config_get(section, "accumulation"), "is %lld, expected a divisor of batch, %lld", (long long)o->accumulation,
                               (long long)o->batch);
    plan->bf16 = o->precision == 2 || (o->precision == 0 && cot_cpu() >= COT_CPU_AVX512BF16);
    return COT_OK;
}

/* Kinds and shapes are checked before the corpus is looked at; the vocabulary may still be unknown then. */
static cot_status check_early(const cot_plan *plan)
{
    cot_model *model = NULL;
    cot_schedule *schedule = NULL;
    cot_objective *objective = NULL;
    cot_status status = cot_model_create(cot_config_get(plan->recipe, "model"), 1, 1, &model);
    if (status == COT_OK) status = cot_schedule_create(plan->train.schedule, &schedule);
    if (status == COT_OK) status = cot_objective_create(plan->train.objective, &objective);
    if (status == COT_OK) status = cot_params_freeze(model->params, plan->train.freeze);
    if (status == COT_OK) status = cot_optimizer_check(plan->train.optimizer, model->params);
    cot_model_destroy(model);
    cot_schedule_destroy(schedule);
    cot_objective_destroy(objective);
    return status;
}

/* Is there a row to train on? */
static cot_status check_length(const cot_plan *plan)
{
    const cot_config *data = cot_config_get(plan->recipe, "data"), *context = cot_config_get(data, "context");
    const uint64_t tokens = cot_corpus_size(plan->corpus, COT_SPLIT_TRAIN, -1).tokens;
    if (plan->tokenizer && tokens <= (uint64_t)plan->context)
        return cot_config_fail(context ? context : data, "asks for rows of %lld tokens, but the corpus is too short: %llu tokens to train on, expected %lld or more",
                               (long long)plan->context, (unsigned long long)tokens, (long long)plan->context + 1);
    cot_batches *batches;
    COT_TRY(cot_batches_create(plan->corpus, (uint64_t)plan->train.seed, plan->train.batch, &batches));
    cot_batches_destroy(batches);
    return COT_OK;
}

static cot_status take_data(cot_plan *plan, cot_prepare_progress progress, void *context)
{
    const cot_config *data = cot_config_get(plan->recipe, "data");
    telling t = {progress, context, "tokenizer"};
    char *keep;
    COT_TRY(cot_recipe_tokenizer(data, plan->source, tell, &t, &plan->tokenizer, &keep));
    t.what = "corpus";
    const cot_status status = cot_corpus_create(data, plan->tokenizer, tell, &t, &plan->corpus);
    if (status == COT_OK) cot_recipe_tokenizer_keep(plan->tokenizer, keep);
    else cot_free(keep);
    if (status != COT_OK) return status;
    plan->context = cot_corpus_context(plan->corpus);
    const double per_step = (double)(plan->train.batch * plan->context);
    COT_TRY(check_length(plan));
    plan->steps = plan->train.steps ? plan->train.steps : (int64_t)ceil(plan->train.tokens / per_step);
    return COT_OK;
}

/* A model that goes on keeps its symbols, and the longest sequence that it was meant for. */
static cot_status make_model(cot_plan *plan)
{
    const int32_t symbols = cot_corpus_vocabulary(plan->corpus);
    if (plan->source && symbols > plan->vocab_size)
        return cot_fail(COT_INVALID, "the data have %d symbols, the model in %s %lld: they belong to different tokenizers", symbols, plan->source, (long long)plan->vocab_size);
    const int64_t vocab_size = plan->source ? plan->vocab_size : symbols, longest = plan->longest > plan->context ? plan->longest : plan->context;
    COT_TRY(cot_model_create(cot_config_get(plan->recipe, "model"), vocab_size, longest, &plan->model));
    return cot_params_freeze(plan->model->params, plan->train.freeze);
}

static cot_status prepare(cot_plan *plan, cot_prepare_progress progress, void *context)
{
    COT_TRY(check_sections(plan->recipe));
    COT_TRY(take_train(plan));
    COT_TRY(take_source(plan));
    COT_TRY(check_early(plan));
    COT_TRY(take_data(plan, progress, context));
    COT_TRY(make_model(plan));
    return cot_room_check(plan->model->params, cot_plan_describe(plan).bytes, cot_room_available());
}

cot_status cot_plan_create(const cot_config *recipe, cot_prepare_progress progress, void *context, cot_plan **out)
{
    return cot_plan_create_from(recipe, NULL, progress, context, out);
}

cot_status cot_plan_create_from(const cot_config *recipe, const char *source, cot_prepare_progress progress, void *context, cot_plan **out)
{
    *out = NULL;
    cot_plan *plan = cot_calloc(sizeof *plan);
    if (!plan) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a plan");
    cot_status status = cot_config_copy(recipe, &plan->recipe);
    if (status == COT_OK && source && cot_config_get(recipe, "from") && !(plan->source = cot_strdup(source)))
        status = cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
    if (status == COT_OK) status = prepare(plan, progress, context);
    if (status != COT_OK) {
        cot_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return COT_OK;
}

void cot_plan_destroy(cot_plan *plan)
{
    if (!plan) return;
    cot_options_release(cot_train_option_table, &plan->train);
    cot_model_destroy(plan->model);
    cot_corpus_destroy(plan->corpus);
    cot_tokenizer_destroy(plan->tokenizer);
    cot_config_destroy(plan->recipe);
    cot_free(plan->source);
    cot_free(plan);
}

const cot_model     *cot_plan_model(const cot_plan *plan) { return plan->model; }
const cot_corpus    *cot_plan_corpus(const cot_plan *plan) { return plan->corpus; }
const cot_tokenizer *cot_plan_tokenizer(const cot_plan *plan) { return plan->tokenizer; }

/* Outputs of the products and what stands between them, for each token of a micro-batch; one layer at a time when recomputed. */
static double activation_bytes(const cot_plan *plan, const cot_model_info *info)
{
    const double tokens = (double)(plan->train.batch / plan->train.accumulation * plan->context), d = (double)info->hidden_size;
    const double layers = info->flops_recompute / (2 * d) + 4 * d * (double)info->num_layers;
    const double kept = plan->train.recompute ? layers / (double)info->num_layers + d * (double)info->num_layers : layers;
    const double chunk = fmin(tokens, 512) * (double)info->vocab_size * 6;
    return tokens * kept * (plan->bf16 ? 3 : 4) + 12 * tokens * d * 4 + chunk;
}

/* Products inside the optimizer, for one step. */
static double update_flops(const cot_plan *plan)
{
    const cot_member *member;
    double sum = 0;
    if (cot_family_find("optimizer", cot_optimizer_at, plan->train.optimizer, &member) != COT_OK) return 0;
    const cot_optimizer_ops *ops = (const cot_optimizer_ops *)member;
    for (size_t i = 0; ops->flops && i < cot_params_count(plan->model->params); i++) {
        const cot_param *param = cot_params_at(plan->model->params, i);
        if (!param->frozen) sum += ops->flops(param);
    }
    return sum;
}

cot_plan_info cot_plan_describe(const cot_plan *plan)
{
    const cot_model_info info = cot_model_describe(plan->model, plan->context);
    const int64_t per_step = plan->train.batch * plan->context;
    const cot_config *train = cot_config_get(plan->recipe, "train");
    const char *schedule = cot_config_text(cot_config_get(train, "schedule.kind"));
    cot_plan_info out = {
        .steps = plan->steps, .tokens = plan->steps * per_step, .tokens_per_step = per_step, .rows = plan->train.batch,
        .micro_batches = plan->train.accumulation, .context = plan->context,
        .flops_per_token = info.flops_training + (plan->train.recompute ? info.flops_recompute : 0),
        .bf16 = plan->bf16, .precision = plan->bf16 ? "bf16" : "f32",
        .train_tokens = (int64_t)cot_corpus_size(plan->corpus, COT_SPLIT_TRAIN, -1).tokens,
        .valid_tokens = (int64_t)cot_corpus_size(plan->corpus, COT_SPLIT_VALID, -1).tokens,
        .optimizer = cot_config_text(cot_config_get(train, "optimizer.kind")), .schedule = schedule ? schedule : "constant",
        .seed = (uint64_t)plan->train.seed, .from = cot_config_text(cot_config_get(plan->recipe, "from")),
        .parameters_frozen = cot_params_elements_frozen(plan->model->params),
        .parameters_trained = cot_params_elements(plan->model->params, true),
    };
    out.flops = out.flops_per_token * (double)out.tokens;
    out.optimizer_flops = update_flops(plan) * (double)out.steps;
    out.bytes = info.bytes_training + (plan->bf16 ? 4 : 1) * (info.parameters_total - cot_params_elements_by_row(plan->model->params)) + (int64_t)activation_bytes(plan, &info);
    return out;
}
