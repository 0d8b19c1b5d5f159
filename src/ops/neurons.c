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
    void            *z;      /* [assignments] real */
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
                         room + (size_t)omp_get_thread_num() * row, s->z, s->y->data);
    cot_tape_scratch_release(tape, mark);
}

/* Room in the tables' list for what this pass says of rows: the entries' rows and vectors, and x and dy, are copied. */
static bool list_entries(cot_tape *tape, const neurons_saved *s, int64_t *entry)
{
    cot_row_grads *g = s->rows;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->x), vector = g->vectors, size = tokens * s->pool.width;
    *entry = g->count;
    const cot_status status = cot_row_grads_append(g, s->assignments, tokens);
    if (status != COT_OK) cot_tape_fail(tape, status);
    if (status != COT_OK) return false;
    memcpy(g->row + *entry, s->pool.expert, (size_t)s->assignments * sizeof *g->row);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t a = s->pool.first[t]; a < s->pool.first[t + 1]; a++) g->vector[*entry + a] = (int32_t)(vector + t);
    const size_t at = (size_t)(vector * s->pool.width) * real_size(tape);
    memcpy((char *)g->data[1] + at, s->y->grad, (size_t)size * real_size(tape));
    if (cot_tape_act(tape) == cot_tape_real(tape)) memcpy((char *)g->data[0] + at, s->x->data, (size_t)size * real_size(tape));
    else kernels->widen(0, size, s->x->data, (char *)g->data[0] + at, false);
    return true;
}

/* Where the factors of the rows' gradients go: to the list, or nowhere that lasts. */
typedef struct {
    char *u, *v;
} factors;

static factors find_factors(cot_tape *tape, const neurons_saved *s)
{
    const size_t bytes = (size_t)s->assignments * real_size(tape);
    int64_t entry = 0;
    if (!s->rows) return (factors){cot_tape_scratch(tape, bytes), cot_tape_scratch(tape, bytes)};
    if (!list_entries(tape, s, &entry)) return (factors){NULL, NULL};
    return (factors){(char *)s->rows->scale[0] + (size_t)entry * real_size(tape),
                     (char *)s->rows->scale[1] + (size_t)entry * real_size(tape)};
}

static void neurons_backward(cot_tape *tape, void *saved_)
{
    const neurons_saved *s = saved_;
    const cot_neurons_kernels *kernels = cot_neurons_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->x), pieces = cot_pieces(tokens, TOKENS_AT_ONCE);
    const size_t mark = cot_tape_scratch_mark(tape), row = (size_t)s->pool.width * real_size(tape);
    const factors f = find_factors(tape, s);
    bool add_gate = false, add_x = false;
    char *given = cot_tape_grad(tape, s->gate, &add_gate), *dx = cot_tape_grad(tape, s->x, &add_x);
    char *dgate = given && add_gate ? cot_tape_scratch(tape, (size_t)s->assignments * real_size(tape)) : given;
    char *room = thread_rows(tape, s->pool.width);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(dynamic, 1)
    for (int64_t p = 0; p < pieces; p++)
        kernels->backward(p * TOKENS_AT_ONCE, cot_piece_end(p, TOKENS_AT_ONCE, tokens), &s->pool, s->z, s->y->grad, dgate,
                          f.u, f.v, room + (size_t)omp_get_thread_num() * row, dx, add_x);
    if (given != dgate) cot_elementwise_kernels_for(cot_tape_mode(tape))->add(0, s->assignments, dgate, given);
    cot_tape_scratch_release(tape, mark);
    cot_tape_grad_pass(tape, s->y, s->residual);
}

cot_tensor *cot_neurons(cot_tape *tape, cot_tensor *x, const cot_neuron_choices *choices, cot_param *down, cot_param *up,
                        cot_neuron_activation activation, cot_tensor *residual)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const int64_t tokens = cot_tensor_rows(x), width = cot_tensor_columns(x);
    const bool learns = up->rows && (!up->frozen || (down && !down->frozen)) && cot_tape_recording(tape);
    const bool needs_grad = x->needs_grad || choices->gate->needs_grad || learns || (residual && residual->needs_grad);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), tokens, width, needs_grad);
    neurons_saved *s = cot_tape_alloc(tape, sizeof *s);
    void *z = cot_tape_alloc(tape, (size_t)choices->assignments * real_size(tape));
    if (cot_tape_failed(tape)) return y;
    *s = (neurons_saved){.pool = {.width = width, .first = choices->first, .expert = choices->expert,
                                  .gate = choices->gate->data, .u = down ? down->value.data : NULL,
                                  .v = up->value.data, .activation = activation},
                         .x = x, .gate = choices->gate, .residual = residual, .y = y, .z = z,
                         .rows = learns ? up->rows : NULL, .assignments = choices->assignments};
    const size_t bytes = (size_t)(tokens * width) * real_size(tape);
    if (residual) memcpy(y->data, residual->data, bytes);
    else memset(y->data, 0, bytes);
    forward(tape, s);
    cot_tape_record(tape, neurons_backward, s, &y, 1);
    return y;
}
