#include "ops/output_loss.h"

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "ops/matmul.h"
#include "ops/pieces.h"

enum { CHUNK_ROWS = 512, ROWS_AT_ONCE = 16 };

typedef struct {
    cot_tensor *x, *loss;
    void       *dx;  /* [T, d] act, for a loss gradient of 1 */
} output_loss_saved;

typedef struct {
    cot_tensor    *x, *w;
    const int32_t *target;
    double         weight;
    void          *nll, *dx;
    void          *logits, *dlogits;  /* one chunk: [CHUNK_ROWS, V] real and act; dlogits is logits where the types agree */
} work;

static void chunk_losses(cot_tape *tape, const work *k, int64_t from, int64_t rows)
{
    const cot_cross_entropy_kernels *kernels = cot_cross_entropy_kernels_for(cot_tape_mode(tape));
    const int64_t vocabulary = k->w->shape[0], pieces = cot_pieces(rows, ROWS_AT_ONCE);
    const int32_t *target = k->target + from;
    void *nll = (char *)k->nll + (size_t)from * cot_dtype_size(cot_tape_real(tape));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * ROWS_AT_ONCE, r1 = cot_piece_end(p, ROWS_AT_ONCE, rows);
        if (k->dlogits) kernels->with_gradient(r0, r1, vocabulary, k->logits, target, k->weight, k->dlogits, nll);
        else kernels->forward(r0, r1, vocabulary, k->logits, target, nll);
    }
}

static void chunk(cot_tape *tape, const work *k, int64_t from, int64_t rows)
{
    const int64_t d = k->w->shape[1];
    const cot_matmul shape = {.rows = rows, .in = d, .out = k->w->shape[0], .groups = 1};
    const cot_dtype act = cot_tape_act(tape);
    const size_t offset = (size_t)(from * d) * cot_dtype_size(act);
    const void *x = (const char *)k->x->data + offset;
    cot_matmul_forward(tape, &shape, x, k->w, k->logits, cot_tape_real(tape), false);
    chunk_losses(tape, k, from, rows);
    if (!k->dlogits) return;
    if (k->dx) cot_matmul_back_input(tape, &shape, k->dlogits, act, k->w, (char *)k->dx + offset, act, false);
    bool accumulate = false;
    void *dw = cot_tape_grad(tape, k->w, &accumulate);
    if (dw) cot_matmul_back_weight(tape, &shape, k->dlogits, act, x, dw, accumulate);
}

static double total(const void *nll, cot_dtype dtype, int64_t count)
{
    double sum = 0;
    for (int64_t t = 0; t < count; t++) sum += dtype == COT_F64 ? ((const double *)nll)[t] : (double)((const float *)nll)[t];
    return sum;
}

static void output_loss_backward(cot_tape *tape, void *saved_)
{
    const output_loss_saved *s = saved_;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const double upstream = s->loss->dtype == COT_F64 ? *(double *)s->loss->grad : (double)*(float *)s->loss->grad;
    if (upstream != 1.0) {
        cot_tape_fail(tape, cot_fail(COT_INVALID, "the loss's own gradient is %g, expected 1: scale by `weight`", upstream));
        return;
    }
    bool accumulate = false;
    void *dx = cot_tape_grad(tape, s->x, &accumulate);
    const int64_t count = cot_tensor_count(s->x), pieces = cot_pieces(count, COT_PIECE_ELEMENTS);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        if (dx) kernels->scale_add(p * COT_PIECE_ELEMENTS, cot_piece_end(p, COT_PIECE_ELEMENTS, count), 1.0, s->dx, dx, accumulate);
}

static void all_chunks(cot_tape *tape, work *k, bool with_gradient)
{
    const int64_t tokens = cot_tensor_rows(k->x), vocabulary = k->w->shape[0], rows = tokens < CHUNK_ROWS ? tokens : CHUNK_ROWS;
    const size_t mark = cot_tape_scratch_mark(tape), elements = (size_t)(rows * vocabulary);
    k->logits = cot_tape_scratch(tape, elements * cot_dtype_size(cot_tape_real(tape)));
    if (with_gradient)
        k->dlogits = cot_tape_act(tape) == cot_tape_real(tape) ? k->logits : cot_tape_scratch(tape, elements * cot_dtype_size(cot_tape_act(tape)));
    for (int64_t from = 0; from < tokens && !cot_tape_failed(tape); from += CHUNK_ROWS)
        chunk(tape, k, from, tokens - from < CHUNK_ROWS ? tokens - from : CHUNK_ROWS);
    cot_tape_scratch_release(tape, mark);
}

cot_tensor *cot_output_loss(cot_tape *tape, cot_tensor *x, cot_tensor *w, const int32_t *target, double weight, cot_tensor **nll_out)
{
    const int64_t tokens = cot_tensor_rows(x);
    cot_tape_kind(tape, COT_TIME_LOSS);
    cot_tensor *loss = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, x->needs_grad || w->needs_grad);
    cot_tensor *nll = cot_tape_tensor(tape, cot_tape_real(tape), 1, &tokens, false);
    output_loss_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (nll_out) *nll_out = nll;
    if (cot_tape_failed(tape)) return loss;
    *s = (output_loss_saved){.x = x, .loss = loss};
    if (x->needs_grad) s->dx = cot_tape_alloc(tape, (size_t)cot_tensor_count(x) * cot_dtype_size(x->dtype));
    work k = {.x = x, .w = w, .target = target, .weight = weight, .nll = nll->data, .dx = s->dx};
    all_chunks(tape, &k, loss->needs_grad);
    const double sum = weight * total(nll->data, nll->dtype, tokens);
    if (loss->dtype == COT_F64) *(double *)loss->data = sum;
    else *(float *)loss->data = (float)sum;
    cot_tape_record(tape, output_loss_backward, s, &loss, 1);
    return loss;
}
