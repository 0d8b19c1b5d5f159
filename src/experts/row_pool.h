/* What pools of experts of one row each share: tables [N, D] that are updated by touched row, and the walk over tokens. */
#ifndef COT_EXPERTS_ROW_POOL_H
#define COT_EXPERTS_ROW_POOL_H

#include "experts/experts.h"
#include "ops/neurons.h"

typedef struct {
    int64_t        num_experts;
    double         init_std;    /* 0 = 1 / sqrt(hidden_size) */
    int32_t        storage;     /* 1: rows and what the optimizer keeps of them in bf16 */
    cot_neuron_tables tables;
    cot_row_grads *rows;
} cot_row_pool;

/* For members whose state starts with a cot_row_pool. */
#define COT_ROW_POOL_OPTIONS                                                                                            \
    COT_OPTION_INT(cot_row_pool, num_experts, 1 << 14, 1, 1 << 30, "experts, a row each; a square for router product_key"), \
    COT_OPTION_DOUBLE(cot_row_pool, init_std, 0, 0, 10, "standard deviation of the rows that write; 0 = 1 / sqrt(hidden_size)"), \
    COT_OPTION_CHOICE(cot_row_pool, storage, 0, "f32|bf16", "of rows and their optimizer state; bf16: half the memory, rounded at random without bias")

typedef enum { COT_ROWS_VALUES, COT_ROWS_NEURONS, COT_ROWS_GATED } cot_row_pool_kind;

/* Declares the tables: `up`; for neurons `down` too, and for gated ones `linear`. */
cot_status  cot_row_pool_setup(cot_row_pool *pool, const cot_build *build, cot_row_pool_kind kind);
void        cot_row_pool_teardown(cot_experts *experts);
int64_t     cot_row_pool_count(const cot_experts *experts);
cot_tensor *cot_row_pool_forward(const cot_row_pool *pool, cot_tape *tape, cot_tensor *x, cot_routing *routing,
                                 cot_tensor *residual);

#endif
