/* Muon: momentum of a matrix, orthogonalised by five Newton-Schulz steps; embeddings, output and vectors go by AdamW.   [jordan2024muon]
 *
 *   m = momentum m + g;  G = g + momentum m;  X = G / |G|_F
 *   five times: A = X X^T, X = a X + (b A + c A A) X   with a, b, c = 3.4445, -4.7750, 2.0315
 *   w -= lr * 0.2 sqrt(max(rows, columns)) * X        (an update as large as AdamW's, so that one lr serves both)   [liu2025muon]
 * Wide and tall matrices alike: the product that is squared is the smaller one. Experts and q, k, v are matrices of their own. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/threads.h"
#include "kernels/product/tile.h"
#include "kernels/update/update.h"
#include "training/optimizers/adamw.h"
#include "training/optimizers/matrices.h"

typedef struct {
    cot_optimizer_common common;
    double               momentum;
    cot_adamw_settings   adam;
} muon;

static const cot_option options[] = {
    COT_OPTIMIZER_COMMON(muon, 1e-3, 0.1),
    COT_OPTION_DOUBLE(muon, momentum, 0.95, 0, 0.9999999, "of the matrices, with Nesterov's look ahead"),
    COT_ADAMW_OPTIONS(muon, adam),
    COT_OPTION_END,
};

static bool is_matrix(const cot_param *param)
{
    return param->value.rank >= 2 && param->spec.update == COT_UPDATE_DENSE && strcmp(param->name, "embed.weight") != 0 && strcmp(param->name, "head.weight") != 0;
}

static void declare(const cot_optimizer *optimizer, cot_slots *slots)
{
    (void)optimizer;
    if (!is_matrix(slots->param)) {
        cot_adamw_declare(slots);
        return;
    }
    slots->slot_name[0] = "momentum";
    slots->slot_size[0] = cot_tensor_count(&slots->param->value);
}

/* ---- orthogonalising x [k, n], k >= n: its columns become near orthonormal ---- */

enum { BLOCK = 64 };

typedef struct {
    const cot_update_kernels *kernels;
    cot_tile_type type;
    size_t        size;      /* bytes of an element */
    void         *x, *next;  /* [k, n] */
    void         *a, *b;     /* [n, n] */
} work;

static void *at(const void *data, size_t size, int64_t i) { return (char *)data + (size_t)i * size; }

/* c [m, n] = op(a) b in tiles; a is [m, k], or [k, m] when transposed; b [k, n]. */
static void multiply(const work *w, int64_t m, int64_t n, int64_t k, const void *a, bool transposed, const void *b, void *c)
{
    const int64_t rows = (m + BLOCK - 1) / BLOCK, columns = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(cot_threads()) schedule(static) collapse(2)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t q = 0; q < columns; q++) {
            const int64_t i = r * BLOCK, j = q * BLOCK;
            const cot_tile tile = cot_tile_find((cot_tile_spec){
                .type = w->type, .m = (int32_t)(m - i < BLOCK ? m - i : BLOCK), .n = (int32_t)(n - j < BLOCK ? n - j : BLOCK), .k = (int32_t)k,
                .lda = (int32_t)(transposed ? m : k), .ldb = (int32_t)n, .ldc = (int32_t)n, .a_transposed = transposed});
            cot_tile_run(&tile, at(a, w->size, transposed ? i : i * k), at(b, w->size, j), at(c, w->size, i * n + j));
        }
}

/* With x [k, n] = X^T: A = x^T x; x (a I + b A + c A A) is the transposed step. */
static void orthogonalise(work *w, int64_t n, int64_t k)
{
    for (int round = 0; round < 5; round++) {
        multiply(w, n, n, k, w->x, true, w->x, w->a);
        multiply(w, n, n, n, w->a, false, w->a, w->b);
        w->kernels->mix(0, n * n, -4.7750, w->a, 2.0315, w->b);
        multiply(w, k, n, n, w->x, false, w->b, w->next);
        w->kernels->mix(0, n * k, 1, w->next, 3.4445, w->x);
    }
}

