/* What a whole model computes, for tests/peers/check_model.py to hold against transformers:
 *
 *   dump_model RECIPE.yaml IDS.json FOLDER f32|f64
 *
 * IDS.json is a list of token ids, cut into rows of the recipe's data.context + 1. Writes FOLDER/start (the model as initialised) and FOLDER/gradient
 * (the same tensors holding the gradients of the mean loss over all rows), trains ten steps of AdamW on the rows, a row a step, and
 * prints {"loss": L, "curve": [...]} with 17 digits. f64 stores f32 files of an f64 computation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/config.h>

#include "base/memory.h"
#include "formats/logits.h"
#include "models/model.h"
#include "objectives/objective.h"
#include "training/optimizers/optimizer.h"

enum { STEPS = 10 };

static void must(cot_status status)
{
    if (status == COT_OK) return;
    fprintf(stderr, "dump_model: %s\n", cot_last_error());
    exit(1);
}

typedef struct {
    int32_t *ids, *targets, *first, *source;
    int32_t  rows, context;
} rows_of;

static rows_of cut(const int32_t *ids, size_t count, int32_t context)
{
    const int32_t rows = (int32_t)(count / (size_t)(context + 1));
    const size_t bytes = (size_t)rows * (size_t)context * sizeof *ids;
    rows_of r = {malloc(bytes), malloc(bytes), malloc(bytes), calloc(1, bytes), rows, context};
    if (rows < STEPS || !r.ids || !r.targets || !r.first || !r.source) exit(2);
    for (int32_t i = 0; i < rows; i++)
        for (int32_t s = 0; s < context; s++) {
            r.ids[i * context + s] = ids[i * (context + 1) + s];
            r.targets[i * context + s] = ids[i * (context + 1) + s + 1];
            r.first[i * context + s] = i * context;
        }
    return r;
}

/* Rows [from, from + count): forward, backward; returns the mean loss per token. */
static double pass(cot_model *model, cot_tape *tape, const rows_of *all, int32_t from, int32_t count)
{
    const size_t skip = (size_t)from * (size_t)all->context;
    int32_t *first = malloc((size_t)count * (size_t)all->context * sizeof *first);
    for (int32_t i = 0; i < count * all->context; i++) first[i] = i / all->context * all->context;
    const cot_batch batch = {.rows = count, .context = all->context, .used_rows = count, .scored = (int64_t)count * all->context, .ids = all->ids + skip,
                             .targets = all->targets + skip, .first = first, .source = all->source + skip};
    cot_objective *objective;
    cot_tensor *nll;
    must(cot_objective_create(NULL, &objective));
    const cot_objective_input in = {.batch = &batch, .token_weight = 1.0 / (double)batch.scored, .balance_weight = 1};
    cot_params_clear_grads(model->params);
    cot_tape_reset(tape, true, true, 1, 1);
    cot_tensor *loss = objective->ops->loss(objective->state, tape, model, &in, &nll);
    cot_tape_backward(tape, loss, 1);
    must(cot_tape_status(tape));
    cot_params_settle_grads(model->params);
    const double value = loss->dtype == COT_F64 ? *(double *)loss->data : (double)*(float *)loss->data;
    cot_objective_destroy(objective);
    free(first);
    return value;
}

static void save(const cot_model *model, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(cot_model_save(model, NULL, path));
}

static void swap_values_and_gradients(cot_model *model)
{
    for (size_t i = 0; i < cot_params_count(model->params); i++) {
        cot_tensor *value = &cot_params_at(model->params, i)->value;
        void *data = value->data;
        value->data = value->grad;
        value->grad = data;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    const bool wide = strcmp(argv[4], "f64") == 0;
    cot_config *recipe;
    cot_model *model;
    cot_tape *tape;
    cot_optimizer *optimizer;
    int64_t context = 0, vocab = 0;
    int32_t *ids;
    size_t count;
    must(cot_config_read(argv[1], &recipe));
    must(cot_config_int(cot_config_get(recipe, "data.context"), &context));
    must(cot_config_int(cot_config_get(recipe, "data.vocab_size"), &vocab));
    must(cot_model_create_as(cot_config_get(recipe, "model"), vocab, context, wide ? COT_F64 : COT_F32, &model));
    must(cot_model_initialise(model, 1));
    must(cot_params_allocate_grads(model->params));
    must(cot_token_ids_read(argv[2], vocab, &ids, &count));
    must(cot_tape_create(wide ? COT_MODE_F64 : COT_MODE_F32, &tape));
    const rows_of rows = cut(ids, count, (int32_t)context);
    save(model, argv[3], "start");
    printf("{\"loss\": %.17g, \"curve\": [", pass(model, tape, &rows, 0, rows.rows));
    swap_values_and_gradients(model);
    save(model, argv[3], "gradient");
    swap_values_and_gradients(model);
    must(cot_optimizer_create(cot_config_get(recipe, "train.optimizer"), model->params, 1, &optimizer));
    for (int32_t step = 0; step < STEPS; step++) {
        printf("%s%.17g", step ? ", " : "", pass(model, tape, &rows, step, 1));
        cot_optimizer_step(optimizer, 1, step + 1, 1);
    }
    printf("]}\n");
    return 0;
}
