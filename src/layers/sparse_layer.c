/* A feed-forward by itself, with a tape and parameters of its own: the public <coterie/sparse_layer.h>. */
#include <coterie/sparse_layer.h>

#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"
#include "layers/feed_forward.h"
#include "ops/weighted_sum.h"

struct cot_sparse_layer {
    cot_config       *spec;
    cot_params       *params;
    cot_feed_forward *ffn;
    cot_tape         *tape;
    cot_losses       *losses;
    int64_t           hidden_size;
    uint64_t          seed;
    uint32_t          step;           /* training forwards so far */
    bool              has_grads;
    int64_t          *counts;         /* the caller's, during a forward */
    cot_tensor       *x, *y;          /* of a training forward not yet gone back through; else NULL */
};

/* ---- making ---- */

static cot_status setup(cot_sparse_layer *layer, const cot_config *spec)
{
    COT_TRY(cot_config_copy(spec, &layer->spec));
    COT_TRY(cot_params_create(COT_F32, &layer->params));
    COT_TRY(cot_tape_create(COT_MODE_F32, &layer->tape));
    layer->losses = cot_calloc(sizeof *layer->losses);
    if (!layer->losses) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a sparse layer");
    const cot_build build = {.params = layer->params, .prefix = "layer", .num_layers = 1,
                             .hidden_size = layer->hidden_size, .init = COT_INIT_TRUNCATED_NORMAL, .init_value = 1};
    COT_TRY(cot_feed_forward_create(layer->spec, &build, &layer->ffn));
    for (size_t i = 0; i < cot_params_count(layer->params); i++)  /* callers see values as floats */
        if (cot_params_at(layer->params, i)->spec.bf16)
            return cot_config_fail(cot_config_get(layer->spec, "experts"), "stores rows in bf16, expected f32 in a sparse layer by itself");
    return cot_params_allocate(layer->params, layer->seed);
}

cot_status cot_sparse_layer_create(const cot_config *spec, int64_t hidden_size, uint64_t seed, cot_sparse_layer **out)
{
    *out = NULL;
    if (hidden_size < 1)
        return cot_fail(COT_INVALID, "hidden_size is %lld, expected 1 or more", (long long)hidden_size);
    cot_sparse_layer *layer = cot_calloc(sizeof *layer);
    if (!layer) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a sparse layer");
    layer->hidden_size = hidden_size;
    layer->seed = seed;
    const cot_status status = setup(layer, spec);
    if (status != COT_OK) {
        cot_sparse_layer_destroy(layer);
        return status;
    }
    *out = layer;
    return COT_OK;
}

void cot_sparse_layer_destroy(cot_sparse_layer *layer)
{
    if (!layer) return;
    cot_feed_forward_destroy(layer->ffn);
    cot_tape_destroy(layer->tape);
    cot_params_destroy(layer->params);
    cot_config_destroy(layer->spec);
    cot_free(layer->losses);
    cot_free(layer);
}

int64_t cot_sparse_layer_experts(const cot_sparse_layer *layer) { return cot_feed_forward_num_experts(layer->ffn); }

/* ---- forward ---- */

static void observe(void *context, int32_t index, const cot_routing *routing)
{
    (void)index;
    const cot_sparse_layer *layer = context;
    if (layer->counts) cot_routing_counts(routing, layer->counts);
}

/* The feed-forward adds to a residual stream; ours is zero. x is only read, whatever its type says. */
static cot_tensor *run(cot_sparse_layer *layer, bool training, const float *x, int64_t tokens)
{
    cot_tape *tape = layer->tape;
    const int64_t shape[] = {tokens, layer->hidden_size};
    layer->losses->count = 0;
    cot_tape_reset(tape, training, training, layer->seed, layer->step);
    cot_tape_enter(tape, "the sparse layer");
    cot_tensor *in = cot_tape_wrap(tape, COT_F32, 2, shape, (void *)x, true);
    cot_tensor *zero = cot_tape_matrix(tape, COT_F32, tokens, layer->hidden_size, false);
    if (cot_tape_failed(tape)) return NULL;
    memset(zero->data, 0, (size_t)cot_tensor_count(zero) * sizeof(float));
    const cot_pass pass = {.tokens = tokens, .losses = training ? layer->losses : NULL, .tally = training,
                           .observe = observe, .context = layer};
    if (training) cot_feed_forward_begin_step(layer->ffn);
    cot_tensor *y = layer->ffn->ops->forward(layer->ffn, tape, &pass, in, zero);
    if (training) layer->x = in, layer->y = y;
    return y;
}

