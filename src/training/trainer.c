#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "kernels/update/update.h"
#include "ops/pieces.h"
#include "training/optimizers/row_updates.h"
#include "training/trainer_state.h"

/* ---- making ---- */

static void count_layers(cot_trainer *t, int64_t *experts)
{
    const cot_model *model = t->plan->model;
    for (int64_t i = 0; i < model->num_layers; i++) {
        t->layer_count += cot_model_layer_experts(model, i) > 0;
        *experts += cot_model_layer_experts(model, i);
    }
}

static cot_status make_measures(cot_trainer *t)
{
    const cot_model *model = t->plan->model;
    int64_t experts = 0;
    count_layers(t, &experts);
    t->layers = cot_calloc((size_t)t->layer_count * sizeof *t->layers);
    t->use = cot_calloc((size_t)t->layer_count * sizeof *t->use);
    t->loads = cot_calloc((size_t)experts * sizeof *t->loads);
    if (!t->layers || !t->use || !t->loads) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the measures of a run");
    double *load = t->loads;
    for (int64_t i = 0, n = 0; i < model->num_layers; i++) {
        const int64_t count = cot_model_layer_experts(model, i);
        if (!count) continue;
        t->layers[n] = (cot_step_layer){.layer = i, .experts = count, .load = load, .sub_keys = cot_model_layer_sub_keys(model, i)};
        load += count;
        int64_t *counts = cot_calloc((size_t)count * sizeof *counts);
        if (!counts) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the measures of a run");
        cot_expert_use_clear(&t->use[n++], count, counts, NULL);
    }
    return COT_OK;
}

/* layers.3.ffn.down.weight belongs to 3, embed.weight to the entry after the last layer. */
static int32_t layer_of(const char *name, int64_t num_layers)
{
    return strncmp(name, "layers.", 7) == 0 ? (int32_t)strtol(name + 7, NULL, 10) : (int32_t)num_layers;
}

static cot_status make_norms(cot_trainer *t)
{
    const cot_params *params = t->plan->model->params;
    const size_t count = cot_params_count(params);
    int64_t largest = 0;
    t->param_layer = cot_malloc(count * sizeof *t->param_layer);
    t->layer_norm = cot_calloc((size_t)(t->plan->model->num_layers + 1) * sizeof *t->layer_norm);
    for (size_t i = 0; t->param_layer && i < count; i++) {
        const cot_param *param = cot_params_at(params, i);
        t->param_layer[i] = layer_of(param->name, t->plan->model->num_layers);
        if (cot_tensor_count(&param->value) > largest) largest = cot_tensor_count(&param->value);
    }
    t->partial = cot_malloc((size_t)(cot_pieces(largest, COT_PIECE_ELEMENTS) + 1) * sizeof *t->partial);
    return t->param_layer && t->layer_norm && t->partial ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a run");
}

static cot_status set_up(cot_trainer *t)
{
    cot_plan *plan = t->plan;
    const int64_t micro = plan->train.batch / plan->train.accumulation * plan->context;
    COT_TRY(cot_tape_create(plan->bf16 ? COT_MODE_BF16 : COT_MODE_F32, &t->tape));
    COT_TRY(cot_schedule_create(plan->train.schedule, &t->schedule));
    COT_TRY(cot_objective_create(plan->train.objective, &t->objective));
    COT_TRY(cot_batches_create(plan->corpus, (uint64_t)plan->train.seed, plan->train.batch, &t->batches));
    COT_TRY(plan->source ? cot_model_load_weights(plan->model, plan->source) : cot_model_initialise(plan->model, (uint64_t)plan->train.seed));
    if (!plan->source) COT_TRY(cot_model_prepare(plan->model, plan->corpus));
    COT_TRY(cot_params_allocate_grads(plan->model->params));
    COT_TRY(cot_optimizer_create(plan->train.optimizer, plan->model->params, (uint64_t)plan->train.seed, &t->optimizer));
    t->first = cot_malloc((size_t)micro * sizeof *t->first);
    t->losses = cot_calloc(sizeof *t->losses);
    if (!t->first || !t->losses) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a run");
    t->best_loss = INFINITY;
    COT_TRY(make_measures(t));
    return make_norms(t);
}

