/* A memory: expert e is a value v_e, and a token reads the weighted sum of its values. With router product_key, a
 * product-key memory.   [lample2019large] */
#include <stdio.h>

#include "experts/row_pool.h"

static const cot_option options[] = {
    COT_ROW_POOL_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    return cot_row_pool_setup(experts->state, build, COT_ROWS_VALUES);
}

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual)
{
    return cot_row_pool_forward(experts->state, tape, x, routing, residual);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const double width = (double)experts->build.hidden_size;
    return (cot_cost){.flops = 2 * top_k * width, .inactive = (int64_t)(((double)cot_row_pool_count(experts) - top_k) * width)};
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    const cot_row_pool *pool = experts->state;
    snprintf(out, size, "%lld values%s", (long long)pool->num_experts, pool->storage ? " in bf16" : "");
}

const cot_experts_ops cot_experts_value = {
    .member = {"value", "lample2019large", "a memory: gates times values, gathered for each token; updated by touched row", options},
    .state_size = sizeof(cot_row_pool),
    .by_token = true,
    .setup = setup,
    .count = cot_row_pool_count,
    .forward = forward,
    .cost = cost,
    .beyond = "a memory of values",
    .text = text,
    .teardown = cot_row_pool_teardown,
};
