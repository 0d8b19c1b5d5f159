/* Muon: momentum of a matrix, orthogonalised by five Newton-Schulz steps; embeddings, output and vectors go by AdamW.   [jordan2024muon]
 *
 *   m = momentum m + g;  G = g + momentum m;  X = G / |G|_F
 *   five times: A = X X^T, X = a X + (b A + c A A) X   with a, b, c = 3.4445, -4.7750, 2.0315
 *   w -= lr * 0.2 sqrt(max(rows, columns)) * X        (an update as large as AdamW's, so that one lr serves both)   [liu2025muon]
 * Wide and tall matrices alike: the product that is squared is the smaller one. Experts and q, k, v are matrices of their own. */
#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "kernels/update/update.h"
#include "ops/matmul.h"
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
    return param->value.rank >= 2 && strcmp(param->name, "embed.weight") != 0 && strcmp(param->name, "head.weight") != 0;
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

static double value_at(const void *data, bool wide, int64_t i) { return wide ? ((const double *)data)[i] : (double)((const float *)data)[i]; }
static void put(void *data, bool wide, int64_t i, double value)
{
    if (wide) ((double *)data)[i] = value;
    else ((float *)data)[i] = (float)value;
}

/* y [rows, columns] = a * x + b * y, all real. */
static void mix(void *y, const void *x, bool wide, int64_t count, double a, double b)
{
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (count > 1 << 14)
    for (int64_t i = 0; i < count; i++) put(y, wide, i, a * value_at(x, wide, i) + b * value_at(y, wide, i));
}

/* x [n, k] with n <= k becomes near orthogonal: x x^T near the identity (its singular values end between about 0.7 and 1.2). */
static void orthogonalise(cot_tape *tape, void *x, int64_t n, int64_t k)
{
    const cot_dtype real = cot_tape_real(tape);
    const bool wide = real == COT_F64;
    const size_t size = cot_dtype_size(real), mark = cot_tape_scratch_mark(tape);
    cot_tensor X = {.dtype = real, .rank = 2, .shape = {n, k, 1, 1}, .data = x};
    cot_tensor A = {.dtype = real, .rank = 2, .shape = {n, n, 1, 1}, .data = cot_tape_scratch(tape, (size_t)(n * n) * size)};
    void *A2 = cot_tape_scratch(tape, (size_t)(n * n) * size), *next = cot_tape_scratch(tape, (size_t)(n * k) * size);
    const cot_matmul gram = {.rows = n, .in = k, .out = n, .groups = 1}, square = {.rows = n, .in = n, .out = n, .groups = 1};
    const cot_matmul left = {.rows = n, .in = k, .out = n, .groups = 1};
    for (int round = 0; round < 5 && !cot_tape_failed(tape); round++) {
        cot_matmul_forward(tape, &gram, x, &X, A.data, real, false);       /* A = X X^T */
        cot_matmul_forward(tape, &square, A.data, &A, A2, real, false);    /* A A^T = A A */
        mix(A2, A.data, wide, n * n, -4.7750, 2.0315);
        cot_matmul_back_input(tape, &left, A2, real, &X, next, real, false);  /* (b A + c A A) X */
        mix(x, next, wide, n * k, 1, 3.4445);
    }
    cot_tape_scratch_release(tape, mark);
}

static void transpose(const void *from, void *to, bool wide, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) put(to, wide, c * rows + r, value_at(from, wide, r * columns + c));
}

/* m = momentum m + g; u = (g + momentum m) / its Frobenius norm */
static void look_ahead(const muon *s, bool wide, int64_t count, const void *g, double grad_scale, void *m, void *u)
{
    double squares = 0;
    for (int64_t i = 0; i < count; i++) {
        const double gradient = value_at(g, wide, i) * grad_scale;
        put(m, wide, i, s->momentum * value_at(m, wide, i) + gradient);
        put(u, wide, i, gradient + s->momentum * value_at(m, wide, i));
        squares += value_at(u, wide, i) * value_at(u, wide, i);
    }
    const double norm = sqrt(squares) + 1e-12;
    for (int64_t i = 0; i < count; i++) put(u, wide, i, value_at(u, wide, i) / norm);
}

static void update_matrix(const muon *s, cot_tape *tape, cot_slots *slots, cot_matrix_view view, double lr, double grad_scale)
{
    const bool wide = cot_tape_real(tape) == COT_F64, tall = view.rows > view.columns;
    const size_t size = wide ? 8 : 4, skip = (size_t)view.offset * size, mark = cot_tape_scratch_mark(tape);
    const int64_t count = view.rows * view.columns;
    const cot_tensor *value = &slots->param->value;
    void *u = cot_tape_scratch(tape, (size_t)count * size), *turned = tall ? cot_tape_scratch(tape, (size_t)count * size) : NULL;
    if (cot_tape_failed(tape)) return;
    look_ahead(s, wide, count, (const char *)value->grad + skip, grad_scale, (char *)slots->slot[0] + skip, u);
    if (tall) {
        transpose(u, turned, wide, view.rows, view.columns);
        orthogonalise(tape, turned, view.columns, view.rows);
        transpose(turned, u, wide, view.columns, view.rows);
    } else {
        orthogonalise(tape, u, view.rows, view.columns);
    }
    const double scale = 0.2 * sqrt((double)(tall ? view.rows : view.columns));
    cot_update_kernels_for(cot_tape_mode(tape))->apply(0, count, lr, scale, slots->weight_decay, (char *)value->data + skip, u);
    cot_tape_scratch_release(tape, mark);
}

static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    const muon *s = optimizer->state;
    if (!is_matrix(slots->param)) {
        cot_adamw_update(&s->adam, cot_tape_mode(tape), slots, lr, step, grad_scale);
        return;
    }
    for (int64_t i = 0; i < cot_matrix_count(slots->param); i++)
        update_matrix(s, tape, slots, cot_matrix_at(slots->param, i), lr, grad_scale);
}

const cot_optimizer_ops cot_optimizer_muon = {
    .member = {"muon", "jordan2024muon, liu2025muon", "orthogonalised momentum for matrices, AdamW for the rest", options},
    .state_size = sizeof(muon),
    .declare = declare,
    .update = update,
};
