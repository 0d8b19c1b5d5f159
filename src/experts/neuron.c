/* A pool of experts that are a single neuron each: expert e says gate * act(<u_e, x>) v_e, or, gated,
 * gate * act(<u_e, x>) <w_e, x> v_e. A token's experts together are a
 * small network put together for it from a table of any size.   [he2024mixture] */
#include <stdio.h>

#include "experts/row_pool.h"

typedef struct {
    cot_row_pool pool;
    int32_t      activation;  /* cot_neuron_activation */
    bool         gated;
} neuron;

static const cot_option options[] = {
    COT_ROW_POOL_OPTIONS,
    COT_OPTION_CHOICE(neuron, activation, COT_NEURON_GELU, "gelu|relu|silu", "of the neurons; gelu is the exact one"),
    COT_OPTION_BOOL(neuron, gated, false, "a third row w: what a neuron says is multiplied by <w, x>"),
    COT_OPTION_END,
};

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    neuron *s = experts->state;
    s->pool.tables.activation = (cot_neuron_activation)s->activation;
    return cot_row_pool_setup(&s->pool, build, s->gated ? COT_ROWS_GATED : COT_ROWS_NEURONS);
}

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual)
{
    return cot_row_pool_forward(experts->state, tape, x, routing, residual);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const neuron *s = experts->state;
    const double rows = s->gated ? 3 : 2, width = (double)experts->build.hidden_size;
    return (cot_cost){.flops = 2 * rows * top_k * width, .inactive = (int64_t)(((double)s->pool.num_experts - top_k) * rows * width)};
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    const neuron *s = experts->state;
    snprintf(out, size, "%lld single %sneurons%s", (long long)s->pool.num_experts, s->gated ? "gated " : "", s->pool.storage ? " in bf16" : "");
}

const cot_experts_ops cot_experts_neuron = {
    .member = {"neuron", "he2024mixture", "single neurons, gathered for each token; updated by touched row", options},
    .state_size = sizeof(neuron),
    .by_token = true,
    .setup = setup,
    .count = cot_row_pool_count,
    .forward = forward,
    .cost = cost,
    .beyond = "experts of a single neuron",
    .text = text,
    .teardown = cot_row_pool_teardown,
};
