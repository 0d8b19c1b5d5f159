#include "ops/router_linear.h"

#include <omp.h>
#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "kernels/gating/gating.h"
#include "kernels/product/tile.h"
#include "ops/pieces.h"
#include "ops/values.h"

enum { FEW_ROWS = 4, PIECE = 64 };  /* so few rows, as in generation, are not worth a transposed w; experts of a piece */
enum { ROWS = 64, COLUMNS = 64 };  /* of a tile; 64 rows of x stay in cache while they are widened and used */

typedef struct {
    cot_tensor *x, *w, *logits;
} linear_saved;

static const char *at(const void *data, cot_dtype dtype, int64_t index)
{
    return (const char *)data + (size_t)index * cot_dtype_size(dtype);
}

/* A product of m x n x k with the strides of a, b and c. */
typedef struct {
    int64_t m, n, k, lda, ldb, ldc;
    bool    a_transposed, accumulate;
} shape;

static cot_tile find(cot_dtype real, const shape *s)
{
    const cot_tile_spec spec = {.type = real == COT_F64 ? COT_TILE_F64 : COT_TILE_F32,
                                .m = (int32_t)s->m,
                                .n = (int32_t)s->n,
                                .k = (int32_t)s->k,
                                .lda = (int32_t)s->lda,
                                .ldb = (int32_t)s->ldb,
                                .ldc = (int32_t)s->ldc,
                                .a_transposed = s->a_transposed,
                                .accumulate = s->accumulate};
    return cot_tile_find(spec);
}

/* Room for `elements` of the real type for each thread; NULL without a failure when x needs no widening. */
static char *thread_buffers(cot_tape *tape, const cot_tensor *x, int64_t elements)
{
    if (x->dtype == cot_tape_real(tape)) return NULL;
    return cot_tape_scratch(tape, (size_t)(cot_threads() * elements) * cot_dtype_size(cot_tape_real(tape)));
}

static char *buffer_of_thread(char *buffers, cot_dtype real, int64_t elements)
{
    return buffers ? buffers + (size_t)(omp_get_thread_num() * elements) * cot_dtype_size(real) : NULL;
}

/* ---- logits = x W^T ---- */

/* w [E, D] as [D, E], so that a row of logits is one vector. */
static void transpose(const cot_tensor *w, void *out)
{
    const int64_t experts = w->shape[0], width = w->shape[1];
    for (int64_t d = 0; d < width; d++)
        for (int64_t e = 0; e < experts; e++)
            cot_value_set(out, w->dtype, d * experts + e, cot_value_at(w->data, w->dtype, e * width + d));
}

static void forward(cot_tape *tape, const linear_saved *s)
{
    const cot_dtype real = s->w->dtype;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t experts = s->w->shape[0], width = s->w->shape[1], rows = cot_tensor_rows(s->x);
    const int64_t pieces = cot_pieces(rows, ROWS);
    const size_t mark = cot_tape_scratch_mark(tape);
    void *wt = cot_tape_scratch(tape, (size_t)(experts * width) * cot_dtype_size(real));
    char *buffers = thread_buffers(tape, s->x, ROWS * width);
    if (cot_tape_failed(tape)) return;
    transpose(s->w, wt);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * ROWS, r1 = cot_piece_end(p, ROWS, rows);
        const shape product = {.m = r1 - r0, .n = experts, .k = width, .lda = width, .ldb = experts, .ldc = experts};
        const cot_tile tile = find(real, &product);
        char *wide = buffer_of_thread(buffers, real, ROWS * width);
        const char *x = at(s->x->data, s->x->dtype, r0 * width);
        if (wide) kernels->widen(0, (r1 - r0) * width, x, wide, false);
        cot_tile_run(&tile, wide ? wide : x, wt,
                     (char *)s->logits->data + (size_t)(r0 * experts) * cot_dtype_size(real));
    }
    cot_tape_scratch_release(tape, mark);
}

/* Row by row, w where it lies. */
static void forward_few(cot_tape *tape, const linear_saved *s)
{
    const cot_dtype real = s->w->dtype;
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = s->w->shape[0], width = s->w->shape[1], rows = cot_tensor_rows(s->x);
    const int64_t pieces = cot_pieces(experts, PIECE);
    const size_t mark = cot_tape_scratch_mark(tape);
    char *wide = s->x->dtype == real ? s->x->data : cot_tape_scratch(tape, (size_t)(rows * width) * cot_dtype_size(real));
    if (cot_tape_failed(tape)) return;
    if (wide != s->x->data)
        cot_elementwise_kernels_for(cot_tape_mode(tape))->widen(0, rows * width, s->x->data, wide, false);
#pragma omp parallel for if (experts * width > 1 << 17) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t r = 0; r < rows; r++)
            kernels->score(p * PIECE, cot_piece_end(p, PIECE, experts), width, s->w->data, at(wide, real, r * width),
                           (char *)s->logits->data + (size_t)(r * experts) * cot_dtype_size(real));
    cot_tape_scratch_release(tape, mark);
}

