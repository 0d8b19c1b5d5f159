/* Lets a model be held against another implementation of it (check_torch.py): writes what ours computed, under internal
 * names, as f64.
 *
 *   dump_gradients gradients RECIPE IN OUT f32|f64|bf16 train|evaluate keep|recompute
 *       one forward and backward pass of RECIPE's model. IN (safetensors) holds its parameters and ids, targets,
 *       first [T] i32. OUT: loss (with balance losses), nll [T], balance.LAYER.KIND.NUMBER, gradient.NAME, and
 *       noise.LAYER [T, E] where a router drew some.
 *
 *   dump_gradients steps RECIPE OUT
 *       the run that RECIPE describes. OUT: initial.NAME, final.NAME, ids, targets, first [steps, T], and loss,
 *       balance_loss, grad_norm, lr [steps]. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/train.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/safetensors.h"
#include "objectives/objective.h"

/* ---- what goes out ---- */

enum { MAX_ENTRIES = 1024, MAX_NAME = 128 };

typedef struct {
    size_t           count;
    cot_tensor_entry entry[MAX_ENTRIES];
    char             name[MAX_ENTRIES][MAX_NAME];
    void            *owned[MAX_ENTRIES];  /* copies, freed at the end */
} dump;

static cot_status add(dump *d, const char *group, const char *name, cot_dtype dtype, int32_t rank,
                      const int64_t *shape, const void *data)
{
    if (d->count == MAX_ENTRIES) return cot_fail(COT_INVALID, "more than %d tensors", MAX_ENTRIES);
    cot_tensor_entry *e = &d->entry[d->count];
    int64_t count = 1;
    for (int32_t i = 0; i < rank; i++) count *= shape[i];
    void *copy = cot_malloc((size_t)count * cot_dtype_size(dtype));
    if (!copy) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %s%s", group, name);
    memcpy(copy, data, (size_t)count * cot_dtype_size(dtype));
    snprintf(d->name[d->count], MAX_NAME, "%s%s", group, name);
    *e = (cot_tensor_entry){.name = d->name[d->count], .dtype = dtype == COT_F32 ? COT_F64 : dtype, .rank = rank,
                            .data = copy, .data_dtype = dtype};
    memcpy(e->shape, shape, (size_t)rank * sizeof *shape);
    d->owned[d->count++] = copy;
    return COT_OK;
}

static cot_status add_tensor(dump *d, const char *group, const char *name, const cot_tensor *t, const void *data)
{
    return add(d, group, name, t->dtype, t->rank, t->shape, data);
}

static cot_status add_parameters(dump *d, const char *group, const cot_params *params, bool gradients)
{
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_param *p = cot_params_at(params, i);
        COT_TRY(add_tensor(d, group, p->name, &p->value, gradients ? p->value.grad : p->value.data));
    }
    return COT_OK;
}

static cot_status write_dump(dump *d, const char *path, cot_status status)
{
    if (status == COT_OK) status = cot_safetensors_write(path, d->entry, d->count);
    for (size_t i = 0; i < d->count; i++) cot_free(d->owned[i]);
    return status;
}

/* ---- one pass ---- */

typedef struct {
    cot_mode mode;
    bool     training, recompute;
} settings;

typedef struct {
    cot_safetensors *in;
    cot_model       *model;
    cot_tape        *tape;
    cot_objective   *objective;
    cot_losses      *losses;
    cot_batch        batch;
    dump            *out;
    cot_status       observed;
} pass_state;

static void observe(void *context, int32_t layer, const cot_routing *routing)
{
    pass_state *s = context;
    char name[32];
    if (!routing->noise || s->observed != COT_OK) return;
    snprintf(name, sizeof name, "%" PRId32, layer);
    s->observed = add_tensor(s->out, "noise.", name, routing->clean_logits, routing->noise);
}

static cot_status read_tokens(const cot_safetensors *in, const char *name, int32_t *count, int32_t **out)
{
    const cot_stored_tensor *t = cot_safetensors_find(in, name);
    if (!t) return cot_fail(COT_NOT_FOUND, "there is no tensor %s", name);
    *count = (int32_t)t->count;
    *out = cot_malloc((size_t)t->count * sizeof **out);
    return *out ? cot_safetensors_read(in, t, COT_I32, *out) : cot_fail(COT_OUT_OF_MEMORY, "no memory for %s", name);
}

