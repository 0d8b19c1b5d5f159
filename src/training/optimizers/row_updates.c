#include "training/optimizers/row_updates.h"

#include <omp.h>

#include "base/threads.h"
#include "kernels/neurons/neurons.h"

enum { ROWS_AT_ONCE = 64, ROWS_AHEAD = 2, ARRAYS = 1 + COT_MAX_SLOTS };

typedef struct {
    const cot_update_kernels  *kernels;
    const cot_neurons_kernels *neurons;
    const cot_row_grads       *grads;
    const cot_slots           *slots;
    int                        term;
    cot_row_rule               apply;
    const void                *rule;
    cot_rng_key                key;
    size_t                     row;   /* bytes of a row of the table ... */
    size_t                     wide;  /* ... and of a row of reals */
} walk;

static walk start(cot_tape *tape, const cot_param *table)
{
    cot_row_grads_sort(table->rows);
    return (walk){.kernels = cot_update_kernels_for(cot_tape_mode(tape)), .neurons = cot_neurons_kernels_for(cot_tape_mode(tape)),
                  .grads = table->rows, .term = table->rows_term, .key = cot_tape_rng(tape, COT_RNG_ROUND + cot_param_number(table)),
                  .row = (size_t)table->rows->width * cot_dtype_size(table->value.dtype),
                  .wide = (size_t)table->rows->width * cot_dtype_size(table->rows->real)};
}

static void make_gradient(const walk *w, int64_t i, char *gradient)
{
    const cot_row_grads *g = w->grads;
    w->neurons->row_gradient(g->start[i + 1] - g->start[i], g->order + g->start[i], g->vector, g->scale[w->term],
                             cot_row_grads_vectors(g, w->term), g->width, gradient);
}

/* The i-th touched row of the table and of its slots. */
static void find_rows(const walk *w, int64_t i, void *out[ARRAYS])
{
    const size_t at = (size_t)w->grads->touched[i] * w->row;
    out[0] = (char *)w->slots->param->value.data + at;
    for (int j = 0; j < COT_MAX_SLOTS; j++) out[1 + j] = w->slots->slot[j] ? (char *)w->slots->slot[j] + at : NULL;
}

static void ask_ahead(const walk *w, int64_t i)
{
    void *rows[ARRAYS];
    if (i >= w->grads->touched_count) return;
    find_rows(w, i, rows);
    for (int j = 0; j < ARRAYS; j++)
        if (rows[j]) w->kernels->ask(rows[j], w->row);
}

static void update_narrow(const walk *w, int64_t i, void *const rows[ARRAYS], char *room)
{
    const int64_t width = w->grads->width;
    void *wide[ARRAYS] = {NULL};
    uint32_t random[4];
    cot_rng_bits(w->key, (uint64_t)w->grads->touched[i], random);
    for (int j = 0; j < ARRAYS; j++)
        if (rows[j]) w->kernels->widen(width, rows[j], wide[j] = room + (size_t)(1 + j) * w->wide);
    w->apply(w->kernels, w->rule, width, wide[0], room, wide + 1);
    for (int j = 0; j < ARRAYS; j++)
        if (rows[j]) w->kernels->round(width, wide[j], (cot_rounding){random[j], random[3]}, rows[j]);
}

void cot_update_rows(cot_tape *tape, const cot_slots *slots, cot_row_rule apply, const void *rule)
{
    walk w = start(tape, slots->param);
    const bool narrow = slots->param->value.dtype == COT_BF16;
    const size_t mark = cot_tape_scratch_mark(tape), each = (1 + ARRAYS) * w.wide;
    char *room = cot_tape_scratch(tape, each * (size_t)cot_threads());
    if (!room) return;
    w.slots = slots, w.apply = apply, w.rule = rule;
#pragma omp parallel for num_threads(cot_threads()) schedule(dynamic, ROWS_AT_ONCE) if (w.grads->touched_count > ROWS_AT_ONCE)
    for (int64_t i = 0; i < w.grads->touched_count; i++) {
        char *gradient = room + (size_t)omp_get_thread_num() * each;
        void *rows[ARRAYS];
        ask_ahead(&w, i + ROWS_AHEAD);
        find_rows(&w, i, rows);
        make_gradient(&w, i, gradient);
        if (narrow) update_narrow(&w, i, rows, gradient);
        else apply(w.kernels, rule, w.grads->width, rows[0], gradient, rows + 1);
    }
    cot_tape_scratch_release(tape, mark);
}

double cot_rows_sum_squares(cot_tape *tape, const cot_param *table)
{
    const walk w = start(tape, table);
    const int64_t pieces = (w.grads->touched_count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
    const size_t mark = cot_tape_scratch_mark(tape);
    double *sums = cot_tape_scratch(tape, (size_t)pieces * sizeof *sums), sum = 0;
    char *room = cot_tape_scratch(tape, w.wide * (size_t)cot_threads());
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < (room ? pieces : 0); p++) {
        char *gradient = room + (size_t)omp_get_thread_num() * w.wide;
        sums[p] = 0;
        for (int64_t i = p * ROWS_AT_ONCE; i < (p + 1) * ROWS_AT_ONCE && i < w.grads->touched_count; i++) {
            make_gradient(&w, i, gradient);
            sums[p] += w.kernels->sum_squares(0, w.grads->width, gradient);
        }
    }
    for (int64_t p = 0; p < (room ? pieces : 0); p++) sum += sums[p];
    cot_tape_scratch_release(tape, mark);
    return sum;
}
