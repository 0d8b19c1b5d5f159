#include "ops/neurons.h"

#include <omp.h>
#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "ops/pieces.h"

enum { TOKENS_AT_ONCE = 16 };

typedef struct {
    cot_neurons_pool pool;
    cot_tensor      *x, *gate, *residual, *y;
    cot_row_grads   *rows;   /* NULL: the tables do not learn */
    int64_t          assignments;
    void            *z, *l;  /* [assignments] real; l: of gated neurons */
} neurons_saved;

static size_t real_size(const cot_tape *tape) { return cot_dtype_size(cot_tape_real(tape)); }

/* A row of reals for each thread. */
static char *thread_rows(cot_tape *tape, int64_t width)
{
    return cot_tape_scratch(tape, (size_t)(cot_threads() * width) * real_size(tape));
}

static void forward(cot_tape *tape, const neurons_saved *s)
{
    const cot_neurons_kernels *kernels = cot_neurons_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->x), pieces = cot_pieces(tokens, TOKENS_AT_ONCE);
    const size_t mark = cot_tape_scratch_mark(tape), row = (size_t)s->pool.width * real_size(tape);
    char *room = thread_rows(tape, s->pool.width);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(dynamic, 1)
    for (int64_t p = 0; p < (room ? pieces : 0); p++)
        kernels->forward(p * TOKENS_AT_ONCE, cot_piece_end(p, TOKENS_AT_ONCE, tokens), &s->pool, s->x->data,
                         room + (size_t)omp_get_thread_num() * row, s->z, s->l, s->y->data);
    cot_tape_scratch_release(tape, mark);
}

/* Room in the tables' list for what this pass says of rows: the entries' rows and vectors, and x and dy, are copied. */
static void list_entries(cot_tape *tape, const neurons_saved *s, int64_t *entry)
{
    cot_row_grads *g = s->rows;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->x), vector = g->vectors, size = tokens * s->pool.width;
    *entry = g->count;
    const cot_status status = cot_row_grads_append(g, s->assignments, tokens);
    if (status != COT_OK) cot_tape_fail(tape, status);
    if (status != COT_OK) return;
    memcpy(g->row + *entry, s->pool.expert, (size_t)s->assignments * sizeof *g->row);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t a = s->pool.first[t]; a < s->pool.first[t + 1]; a++) g->vector[*entry + a] = (int32_t)(vector + t);
    const size_t at = (size_t)(vector * s->pool.width) * real_size(tape);
    memcpy((char *)g->data[1] + at, s->y->grad, (size_t)size * real_size(tape));
    if (cot_tape_act(tape) == cot_tape_real(tape)) memcpy((char *)g->data[0] + at, s->x->data, (size_t)size * real_size(tape));
    else kernels->widen(0, size, s->x->data, (char *)g->data[0] + at, false);
}

/* Where the factors of the rows' gradients go: to the list, or nowhere that lasts. NULL where there is no room. */
static void *find_scales(cot_tape *tape, const neurons_saved *s, int term, int64_t entry)
{
    if (!s->rows) return cot_tape_scratch(tape, (size_t)s->assignments * real_size(tape));
    return cot_tape_failed(tape) ? NULL : (char *)s->rows->scale[term] + (size_t)entry * real_size(tape);
}

static void neurons_backward(cot_tape *tape, void *saved_)
{
    const neurons_saved *s = saved_;
    const cot_neurons_kernels *kernels = cot_neurons_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->x), pieces = cot_pieces(tokens, TOKENS_AT_ONCE);
    const size_t mark = cot_tape_scratch_mark(tape), row = (size_t)s->pool.width * real_size(tape);
    int64_t entry = 0;
    if (s->rows) list_entries(tape, s, &entry);
    cot_neurons_scales scales = {.v = find_scales(tape, s, COT_ROW_WRITES, entry)};
    if (s->pool.u) scales.u = find_scales(tape, s, COT_ROW_READS, entry);
    if (s->pool.w) scales.w = find_scales(tape, s, COT_ROW_READS_TOO, entry);
    bool add_gate = false, add_x = false;
    char *given = cot_tape_grad(tape, s->gate, &add_gate), *dx = cot_tape_grad(tape, s->x, &add_x);
    char *dgate = given && add_gate ? cot_tape_scratch(tape, (size_t)s->assignments * real_size(tape)) : given;
    char *room = thread_rows(tape, s->pool.width);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(dynamic, 1)
    for (int64_t p = 0; p < pieces; p++)
        kernels->backward(p * TOKENS_AT_ONCE, cot_piece_end(p, TOKENS_AT_ONCE, tokens), &s->pool, s->z, s->l, s->y->grad, dgate,
                          &scales, room + (size_t)omp_get_thread_num() * row, dx, add_x);
    if (given != dgate) cot_elementwise_kernels_for(cot_tape_mode(tape))->add(0, s->assignments, dgate, given);
    cot_tape_scratch_release(tape, mark);
    cot_tape_grad_pass(tape, s->y, s->residual);
}

static bool wants_gradient(const cot_param *table) { return table && !table->frozen; }

static const void *rows_of(const cot_param *table) { return table ? table->value.data : NULL; }

cot_tensor *cot_neurons(cot_tape *tape, cot_tensor *x, const cot_neuron_choices *choices, const cot_neuron_tables *tables,
                        cot_tensor *residual)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const cot_param *up = tables->up;
    const int64_t tokens = cot_tensor_rows(x), width = cot_tensor_columns(x);
    const bool learns = up->rows && cot_tape_recording(tape) &&
                        (wants_gradient(up) || wants_gradient(tables->down) || wants_gradient(tables->linear));
    const bool needs_grad = x->needs_grad || choices->gate->needs_grad || learns || (residual && residual->needs_grad);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), tokens, width, needs_grad);
    neurons_saved *s = cot_tape_alloc(tape, sizeof *s);
    const size_t each = (size_t)choices->assignments * real_size(tape);
    void *z = cot_tape_alloc(tape, each), *l = tables->linear ? cot_tape_alloc(tape, each) : NULL;
    if (cot_tape_failed(tape)) return y;
    *s = (neurons_saved){.pool = {.width = width, .first = choices->first, .expert = choices->expert,
                                  .gate = choices->gate->data, .u = rows_of(tables->down), .v = rows_of(up),
                                  .w = rows_of(tables->linear), .bf16 = up->value.dtype == COT_BF16,
                                  .activation = tables->activation},
                         .x = x, .gate = choices->gate, .residual = residual, .y = y, .z = z, .l = l,
                         .rows = learns ? up->rows : NULL, .assignments = choices->assignments};
    const size_t bytes = (size_t)(tokens * width) * real_size(tape);
    if (residual) memcpy(y->data, residual->data, bytes);
    else memset(y->data, 0, bytes);
    forward(tape, s);
    cot_tape_record(tape, neurons_backward, s, &y, 1);
    return y;
}
