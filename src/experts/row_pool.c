#include "experts/row_pool.h"

#include <math.h>
#include <stdio.h>

static cot_status add_table(cot_row_pool *pool, const cot_build *build, const char *name, double std, int term, cot_param **out)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", build->prefix, name);
    const cot_param_spec spec = {.name = full, .rank = 2, .shape = {pool->num_experts, build->hidden_size},
                                 .init = {COT_INIT_NORMAL, std}, .placement = COT_PLACE_EXPERT, .update = COT_UPDATE_TOUCHED_ROWS,
                                 .bf16 = pool->storage == 1};
    COT_TRY(cot_params_add(build->params, &spec, out));
    (*out)->rows = pool->rows;
    (*out)->rows_term = term;
    return COT_OK;
}

cot_status cot_row_pool_setup(cot_row_pool *pool, const cot_build *build, cot_row_pool_kind kind)
{
    const double even = 1 / sqrt((double)build->hidden_size);
    cot_neuron_tables *t = &pool->tables;
    COT_TRY(cot_row_grads_create(cot_params_dtype(build->params), build->hidden_size, &pool->rows));
    if (kind != COT_ROWS_VALUES) COT_TRY(add_table(pool, build, "down", even, COT_ROW_READS, &t->down));
    if (kind == COT_ROWS_GATED) COT_TRY(add_table(pool, build, "linear", even, COT_ROW_READS_TOO, &t->linear));
    return add_table(pool, build, "up", pool->init_std > 0 ? pool->init_std : even, COT_ROW_WRITES, &t->up);
}

void cot_row_pool_teardown(cot_experts *experts) { cot_row_grads_destroy(((cot_row_pool *)experts->state)->rows); }

int64_t cot_row_pool_count(const cot_experts *experts) { return ((const cot_row_pool *)experts->state)->num_experts; }

cot_tensor *cot_row_pool_forward(const cot_row_pool *pool, cot_tape *tape, cot_tensor *x, cot_routing *routing,
                                 cot_tensor *residual)
{
    const cot_neuron_choices choices = {.assignments = routing->assignments, .first = cot_routing_first(tape, routing),
                                        .expert = routing->expert, .gate = routing->gate};
    return choices.first ? cot_neurons(tape, x, &choices, &pool->tables, residual) : residual;
}