static cot_status read_parameters(const cot_safetensors *in, cot_params *params)
{
    COT_TRY(cot_params_allocate_raw(params));
    COT_TRY(cot_params_allocate_grads(params));
    for (size_t i = 0; i < cot_params_count(params); i++) {
        cot_param *p = cot_params_at(params, i);
        const cot_stored_tensor *t = cot_safetensors_find(in, p->name);
        bool fits = t && t->rank == p->value.rank;
        for (int32_t j = 0; fits && j < t->rank; j++) fits = t->shape[j] == p->value.shape[j];
        if (!fits) return cot_fail(COT_NOT_FOUND, "there is no tensor %s of the right shape", p->name);
        COT_TRY(cot_safetensors_read(in, t, p->value.dtype, p->value.data));
        p->version++;
    }
    const size_t expected = cot_params_count(params) + 3;
    if (cot_safetensors_count(in) == expected) return COT_OK;
    return cot_fail(COT_INVALID, "found %zu tensors, expected %zu", cot_safetensors_count(in), expected);
}

static cot_status make_pass(pass_state *s, const char *recipe_path, const char *in_path, const settings *set)
{
    cot_config *recipe;
    COT_TRY(cot_safetensors_open(in_path, &s->in));
    const cot_stored_tensor *embed = cot_safetensors_find(s->in, "embed.weight");
    if (!embed) return cot_fail(COT_NOT_FOUND, "%s: there is no tensor embed.weight", in_path);
    COT_TRY(cot_config_read(recipe_path, &recipe));
    const cot_config *section = cot_config_get(recipe, "model");
    const cot_status status = cot_model_create_as(section, embed->shape[0], 64, cot_mode_real(set->mode), &s->model);
    cot_config_destroy(recipe);
    COT_TRY(status);
    COT_TRY(read_parameters(s->in, s->model->params));
    COT_TRY(read_tokens(s->in, "ids", &s->batch.context, &s->batch.ids));
    COT_TRY(read_tokens(s->in, "targets", &s->batch.context, &s->batch.targets));
    COT_TRY(read_tokens(s->in, "first", &s->batch.context, &s->batch.first));
    s->batch.rows = s->batch.used_rows = 1;
    for (int32_t i = 0; i < s->batch.context; i++) s->batch.scored += s->batch.targets[i] >= 0;
    COT_TRY(cot_tape_create(set->mode, &s->tape));
    COT_TRY(cot_objective_create(NULL, &s->objective));
    s->losses = cot_calloc(sizeof *s->losses);
    return s->losses ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for losses");
}

static cot_status run_pass(pass_state *s, const settings *set)
{
    const cot_objective_input in = {.batch = &s->batch, .token_weight = 1.0 / (double)s->batch.scored,
                                    .balance_weight = 1, .recompute = set->recompute, .observe = observe, .context = s,
                                    .losses = s->losses};
    cot_tensor *nll = NULL;
    cot_params_clear_grads(s->model->params);
    cot_tape_reset(s->tape, true, set->training, 1, 0);
    cot_tensor *loss = s->objective->ops->loss(s->objective->state, s->tape, s->model, &in, &nll);
    cot_tape_backward(s->tape, loss, 1.0);
    COT_TRY(cot_tape_status(s->tape));
    COT_TRY(s->observed);
    cot_params_settle_grads(s->model->params);
    COT_TRY(add_tensor(s->out, "", "loss", loss, loss->data));
    COT_TRY(add_tensor(s->out, "", "nll", nll, nll->data));
    for (int i = 0; i < s->losses->count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%d.%s.%d", (int)s->losses->layer[i], s->losses->kind[i], i);
        COT_TRY(add_tensor(s->out, "balance.", name, s->losses->loss[i], s->losses->loss[i]->data));
    }
    return add_parameters(s->out, "gradient.", s->model->params, true);
}

static cot_status dump_pass(const char *recipe, const char *in, const settings *set, dump *out)
{
    pass_state s = {.out = out};
    cot_status status = make_pass(&s, recipe, in, set);
    if (status == COT_OK) status = run_pass(&s, set);
    cot_free(s.losses);
    cot_free(s.batch.ids);
    cot_free(s.batch.targets);
    cot_free(s.batch.first);
    cot_objective_destroy(s.objective);
    cot_tape_destroy(s.tape);
    cot_model_destroy(s.model);
    cot_safetensors_close(s.in);
    return status;
}

/* ---- a run ---- */

typedef struct {
    int64_t steps, tokens;
    int32_t *ids, *targets, *first;                /* [steps, tokens] */
    double  *loss, *balance_loss, *grad_norm, *lr; /* [steps] */
} run_log;

static cot_status make_log(run_log *log, int64_t steps, int64_t tokens)
{
    *log = (run_log){.steps = steps, .tokens = tokens};
    int32_t *ids = cot_calloc((size_t)(3 * steps * tokens) * sizeof *ids);
    double *numbers = cot_calloc((size_t)(4 * steps) * sizeof *numbers);
    log->ids = ids;
    log->loss = numbers;
    if (!ids || !numbers) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a run of %lld steps", (long long)steps);
    log->targets = ids + steps * tokens, log->first = ids + 2 * steps * tokens;
    log->balance_loss = numbers + steps, log->grad_norm = numbers + 2 * steps, log->lr = numbers + 3 * steps;
    return COT_OK;
}

