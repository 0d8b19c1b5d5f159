/* A pool of experts that are a single neuron each: expert e says gate * act(<u_e, x>) v_e. A token's experts together are a
 * small network put together for it from a table of any size.   [he2024mixture] */
#include <stdio.h>

#include "experts/row_pool.h"

typedef struct {
    cot_row_pool pool;
    int32_t      activation;  /* cot_neuron_activation */
} neuron;

static const cot_option options[] = {
    COT_ROW_POOL_OPTIONS,
    COT_OPTION_CHOICE(neuron, activation, COT_NEURON_GELU, "gelu|relu|silu", "of the neurons; gelu is the exact one"),
    COT_OPTION_END,
};

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    return cot_row_pool_setup(&((neuron *)experts->state)->pool, build, true);
}

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual)
{
    const neuron *s = experts->state;
    return cot_row_pool_forward(&s->pool, tape, x, routing, (cot_neuron_activation)s->activation, residual);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const neuron *s = experts->state;
    const double width = (double)experts->build.hidden_size;
    return (cot_cost){.flops = 4 * top_k * width, .inactive = (int64_t)(((double)s->pool.num_experts - top_k) * 2 * width)};
}

static void describe(const cot_experts *experts, cot_model_card *card)
{
    (void)experts;
    card->beyond = "experts of a single neuron";
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    snprintf(out, size, "%lld single neurons", (long long)cot_row_pool_count(experts));
}

const cot_experts_ops cot_experts_neuron = {
    .member = {"neuron", "he2024mixture", "single neurons, gathered for each token; updated by touched row", options},
    .state_size = sizeof(neuron),
    .by_token = true,
    .setup = setup,
    .count = cot_row_pool_count,
    .forward = forward,
    .cost = cost,
    .describe = describe,
    .text = text,
    .teardown = cot_row_pool_teardown,
};