cot_status cot_sparse_layer_forward(cot_sparse_layer *layer, bool training, const float *x, int64_t tokens, float *y,
                                    int64_t *counts)
{
    if (tokens < 1)
        return cot_fail(COT_INVALID, "%lld tokens for a sparse layer, expected 1 or more", (long long)tokens);
    layer->x = layer->y = NULL;
    if (training && !layer->has_grads) COT_TRY(cot_params_allocate_grads(layer->params));
    layer->has_grads = layer->has_grads || training;
    layer->counts = counts;
    const cot_tensor *result = run(layer, training, x, tokens);
    const cot_status status = cot_tape_status(layer->tape);
    if (status != COT_OK) {
        layer->x = layer->y = NULL;
        return status;
    }
    memcpy(y, result->data, (size_t)cot_tensor_count(result) * sizeof *y);
    layer->step += training;
    return COT_OK;
}

/* ---- backward ---- */

typedef struct {
    cot_tensor  *y;
    const float *dy;
} pull_saved;

/* The gradient of the scalar <dy, y>, whose value nobody needs. */
static void pull_backward(cot_tape *tape, void *saved_)
{
    const pull_saved *s = saved_;
    bool accumulate = false;
    float *grad = cot_tape_grad(tape, s->y, &accumulate);
    if (grad) memcpy(grad, s->dy, (size_t)cot_tensor_count(s->y) * sizeof *grad);
}

static cot_tensor *pull(cot_tape *tape, cot_tensor *y, const float *dy)
{
    cot_tensor *scalar = cot_tape_tensor(tape, COT_F32, 0, NULL, true);
    pull_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return scalar;
    *(float *)scalar->data = 0;
    *s = (pull_saved){y, dy};
    cot_tape_record(tape, pull_backward, s, &scalar, 1);
    return scalar;
}

static cot_tensor *objective(cot_sparse_layer *layer, const float *dy)
{
    cot_tape *tape = layer->tape;
    const int count = layer->losses->count + 1;
    cot_tensor **terms = cot_tape_alloc(tape, (size_t)count * sizeof *terms);
    cot_tensor *first = pull(tape, layer->y, dy);
    if (cot_tape_failed(tape)) return first;
    terms[0] = first;
    for (int i = 1; i < count; i++) terms[i] = layer->losses->loss[i - 1];
    return cot_weighted_sum(tape, terms, NULL, count);
}

cot_status cot_sparse_layer_backward(cot_sparse_layer *layer, const float *dy, float *dx, double *balance_loss)
{
    if (!layer->y)
        return cot_fail(COT_INVALID, "a sparse layer has nothing to go back through: expected a training forward");
    const cot_tensor *x = layer->x;
    cot_tensor *total = objective(layer, dy);
    layer->x = layer->y = NULL;
    cot_params_clear_grads(layer->params);
    cot_tape_backward(layer->tape, total, 1);
    COT_TRY(cot_tape_status(layer->tape));
    cot_params_settle_grads(layer->params);
    if (dx && x->grad) memcpy(dx, x->grad, (size_t)cot_tensor_count(x) * sizeof *dx);
    else if (dx) memset(dx, 0, (size_t)cot_tensor_count(x) * sizeof *dx);
    double sum = 0;
    for (int i = 0; i < layer->losses->count; i++) sum += (double)*(const float *)layer->losses->loss[i]->data;
    if (balance_loss) *balance_loss = sum;
    cot_feed_forward_end_step(layer->ffn);
    return COT_OK;
}

/* ---- parameters ---- */

bool cot_sparse_layer_parameter_at(cot_sparse_layer *layer, size_t index, cot_sparse_layer_parameter *out)
{
    if (index >= cot_params_count(layer->params)) return false;
    cot_param *param = cot_params_at(layer->params, index);
    param->version++;
    *out = (cot_sparse_layer_parameter){.name = param->name + strlen("layer."), .rank = param->value.rank,
                                        .count = cot_tensor_count(&param->value), .value = param->value.data,
                                        .grad = param->value.grad};
    memcpy(out->shape, param->value.shape, sizeof out->shape);
    return true;
}