static void transpose(const void *from, void *to, size_t size, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) memcpy(at(to, size, c * rows + r), at(from, size, r * columns + c), size);
}

static size_t work_bytes(cot_matrix_view view, size_t size)
{
    const int64_t n = view.rows < view.columns ? view.rows : view.columns;
    return (size_t)(2 * view.rows * view.columns + 2 * n * n) * size;
}

static void update_matrix(const muon *s, cot_mode mode, const cot_slots *slots, cot_matrix_view view, double lr, double grad_scale, void *memory)
{
    const size_t size = cot_dtype_size(slots->param->value.dtype);
    const bool wide = view.columns > view.rows;
    const int64_t count = view.rows * view.columns, n = wide ? view.rows : view.columns, k = wide ? view.columns : view.rows;
    const cot_tensor *value = &slots->param->value;
    work w = {.kernels = cot_update_kernels_for(mode), .type = mode == COT_MODE_F64 ? COT_TILE_F64 : COT_TILE_F32, .size = size, .x = memory,
              .next = at(memory, size, count), .a = at(memory, size, 2 * count), .b = at(memory, size, 2 * count + n * n)};
    void *u = wide ? w.next : w.x;
    const double squares = w.kernels->look_ahead(0, count, s->momentum, grad_scale, at(value->grad, size, view.offset), at(slots->slot[0], size, view.offset), u);
    w.kernels->mix(0, count, 0, u, 1 / (sqrt(squares) + 1e-12), u);
    if (wide) transpose(w.next, w.x, size, view.rows, view.columns);
    orthogonalise(&w, n, k);
    if (wide) transpose(w.x, w.next, size, view.columns, view.rows);
    w.kernels->apply(0, count, lr, 0.2 * sqrt((double)k), slots->weight_decay, at(value->data, size, view.offset), u);
}

/* Many matrices: each thread takes some. Few: the threads share each one's products (inside a parallel loop those run on one thread). */
static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const muon *s = optimizer->state;
    const cot_mode mode = cot_tape_mode(tape);
    if (!is_matrix(slots->param)) {
        cot_adamw_update(&s->adam, mode, slots, lr, step, grad_scale);
        return;
    }
    const int64_t matrices = cot_matrix_count(slots->param);
    const int     threads = matrices >= 2 * cot_threads() ? cot_threads() : 1;
    size_t        each = 0;
    for (int64_t i = 0; i < matrices; i++) {
        const size_t bytes = work_bytes(cot_matrix_at(slots->param, i), cot_dtype_size(slots->param->value.dtype));
        each = bytes > each ? bytes : each;
    }
    const size_t mark = cot_tape_scratch_mark(tape);
    char *memory = cot_tape_scratch(tape, each * (size_t)threads);
    if (!memory) return;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < matrices; i++)
        update_matrix(s, mode, slots, cot_matrix_at(slots->param, i), lr, grad_scale, memory + each * (size_t)omp_get_thread_num());
    cot_tape_scratch_release(tape, mark);
}

static double flops(const cot_param *param)
{
    double sum = 0;
    for (int64_t i = 0; is_matrix(param) && i < cot_matrix_count(param); i++) {
        const cot_matrix_view view = cot_matrix_at(param, i);
        const double n = (double)(view.rows < view.columns ? view.rows : view.columns), k = (double)(view.rows + view.columns) - n;
        sum += 5 * (4 * k * n * n + 2 * n * n * n);
    }
    return sum;
}

static void update_rows(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const muon *s = optimizer->state;
    cot_adamw_update_rows(&s->adam, tape, slots, lr, step, grad_scale);
}

const cot_optimizer_ops cot_optimizer_muon = {
    .member = {"muon", "jordan2024muon, liu2025muon", "orthogonalised momentum for matrices, AdamW for the rest", options},
    .state_size = sizeof(muon),
    .declare = declare,
    .update = update,
    .update_rows = update_rows,
    .flops = flops,
};