/* Takes the plan and the lock on the folder (-1 = none yet), also on failure. */
static cot_status make(cot_plan *plan, const char *folder, int lock, cot_trainer **out)
{
    *out = NULL;
    cot_trainer *t = cot_calloc(sizeof *t);
    if (!t) {
        cot_plan_destroy(plan);
        cot_run_unlock(folder, lock);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for a run");
    }
    t->plan = plan;
    t->lock = lock;
    cot_status status = COT_OK;
    if (folder && !(t->folder = cot_strdup(folder))) {
        cot_run_unlock(folder, lock);
        status = cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
    }
    if (status == COT_OK) status = set_up(t);
    if (status != COT_OK) {
        cot_trainer_destroy(t);
        return status;
    }
    *out = t;
    return COT_OK;
}

cot_status cot_trainer_create(cot_plan *plan, const char *folder, cot_trainer **out)
{
    *out = NULL;
    cot_status status = folder ? cot_run_folder_check(folder) : COT_OK;
    if (status != COT_OK) {
        cot_plan_destroy(plan);
        return status;
    }
    COT_TRY(make(plan, folder, -1, out));
    status = folder ? cot_run_start(*out) : COT_OK;
    if (status == COT_OK && folder && (*out)->plan->source) status = cot_run_save(*out);  /* the run needs the source no more */
    if (status == COT_OK) return COT_OK;
    cot_trainer_destroy(*out);
    *out = NULL;
    return status;
}

static cot_status read_recipe(const char *folder, const char *const *changes, size_t count, cot_config **out)
{
    char path[4096];
    *out = NULL;
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    COT_TRY(cot_config_read(path, out));
    for (size_t i = 0; i < count; i++) {
        const cot_status status = cot_config_set(*out, changes[i]);
        if (status == COT_OK) continue;
        cot_config_destroy(*out);
        return status;
    }
    return COT_OK;
}

static cot_status plan_again(const char *folder, const char *const *changes, size_t count, cot_prepare_progress progress, void *context, cot_plan **out)
{
    cot_config *recipe;
    COT_TRY(read_recipe(folder, changes, count, &recipe));
    const cot_status status = cot_plan_create_from(recipe, cot_run_has_checkpoint(folder) ? folder : NULL, progress, context, out);
    cot_config_destroy(recipe);
    return status;
}

cot_status cot_trainer_resume(const char *folder, const char *const *changes, size_t count, cot_prepare_progress progress, void *context, cot_trainer **out)
{
    cot_plan *plan = NULL;
    int lock = -1;
    *out = NULL;
    COT_TRY(cot_run_find(folder));
    COT_TRY(cot_run_lock(folder, &lock));
    cot_status status = plan_again(folder, changes, count, progress, context, &plan);
    if (status != COT_OK) {
        cot_run_unlock(folder, lock);
        return status;
    }
    COT_TRY(make(plan, folder, lock, out));
    status = cot_run_load(*out);
    if (status == COT_OK && count) status = cot_run_write_recipe(*out);
    if (status == COT_OK) return COT_OK;
    cot_trainer_destroy(*out);
    *out = NULL;
    return status;
}

void cot_trainer_destroy(cot_trainer *t)
{
    if (!t) return;
    for (int64_t i = 0; t->use && i < t->layer_count; i++) cot_free(t->use[i].count);
    cot_evaluation_destroy(t->valid);
    cot_batches_destroy(t->batches);
    cot_objective_destroy(t->objective);
    cot_schedule_destroy(t->schedule);
    cot_optimizer_destroy(t->optimizer);
    cot_tape_destroy(t->tape);
    cot_plan_destroy(t->plan);
    if (t->folder) cot_run_unlock(t->folder, t->lock);
    cot_free(t->folder);
    cot_free(t->losses);
    cot_free(t->first);
    cot_free(t->param_layer);
    cot_free(t->layer_norm);
    cot_free(t->partial);
    cot_free(t->layers);
    cot_free(t->use);
    cot_free(t->loads);
    cot_free(t);
}

