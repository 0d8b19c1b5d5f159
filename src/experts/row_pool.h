/* What pools of experts of one row each share: tables [N, D] that are updated by touched row, and the walk over tokens. */
#ifndef COT_EXPERTS_ROW_POOL_H
#define COT_EXPERTS_ROW_POOL_H

#include "experts/experts.h"
#include "ops/neurons.h"

typedef struct {
    int64_t        num_experts;
    double         init_std;    /* 0 = 1 / sqrt(hidden_size) */
    cot_param     *down, *up;   /* down NULL: values */
    cot_row_grads *rows;
} cot_row_pool;

/* For members whose state starts with a cot_row_pool. */
#define COT_ROW_POOL_OPTIONS                                                                                            \
    COT_OPTION_INT(cot_row_pool, num_experts, 1 << 14, 1, 1 << 30, "experts, a row each; a square for router product_key"), \
    COT_OPTION_DOUBLE(cot_row_pool, init_std, 0, 0, 10, "standard deviation of the rows that write; 0 = 1 / sqrt(hidden_size)")

/* Declares the tables `up` and, when asked, `down`. */
cot_status  cot_row_pool_setup(cot_row_pool *pool, const cot_build *build, bool with_down);
void        cot_row_pool_teardown(cot_experts *experts);
int64_t     cot_row_pool_count(const cot_experts *experts);
cot_tensor *cot_row_pool_forward(const cot_row_pool *pool, cot_tape *tape, cot_tensor *x, cot_routing *routing,
                                 cot_neuron_activation activation, cot_tensor *residual);

#endif
