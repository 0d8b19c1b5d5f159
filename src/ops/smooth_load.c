#include "ops/smooth_load.h"

#include <math.h>
#include <string.h>

#include "ops/pieces.h"
#include "ops/top_k_rows.h"
#include "ops/values.h"

typedef struct {
    cot_tensor *clean, *noisy, *std, *load;
    cot_smooth_load_options options;
    int32_t    *rank;  /* [T, k + 1]: the chosen, put into ascending order, then the runner-up */
    int32_t    *kth;   /* [T] the last of the chosen */
} load_saved;

/* One token: where the thresholds stand, and a walk over its experts that knows who was chosen. Being chosen is decided
 * by index, not by comparing values, so that ties behave. */
typedef struct {
    int64_t        start;            /* of the row */
    const int32_t *chosen;           /* [k] ascending */
    int64_t        next, k;          /* of the walk */
    int32_t        inside, outside;  /* experts that supply the threshold of a chosen and of another expert */
} row_walk;

static row_walk walk_begin(const load_saved *s, int64_t t)
{
    const int64_t k = s->options.k;
    const int32_t *rank = s->rank + t * (k + 1);
    const bool all_kth = s->options.threshold == COT_THRESHOLD_KTH;
    return (row_walk){.start = t * cot_tensor_columns(s->clean), .chosen = rank, .k = k, .outside = s->kth[t],
                      .inside = all_kth ? s->kth[t] : rank[k]};
}

/* The expert whose noisy logit is the threshold of expert i; called for i = 0, 1, 2 ... */
static int32_t walk_threshold(row_walk *w, int64_t i)
{
    if (w->next >= w->k || w->chosen[w->next] != i) return w->outside;
    w->next++;
    return w->inside;
}

/* (clean - threshold) / std; infinite where the expert or the threshold is masked. */
static double distance(const load_saved *s, int64_t at, double threshold)
{
    const cot_dtype real = s->load->dtype;
    const double clean = cot_value_at(s->clean->data, real, at);
    if (!(clean > -INFINITY)) return -INFINITY;
    return (clean - threshold) / cot_value_at(s->std->data, real, at);
}

static void sort_ascending(int32_t *v, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        const int32_t x = v[i];
        int64_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

static void rows_forward(const load_saved *s, int64_t r0, int64_t r1, double *sum)
{
    const int64_t experts = cot_tensor_columns(s->clean), k = s->options.k;
    const cot_dtype real = s->load->dtype;
    for (int64_t t = r0; t < r1; t++) {
        s->kth[t] = s->rank[t * (k + 1) + k - 1];
        sort_ascending(s->rank + t * (k + 1), k);
        row_walk w = walk_begin(s, t);
        for (int64_t i = 0; i < experts; i++) {
            const double threshold = cot_value_at(s->noisy->data, real, w.start + walk_threshold(&w, i));
            sum[i] += 0.5 * erfc(-distance(s, w.start + i, threshold) * 0.70710678118654752);
        }
    }
}

/* Gradients into which one row writes; each may be NULL. */
typedef struct {
    void *clean, *noisy, *std;
    bool  add_clean, add_noisy, add_std;
} load_grads;

/* du = a phi(u) for each expert; dclean = du / s, dstd = -du u / s, and -du / s to whoever supplied the threshold. */
static void row_backward(const load_saved *s, int64_t t, const load_grads *g)
{
    const int64_t experts = cot_tensor_columns(s->clean);
    const cot_dtype real = s->load->dtype;
    row_walk w = walk_begin(s, t);
    if (g->noisy && !g->add_noisy)
        memset((char *)g->noisy + (size_t)w.start * cot_dtype_size(real), 0, (size_t)experts * cot_dtype_size(real));
    for (int64_t i = 0; i < experts; i++) {
        const int64_t at = w.start + i, source = w.start + walk_threshold(&w, i);
        const double u = distance(s, at, cot_value_at(s->noisy->data, real, source));
        const double density = isfinite(u) ? 0.39894228040143268 * exp(-0.5 * u * u) : 0;
        const double du = cot_value_at(s->load->grad, real, i) * density;
        const double dclean = du / cot_value_at(s->std->data, real, at);
        if (g->clean) cot_value_put(g->clean, real, at, dclean, g->add_clean);
        if (g->std) cot_value_put(g->std, real, at, du == 0 ? 0 : -dclean * u, g->add_std);
        if (g->noisy) cot_value_put(g->noisy, real, source, -dclean, true);
    }
}

static void load_backward(cot_tape *tape, void *saved_)
{
    const load_saved *s = saved_;
    const int64_t rows = cot_tensor_rows(s->clean), pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    load_grads g = {0};
    g.clean = cot_tape_grad(tape, s->clean, &g.add_clean);
    g.std = cot_tape_grad(tape, s->std, &g.add_std);
    if (s->options.threshold_grad) g.noisy = cot_tape_grad(tape, s->noisy, &g.add_noisy);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t t = p * COT_PIECE_TOKENS; t < cot_piece_end(p, COT_PIECE_TOKENS, rows); t++)
            row_backward(s, t, &g);
}

static cot_tensor *everyone(cot_tape *tape, int64_t rows, int64_t experts)
{
    cot_tensor *load = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){experts}, false);
    for (int64_t i = 0; i < experts && !cot_tape_failed(tape); i++)
        cot_value_set(load->data, load->dtype, i, (double)rows);
    return load;
}

cot_tensor *cot_smooth_load(cot_tape *tape, cot_tensor *clean, cot_tensor *noisy, cot_tensor *std,
                            const cot_smooth_load_options *options)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t experts = cot_tensor_columns(clean), rows = cot_tensor_rows(clean), k = options->k;
    if (k >= experts) return everyone(tape, rows, experts);
    const int64_t each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(pieces * experts) * sizeof(double);
    cot_tensor *load = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){experts},
                                       clean->needs_grad || noisy->needs_grad || std->needs_grad);
    load_saved *s = cot_tape_alloc(tape, sizeof *s);
    int32_t *rank = cot_tape_alloc(tape, (size_t)(rows * (k + 1)) * sizeof *rank);
    int32_t *kth = cot_tape_alloc(tape, (size_t)rows * sizeof *kth);
    double *partial = cot_tape_scratch(tape, bytes);
    if (cot_tape_failed(tape)) return load;
    *s = (load_saved){clean, noisy, std, load, *options, rank, kth};
    memset(partial, 0, bytes);
    cot_top_k_rows(tape, noisy, k + 1, rank);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) rows_forward(s, p * each, cot_piece_end(p, each, rows), partial + p * experts);
    for (int64_t i = 0; i < experts; i++) {
        double sum = 0;
        for (int64_t p = 0; p < pieces; p++) sum += partial[p * experts + i];
        cot_value_set(load->data, load->dtype, i, sum);
    }
    cot_tape_scratch_release(tape, mark);
    cot_tape_record(tape, load_backward, s, &load, 1);
    return load;
}