/* ---- one step ---- */

static void observe(void *context, int32_t layer, const cot_routing *routing)
{
    cot_trainer *t = context;
    for (int64_t i = 0; i < t->layer_count; i++)
        if (t->layers[i].layer == layer) cot_expert_use_add(&t->use[i], routing);
}

/* Rows [from, from + rows) of a batch as a batch of their own. */
static cot_batch slice(const cot_trainer *t, const cot_batch *batch, int32_t from, int32_t rows)
{
    const int64_t skip = (int64_t)from * batch->context, tokens = (int64_t)rows * batch->context;
    for (int64_t i = 0; i < tokens; i++) t->first[i] = batch->first[skip + i] - (int32_t)skip;
    return (cot_batch){.rows = rows, .context = batch->context, .used_rows = rows, .ids = batch->ids + skip, .targets = batch->targets + skip,
                       .first = t->first, .source = batch->source + skip};
}

typedef struct {
    double nll, balance;
} step_losses;

/* Forward and backward of all micro-batches; gradients end in the parameters. */
static cot_status accumulate(cot_trainer *t, const cot_batch *batch, bool check, step_losses *out)
{
    const cot_plan *plan = t->plan;
    const int64_t parts = plan->train.accumulation;
    const int32_t rows = (int32_t)(batch->rows / parts);
    *out = (step_losses){0, 0};
    cot_params_clear_grads(plan->model->params);
    cot_model_begin_step(plan->model);
    for (int64_t i = 0; i < t->layer_count; i++) cot_expert_use_clear(&t->use[i], t->layers[i].experts, t->use[i].count, NULL);
    for (int64_t part = 0; part < parts; part++) {
        const cot_batch micro = slice(t, batch, (int32_t)part * rows, rows);
        const cot_objective_input in = {.batch = &micro, .token_weight = 1.0 / (double)(batch->scored > 0 ? batch->scored : 1),
                                        .balance_weight = 1.0 / (double)parts, .recompute = plan->train.recompute, .observe = observe, .context = t,
                                        .losses = t->losses};
        cot_tensor *nll = NULL;
        cot_tape_reset(t->tape, true, true, (uint64_t)plan->train.seed, (uint32_t)(t->step * parts + part));
        cot_tape_check_finite(t->tape, check);
        cot_tensor *loss = t->objective->ops->loss(t->objective->state, t->tape, plan->model, &in, &nll);
        cot_tape_backward(t->tape, loss, 1.0);
        COT_TRY(cot_tape_status(t->tape));
        const float *each = nll->data;
        for (int64_t i = 0; i < (int64_t)rows * batch->context; i++) out->nll += (double)each[i];
        for (int i = 0; i < t->losses->count; i++) out->balance += (double)*(const float *)t->losses->loss[i]->data / (double)parts;
    }
    cot_params_settle_grads(plan->model->params);
    return COT_OK;
}

static double sum_squares(const cot_trainer *t, const cot_param *param)
{
    const cot_update_kernels *kernels = cot_update_kernels_for(cot_tape_mode(t->tape));
    const int64_t count = cot_tensor_count(&param->value), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; p++)
        t->partial[p] = kernels->sum_squares(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), param->value.grad);
    double sum = 0;
    for (int64_t p = 0; p < pieces; p++) sum += t->partial[p];
    return sum;
}

/* Are the factors of a table's gradient finite? Its vectors are tokens and what flowed into them. */
static bool finite_rows(const cot_param *param)
{
    const float *scale = param->rows->scale[param->rows_term];
    double sum = 0;
    for (int64_t i = 0; i < param->rows->count; i++) sum += fabs((double)scale[i]);
    return isfinite(sum);
}

