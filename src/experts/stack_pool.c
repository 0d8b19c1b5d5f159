/* BASE's expert: a stack of residual feed-forward sublayers, N(x) = x + W_down relu(W_up LayerNorm(x) + b_up) + b_down over and over.
 * A token gets gate * (N(x) - x) beside its residual stream, which with the router `base` is the paper's layer. W_down and biases start at
 * zero, so the layer starts as the identity. The paper has ten sublayers in one layer, or floor(10 / n) in each of n.
 *
 * x is what the layer gives to its router and experts, the normed stream, as for other pools; the paper starts from the stream itself.
 *
 * [lewis2021base]; the norm [ba2016layer] */
#include <stdio.h>

#include "experts/experts.h"
#include "ops/expert_sublayer.h"

enum { MAX_SUBLAYERS = 64 };

typedef struct {
    cot_param *norm, *norm_bias, *up, *up_bias, *down, *down_bias;
} sublayer;

typedef struct {
    int64_t  num_experts, num_sublayers, intermediate_size;
    sublayer sublayers[MAX_SUBLAYERS];
} stack;

static const cot_option options[] = {
    COT_OPTION_INT(stack, num_experts, 8, 1, 1 << 20, "experts"),
    COT_OPTION_INT(stack, num_sublayers, 2, 1, MAX_SUBLAYERS, "residual sublayers of one expert, one after the other"),
    COT_OPTION_INT(stack, intermediate_size, 512, 1, 1e7, "hidden width of one sublayer"),
    COT_OPTION_END,
};

static cot_status add_sublayer(const stack *s, const cot_build *build, int64_t number, sublayer *out)
{
    cot_build inner = *build;
    char prefix[192];
    snprintf(prefix, sizeof prefix, "%s.sublayers.%lld", build->prefix, (long long)number);
    inner.prefix = prefix;
    const int64_t E = s->num_experts, D = build->hidden_size, F = s->intermediate_size;
    COT_TRY(cot_build_vector(&inner, "norm", E * D, COT_INIT_ONE, &out->norm));
    COT_TRY(cot_build_vector(&inner, "norm_bias", E * D, COT_INIT_ZERO, &out->norm_bias));
    COT_TRY(cot_build_weight(&inner, "up", E, F, D, &out->up));
    COT_TRY(cot_build_vector(&inner, "up_bias", E * F, COT_INIT_ZERO, &out->up_bias));
    COT_TRY(cot_build_weight(&inner, "down", E, D, F, &out->down));
    out->down->spec.init = (cot_init){COT_INIT_ZERO, 0};
    return cot_build_vector(&inner, "down_bias", E * D, COT_INIT_ZERO, &out->down_bias);
}

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    stack *s = experts->state;
    for (int64_t i = 0; i < s->num_sublayers; i++) COT_TRY(add_sublayer(s, build, i, &s->sublayers[i]));
    return COT_OK;
}

static int64_t count(const cot_experts *experts) { return ((const stack *)experts->state)->num_experts; }

static cot_expert_sublayer_weights weights(cot_tape *tape, const sublayer *l)
{
    return (cot_expert_sublayer_weights){.norm = cot_tape_param(tape, l->norm),
                                         .norm_bias = cot_tape_param(tape, l->norm_bias),
                                         .up = cot_tape_param(tape, l->up),
                                         .up_bias = cot_tape_param(tape, l->up_bias),
                                         .down = cot_tape_param(tape, l->down),
                                         .down_bias = cot_tape_param(tape, l->down_bias)};
}

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual)
{
    const stack *s = experts->state;
    const cot_expert_rows rows = cot_expert_rows_of(routing);
    const int64_t *first = cot_routing_first(tape, routing);
    if (!first) return residual;
    cot_tensor *const start = cot_expert_rows_gather(tape, x, &rows, first);
    cot_tensor *last = start;
    for (int64_t i = 0; i < s->num_sublayers && !cot_tape_failed(tape); i++) {
        const cot_expert_sublayer_weights w = weights(tape, &s->sublayers[i]);
        if (!cot_tape_failed(tape)) last = cot_expert_sublayer(tape, last, &rows, &w, experts->build.norm_eps);
    }
    return cot_tape_failed(tape) ? residual : cot_expert_rows_combine(tape, last, start, &rows, first, residual);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const stack *s = experts->state;
    const double d = (double)experts->build.hidden_size, f = (double)s->intermediate_size, n = (double)s->num_sublayers;
    return (cot_cost){.flops = 4 * top_k * n * d * f,
                      .inactive = (int64_t)(((double)s->num_experts - top_k) * n * (2 * d * f + f + 3 * d))};
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    const stack *s = experts->state;
    snprintf(out, size, "%lld experts of %lld sublayers of %lld", (long long)s->num_experts, (long long)s->num_sublayers,
             (long long)s->intermediate_size);
}

const cot_experts_ops cot_experts_stack_pool = {
    .member = {"stack", "lewis2021base", "BASE's expert: a stack of residual sublayers, layer norm and two maps with a ReLU between", options},
    .state_size = sizeof(stack),
    .setup = setup,
    .count = count,
    .forward = forward,
    .cost = cost,
    .beyond = "experts that are stacks of sublayers",
    .text = text,
};