static cot_status run_step(cot_trainer *trainer, cot_batches *batches, run_log *log, int64_t i)
{
    cot_batch batch;
    cot_step_report report;
    COT_TRY(cot_batches_next(batches, &batch));
    memcpy(log->ids + i * log->tokens, batch.ids, (size_t)log->tokens * sizeof *batch.ids);
    memcpy(log->targets + i * log->tokens, batch.targets, (size_t)log->tokens * sizeof *batch.targets);
    memcpy(log->first + i * log->tokens, batch.first, (size_t)log->tokens * sizeof *batch.first);
    COT_TRY(cot_trainer_step(trainer, &report));
    log->loss[i] = report.loss, log->balance_loss[i] = report.balance_loss;
    log->grad_norm[i] = report.grad_norm, log->lr[i] = report.lr;
    return COT_OK;
}

static cot_status add_log(const run_log *log, dump *out)
{
    const int64_t tokens[] = {log->steps, log->tokens};
    COT_TRY(add(out, "", "ids", COT_I32, 2, tokens, log->ids));
    COT_TRY(add(out, "", "targets", COT_I32, 2, tokens, log->targets));
    COT_TRY(add(out, "", "first", COT_I32, 2, tokens, log->first));
    COT_TRY(add(out, "", "loss", COT_F64, 1, &log->steps, log->loss));
    COT_TRY(add(out, "", "balance_loss", COT_F64, 1, &log->steps, log->balance_loss));
    COT_TRY(add(out, "", "grad_norm", COT_F64, 1, &log->steps, log->grad_norm));
    return add(out, "", "lr", COT_F64, 1, &log->steps, log->lr);
}

/* The trainer's own batches stay inside it; a second sequence from the same seed gives the same ones. */
static cot_status run_trainer(cot_trainer *trainer, dump *out)
{
    cot_plan *plan = cot_trainer_plan(trainer);
    const cot_plan_info info = cot_plan_describe(plan);
    cot_batches *batches = NULL;
    run_log log;
    cot_status status = make_log(&log, info.steps, info.tokens_per_step);
    if (status == COT_OK) status = cot_batches_create(cot_plan_corpus(plan), info.seed, info.rows, &batches);
    if (status == COT_OK) status = add_parameters(out, "initial.", cot_trainer_model(trainer)->params, false);
    for (int64_t i = 0; i < info.steps && status == COT_OK; i++) status = run_step(trainer, batches, &log, i);
    if (status == COT_OK) status = add_log(&log, out);
    if (status == COT_OK) status = add_parameters(out, "final.", cot_trainer_model(trainer)->params, false);
    cot_batches_destroy(batches);
    cot_free(log.ids);
    cot_free(log.loss);
    return status;
}

static cot_status dump_steps(const char *recipe_path, dump *out)
{
    cot_config *recipe;
    cot_plan *plan;
    cot_trainer *trainer;
    COT_TRY(cot_config_read(recipe_path, &recipe));
    cot_status status = cot_plan_create(recipe, NULL, NULL, &plan);
    cot_config_destroy(recipe);
    COT_TRY(status);
    COT_TRY(cot_trainer_create(plan, NULL, &trainer));
    status = run_trainer(trainer, out);
    cot_trainer_destroy(trainer);
    return status;
}

/* ---- the command line ---- */

static bool read_settings(char *const *argv, settings *out)
{
    static const char *const modes[] = {"f64", "f32", "bf16"};  /* as cot_mode counts */
    int mode = 0;
    while (mode < COT_MODE_COUNT && strcmp(argv[5], modes[mode]) != 0) mode++;
    *out = (settings){(cot_mode)mode, strcmp(argv[6], "train") == 0, strcmp(argv[7], "recompute") == 0};
    return mode < COT_MODE_COUNT;
}

int main(int argc, char **argv)
{
    static dump out;
    settings set;
    cot_status status;
    const char *path;
    if (argc == 8 && strcmp(argv[1], "gradients") == 0 && read_settings(argv, &set)) {
        path = argv[4];
        status = dump_pass(argv[2], argv[3], &set, &out);
    } else if (argc == 4 && strcmp(argv[1], "steps") == 0) {
        path = argv[3];
        status = dump_steps(argv[2], &out);
    } else {
        fprintf(stderr, "usage: %s gradients RECIPE IN OUT f32|f64|bf16 train|evaluate keep|recompute\n"
                        "       %s steps RECIPE OUT\n", argv[0], argv[0]);
        return 2;
    }
    status = write_dump(&out, path, status);
    if (status == COT_OK) return 0;
    fprintf(stderr, "%s\n", cot_last_error());
    return 1;
}