/* Tables that are updated by touched row count when asked: their gradients are never formed but a row at a time. */
static double gradient_norm(cot_trainer *t)
{
    const cot_params *params = t->plan->model->params;
    const int64_t entries = t->plan->model->num_layers + 1;
    double total = 0;
    bool rows_finite = true;
    memset(t->layer_norm, 0, (size_t)entries * sizeof *t->layer_norm);
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_param *param = cot_params_at(params, i);
        const bool table = param->rows && !param->frozen;
        if (table) rows_finite = rows_finite && finite_rows(param);
        if (!param->value.grad && !(table && t->plan->train.clip_tables)) continue;
        const double squares = table ? cot_rows_sum_squares(t->tape, param) : sum_squares(t, param);
        t->layer_norm[t->param_layer[i]] += squares;
        total += squares;
    }
    for (int64_t i = 0; i < entries; i++) t->layer_norm[i] = sqrt(t->layer_norm[i]);
    return rows_finite ? sqrt(total) : NAN;
}

/* The step once more, with a look at every tensor: names the layer that made the first value that is not finite. */
static cot_status blame(cot_trainer *t, const cot_batch *batch)
{
    step_losses losses;
    if (accumulate(t, batch, true, &losses) != COT_OK) {
        char what[512];
        snprintf(what, sizeof what, "%s", cot_last_error());
        return cot_fail(COT_NOT_FINITE, "step %lld: %s; the parameters are as before the step", (long long)t->step + 1, what);
    }
    return cot_fail(COT_NOT_FINITE, "step %lld: the sum of the loss or of the squared gradients is not finite; the parameters are as before the step",
                    (long long)t->step + 1);
}

static void measure_layers(cot_trainer *t)
{
    for (int64_t i = 0; i < t->layer_count; i++) {
        cot_step_layer *layer = &t->layers[i];
        const cot_expert_measures m = cot_expert_use_measure(&t->use[i], (double *)layer->load);
        layer->cv2 = m.cv2, layer->max_vio = m.max_vio, layer->router_entropy = m.router_entropy, layer->drop_fraction = m.drop_fraction;
        layer->dead = m.dead, layer->usage = m.usage, layer->unevenness = m.unevenness;
        if (layer->sub_keys) cot_use_histogram(t->use[i].count, layer->experts, layer->use_histogram);
    }
}

static cot_status learn(cot_trainer *t, cot_step_report *report)
{
    const cot_train_options *o = &t->plan->train;
    const cot_data_position position = cot_batches_position(t->batches);
    const double start = cot_now();
    cot_batch batch;
    step_losses losses;
    COT_TRY(cot_batches_next(t->batches, &batch));
    cot_status status = accumulate(t, &batch, false, &losses);
    if (status != COT_OK && status != COT_NOT_FINITE) {
        COT_TRY(cot_batches_seek(t->batches, position));  /* which leaves the message as it is */
        return status;
    }
    cot_tape_kind(t->tape, COT_TIME_OPTIMIZER);
    const double norm = status == COT_OK ? gradient_norm(t) : NAN, factor = cot_schedule_factor(t->schedule, t->step + 1, t->plan->steps);
    if (!isfinite(losses.nll) || !isfinite(losses.balance) || !isfinite(norm)) {
        status = blame(t, &batch);
        COT_TRY(cot_batches_seek(t->batches, position));
        return status;
    }
    const double clip = o->clip_grad_norm > 0 && norm > o->clip_grad_norm ? o->clip_grad_norm / norm : 1;
    cot_optimizer_step(t->optimizer, factor, t->step + 1, clip);
    cot_model_end_step(t->plan->model);
    cot_tape_kind(t->tape, COT_TIME_OTHER);
    t->step++;
    measure_layers(t);
    const double seconds = cot_now() - start, tokens = (double)batch.rows * batch.context;
    *report = (cot_step_report){.step = t->step, .steps = t->plan->steps, .tokens = (int64_t)tokens * t->step,
                                .loss = batch.scored ? losses.nll / (double)batch.scored : 0, .balance_loss = losses.balance,
                                .lr = cot_optimizer_lr(t->optimizer) * factor, .grad_norm = norm, .seconds = seconds, .tokens_per_s = tokens / seconds,
                                .flops_per_s = cot_plan_describe(t->plan).flops_per_token * tokens / seconds, .layer_count = t->layer_count,
                                .layers = t->layers, .layer_grad_norm = t->layer_norm};
    return COT_OK;
}