/* ---- dx (+)= dlogits W ---- */

static void back_input(cot_tape *tape, const linear_saved *s, char *dx, bool add)
{
    const cot_dtype real = s->w->dtype;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t experts = s->w->shape[0], width = s->w->shape[1], rows = cot_tensor_rows(s->x);
    const int64_t pieces = cot_pieces(rows, ROWS);
    const size_t mark = cot_tape_scratch_mark(tape);
    char *buffers = thread_buffers(tape, s->x, ROWS * width);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * ROWS, r1 = cot_piece_end(p, ROWS, rows);
        const shape product = {.m = r1 - r0, .n = width, .k = experts, .lda = experts, .ldb = width, .ldc = width,
                               .accumulate = add};
        const cot_tile tile = find(real, &product);
        char *wide = buffer_of_thread(buffers, real, ROWS * width);
        char *to = dx + (size_t)(r0 * width) * cot_dtype_size(s->x->dtype);
        if (wide && add) kernels->widen(0, (r1 - r0) * width, to, wide, false);
        cot_tile_run(&tile, at(s->logits->grad, real, r0 * experts), s->w->data, wide ? wide : to);
        if (wide) kernels->narrow(0, (r1 - r0) * width, wide, to);
    }
    cot_tape_scratch_release(tape, mark);
}

/* ---- dW (+)= dlogits^T x: each piece owns some columns and walks over all rows, so there are no partial sums ---- */

/* Columns [d0, d1) of a block of rows, widened side by side. */
static void widen_block(const cot_elementwise_kernels *kernels, const cot_tensor *x, int64_t r0, int64_t r1, int64_t d0,
                        int64_t d1, char *to, cot_dtype real)
{
    const int64_t width = cot_tensor_columns(x), n = d1 - d0;
    for (int64_t r = r0; r < r1; r++)
        kernels->widen(0, n, at(x->data, x->dtype, r * width + d0), to + (size_t)((r - r0) * n) * cot_dtype_size(real),
                       false);
}

static void back_weight(cot_tape *tape, const linear_saved *s, char *dw, bool add)
{
    const cot_dtype real = s->w->dtype;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t experts = s->w->shape[0], width = s->w->shape[1], rows = cot_tensor_rows(s->x);
    const int64_t pieces = cot_pieces(width, COLUMNS);
    const size_t mark = cot_tape_scratch_mark(tape);
    char *buffers = thread_buffers(tape, s->x, ROWS * COLUMNS);
    if (cot_tape_failed(tape)) return;
    if (rows == 0 && !add) memset(dw, 0, (size_t)(experts * width) * cot_dtype_size(real));
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t d0 = p * COLUMNS, d1 = cot_piece_end(p, COLUMNS, width), n = d1 - d0;
        char *wide = buffer_of_thread(buffers, real, ROWS * COLUMNS);
        for (int64_t r0 = 0; r0 < rows; r0 += ROWS) {
            const int64_t r1 = r0 + ROWS < rows ? r0 + ROWS : rows;
            const shape product = {.m = experts, .n = n, .k = r1 - r0, .lda = experts, .ldb = wide ? n : width,
                                   .ldc = width, .a_transposed = true, .accumulate = add || r0 > 0};
            const cot_tile tile = find(real, &product);
            if (wide) widen_block(kernels, s->x, r0, r1, d0, d1, wide, real);
            const char *x = wide ? wide : at(s->x->data, real, r0 * width + d0);
            cot_tile_run(&tile, at(s->logits->grad, real, r0 * experts), x, dw + (size_t)d0 * cot_dtype_size(real));
        }
    }
    cot_tape_scratch_release(tape, mark);
}

static void linear_backward(cot_tape *tape, void *saved_)
{
    const linear_saved *s = saved_;
    bool add_x = false, add_w = false;
    void *dw = cot_tape_grad(tape, s->w, &add_w);
    void *dx = cot_tape_grad(tape, s->x, &add_x);
    if (dw) back_weight(tape, s, dw, add_w);
    if (dx) back_input(tape, s, dx, add_x);
}

cot_tensor *cot_router_linear(cot_tape *tape, cot_tensor *x, cot_tensor *w)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const bool needs_grad = x->needs_grad || w->needs_grad;
    cot_tensor *logits = cot_tape_matrix(tape, cot_tape_real(tape), cot_tensor_rows(x), w->shape[0], needs_grad);
    linear_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return logits;
    if (cot_tensor_columns(x) != w->shape[1]) {
        const char *where = cot_tape_where(tape);
        cot_tape_fail(tape, cot_fail(COT_SHAPE_MISMATCH, "%s: a router of width %lld does not fit tokens of width %lld",
                                     where, (long long)w->shape[1], (long long)cot_tensor_columns(x)));
        return logits;
    }
    *s = (linear_saved){x, w, logits};
    if (!cot_tape_recording(tape) && cot_tensor_rows(x) <= FEW_ROWS) forward_few(tape, s);
    else forward(tape, s);
    cot_tape_record(tape, linear_backward, s, &logits, 1);
    return logits;
}