/* ---- what is due after a step ---- */

static bool due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

static cot_status evaluate(cot_trainer *t, cot_step_report *report)
{
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID, .window = t->plan->context, .max_tokens = t->plan->train.eval_tokens, .bf16 = t->plan->bf16};
    COT_TRY(cot_evaluate(t->plan->model, t->plan->corpus, t->plan->tokenizer, &o, NULL, NULL, &t->valid));
    report->valid = t->valid;
    if (t->valid->total.loss >= t->best_loss) return COT_OK;
    t->best_loss = t->valid->total.loss;
    return t->folder ? cot_run_save_model(t, "best") : COT_OK;
}

static cot_status after_step(cot_trainer *t, cot_step_report *report)
{
    const cot_train_options *o = &t->plan->train;
    const bool last = cot_trainer_done(t);
    const bool can_evaluate = cot_corpus_size(t->plan->corpus, COT_SPLIT_VALID, -1).tokens > 1;
    if (can_evaluate && (last || due(o->eval_every, t->step))) COT_TRY(evaluate(t, report));
    if (!t->folder) return COT_OK;
    COT_TRY(cot_run_log(t, report));
    if (due(o->keep_every, t->step)) {
        char name[64];
        snprintf(name, sizeof name, "kept/step-%lld", (long long)t->step);
        COT_TRY(cot_run_save_model(t, name));
    }
    if (!last && !due(o->save_every, t->step)) return COT_OK;
    report->saved = true;
    return cot_run_save(t);
}

cot_status cot_trainer_step(cot_trainer *t, cot_step_report *report)
{
    cot_evaluation_destroy(t->valid);
    t->valid = NULL;
    if (t->folder) COT_TRY(cot_run_log_check(t));
    COT_TRY(learn(t, report));
    return after_step(t, report);
}

int64_t     cot_trainer_tokens(const cot_trainer *t) { return t->step * t->plan->train.batch * t->plan->context; }
bool        cot_trainer_done(const cot_trainer *t) { return t->step >= t->plan->steps; }
cot_status  cot_trainer_save(cot_trainer *t) { return t->folder ? cot_run_save(t) : COT_OK; }
const char *cot_trainer_folder(const cot_trainer *t) { return t->folder; }
cot_plan   *cot_trainer_plan(cot_trainer *t) { return t->plan; }
cot_model  *cot_trainer_model(cot_trainer *t) { return t->plan->model; }

bool cot_trainer_time(const cot_trainer *t, size_t index, const char **name, double *seconds, double *back)
{
    if (index >= COT_TIME_COUNT) return false;
    *name = cot_time_name((cot_time_kind)index);
    *seconds = cot_tape_time(t->tape, (cot_time_kind)index);
    if (index == COT_TIME_ROWS) *seconds = cot_optimizer_row_seconds(t->optimizer);
    if (index == COT_TIME_OPTIMIZER) *seconds -= cot_optimizer_row_seconds(t->optimizer);
    *back = cot_tape_time_back(t->tape, (cot_time_kind)index);
    return true;
}

void cot_trainer_clear_times(cot_trainer *t)
{
    cot_tape_clear_times(t->tape);
    cot_optimizer_clear_times(t->optimizer);
}
