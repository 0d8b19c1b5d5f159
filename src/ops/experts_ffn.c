#include "ops/experts_ffn.h"

#include "kernels/combine/combine.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/swiglu/swiglu.h"
#include "ops/matmul.h"
#include "ops/pieces.h"

typedef struct {
    cot_expert_rows rows;
    cot_tensor *x, *gate_up, *down, *residual, *y;
    void       *gu;        /* [kept, 2F] act */
    int64_t    *first;     /* [T + 1] first assignment of each token */
    double      dropout;
    cot_rng_key key;
} experts_saved;

static cot_matmul up_shape(const experts_saved *s)
{
    return (cot_matmul){.rows = s->rows.kept,
                        .in = s->gate_up->shape[2],
                        .out = s->gate_up->shape[1],
                        .groups = s->rows.experts,
                        .offset = s->rows.offset,
                        .x_rows = s->rows.row_token};
}

static cot_matmul down_shape(const experts_saved *s)
{
    return (cot_matmul){.rows = s->rows.kept,
                        .in = s->down->shape[2],
                        .out = s->down->shape[1],
                        .groups = s->rows.experts,
                        .offset = s->rows.offset,
                        .y_rows = s->rows.row_token};
}

static void *scratch_act(cot_tape *tape, int64_t rows, int64_t columns)
{
    return cot_tape_scratch(tape, (size_t)(rows * columns) * cot_dtype_size(cot_tape_act(tape)));
}

/* Zeroes and scales hidden rows; a value's draw goes by its place, so the gradient meets the same mask. */
static void drop(cot_tape *tape, const experts_saved *s, int64_t r0, int64_t r1, void *h)
{
    const int64_t F = s->down->shape[2];
    if (s->dropout > 0)
        cot_elementwise_kernels_for(cot_tape_mode(tape))
            ->dropout(r0 * F, r1 * F, s->dropout, s->key, h, h, true, false);
}

static void hidden(cot_tape *tape, const experts_saved *s, void *h)
{
    const cot_swiglu_kernels *kernels = cot_swiglu_kernels_for(cot_tape_mode(tape));
    const int64_t F = s->down->shape[2], pieces = cot_pieces(s->rows.kept, COT_PIECE_ROWS);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * COT_PIECE_ROWS, r1 = cot_piece_end(p, COT_PIECE_ROWS, s->rows.kept);
        kernels->forward(r0, r1, F, s->gu, h);
        drop(tape, s, r0, r1, h);
    }
}

static void combine(cot_tape *tape, const experts_saved *s, const void *out)
{
    const cot_combine_kernels *kernels = cot_combine_kernels_for(cot_tape_mode(tape));
    const int64_t D = cot_tensor_columns(s->y), pieces = cot_pieces(s->rows.tokens, COT_PIECE_ROWS);
    cot_tape_kind(tape, COT_TIME_ROUTING);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->weighted(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, s->rows.tokens), D, s->first,
                          s->rows.row_of, s->rows.gate->data, out, s->residual ? s->residual->data : NULL, s->y->data);
    cot_tape_kind(tape, COT_TIME_EXPERTS);
}

static void forward(cot_tape *tape, const experts_saved *s)
{
    const size_t mark = cot_tape_scratch_mark(tape);
    const cot_matmul up = up_shape(s), down = down_shape(s);
    void *h = scratch_act(tape, up.rows, down.in), *out = scratch_act(tape, up.rows, down.out);
    if (out) {
        cot_matmul_forward(tape, &up, s->x->data, s->gate_up, s->gu, cot_tape_act(tape), false);
        hidden(tape, s, h);
        cot_matmul_forward(tape, &down, h, s->down, out, cot_tape_act(tape), false);
        combine(tape, s, out);
    }
    cot_tape_scratch_release(tape, mark);
}

/* ---- going back ---- */

/* From dh, the gradient of hidden rows whose output were not weighted: dgu in gu's place, gate * h in dh's place,
 * gradients of gates. */
static void hidden_backward(cot_tape *tape, const experts_saved *s, const void *gate_rows, void *dh, void *dgate_rows)
{
    const cot_swiglu_kernels *kernels = cot_swiglu_kernels_for(cot_tape_mode(tape));
    const int64_t F = s->down->shape[2], pieces = cot_pieces(s->rows.kept, COT_PIECE_ROWS);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * COT_PIECE_ROWS, r1 = cot_piece_end(p, COT_PIECE_ROWS, s->rows.kept);
        drop(tape, s, r0, r1, dh);
        kernels->backward_weighted(r0, r1, F, s->gu, dh, gate_rows, s->gu, dh, dgate_rows);
        drop(tape, s, r0, r1, dh);
    }
}

static void input_backward(cot_tape *tape, const experts_saved *s)
{
    const cot_combine_kernels *kernels = cot_combine_kernels_for(cot_tape_mode(tape));
    const cot_matmul up = up_shape(s);
    const int64_t pieces = cot_pieces(s->rows.tokens, COT_PIECE_ROWS);
    bool accumulate = false;
    void *dx = cot_tape_grad(tape, s->x, &accumulate), *dx_rows = dx ? scratch_act(tape, up.rows, up.in) : NULL;
    if (!dx_rows) return;
    cot_matmul_back_input(tape, &up, s->gu, cot_tape_act(tape), s->gate_up, dx_rows, cot_tape_act(tape), false);
    cot_tape_kind(tape, COT_TIME_ROUTING);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->sum(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, s->rows.tokens), up.in, s->first,
                     s->rows.row_of, dx_rows, dx, accumulate);
    cot_tape_kind(tape, COT_TIME_EXPERTS);
}

static void weights_backward(cot_tape *tape, const experts_saved *s, const void *h_weighted)
{
    const cot_matmul up = up_shape(s), down = down_shape(s);
    bool accumulate = false;
    void *ddown = cot_tape_grad(tape, s->down, &accumulate);
    if (ddown) cot_matmul_back_weight(tape, &down, s->y->grad, cot_tape_real(tape), h_weighted, ddown, accumulate);
    void *dgate_up = cot_tape_grad(tape, s->gate_up, &accumulate);
    if (dgate_up) cot_matmul_back_weight(tape, &up, s->gu, cot_tape_act(tape), s->x->data, dgate_up, accumulate);
}

static void experts_backward(cot_tape *tape, void *saved_)
{
    const experts_saved *s = saved_;
    const cot_combine_kernels *kernels = cot_combine_kernels_for(cot_tape_mode(tape));
    const size_t mark = cot_tape_scratch_mark(tape), real = cot_dtype_size(cot_tape_real(tape));
    const cot_matmul down = down_shape(s);
    void                      *gate_rows = cot_tape_scratch(tape, (size_t)s->rows.kept * real),
         *dgate_rows = cot_tape_scratch(tape, (size_t)s->rows.kept * real);
    void *dh = scratch_act(tape, s->rows.kept, down.in);
    if (dh) {
        cot_matmul_back_input(tape, &down, s->y->grad, cot_tape_real(tape), s->down, dh, cot_tape_act(tape), false);
        kernels->to_rows(0, s->rows.kept, s->rows.order, s->rows.gate->data, gate_rows);
        hidden_backward(tape, s, gate_rows, dh, dgate_rows);
        bool accumulate = false;
        void *dgate = cot_tape_grad(tape, s->rows.gate, &accumulate);
        if (dgate) kernels->from_rows(0, s->rows.assignments, s->rows.row_of, dgate_rows, dgate, accumulate);
        weights_backward(tape, s, dh);
        input_backward(tape, s);
    }
    cot_tape_scratch_release(tape, mark);
    cot_tape_grad_pass(tape, s->y, s->residual);
}

/* ---- entry ---- */

static bool shapes_fit(cot_tape *tape, const experts_saved *s)
{
    const int64_t *up = s->gate_up->shape, *down = s->down->shape, D = cot_tensor_columns(s->x);
    const bool     fit = up[0] == s->rows.experts && down[0] == s->rows.experts && up[2] == D && down[1] == D &&
                     up[1] == 2 * down[2] && cot_tensor_rows(s->x) == s->rows.tokens &&
                     (!s->residual || cot_tensor_count(s->residual) == s->rows.tokens * D);
    if (!fit && !cot_tape_failed(tape))
        cot_tape_fail(
            tape,
            cot_fail(COT_SHAPE_MISMATCH,
                     "%s: experts of [%lld, %lld, %lld] and [%lld, %lld, %lld] do not fit %lld tokens of width %lld",
                     cot_tape_where(tape), (long long)up[0], (long long)up[1], (long long)up[2], (long long)down[0],
                     (long long)down[1], (long long)down[2], (long long)cot_tensor_rows(s->x), (long long)D));
    return fit && !cot_tape_failed(tape);
}

static void find_first(const cot_expert_rows *rows, int64_t *first)
{
    int64_t a = 0;
    for (int64_t t = 0; t <= rows->tokens; t++) {
        while (a < rows->assignments && rows->token[a] < t) a++;
        first[t] = a;
    }
}

cot_tensor *cot_experts_ffn(cot_tape *tape, cot_tensor *x, const cot_expert_rows *rows, cot_tensor *gate_up,
                            cot_tensor *down, double dropout, int layer, cot_tensor *residual)
{
    cot_tape_kind(tape, COT_TIME_EXPERTS);
    const bool needs_grad = x->needs_grad || gate_up->needs_grad || down->needs_grad || rows->gate->needs_grad ||
                            (residual && residual->needs_grad);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), cot_tensor_rows(x), cot_tensor_columns(x), needs_grad);
    experts_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (!s) return y;
    *s = (experts_saved){.rows = *rows,
                         .x = x,
                         .gate_up = gate_up,
                         .down = down,
                         .residual = residual,
                         .y = y,
                         .dropout = cot_tape_training(tape) ? dropout : 0,
                         .key = cot_tape_rng(tape, COT_RNG_EXPERT_DROPOUT + (uint32_t)layer)};
    if (!shapes_fit(tape, s)) return y;
    const size_t mark = cot_tape_scratch_mark(tape),
                 gu_bytes = (size_t)(rows->kept * gate_up->shape[1]) * cot_dtype_size(cot_tape_act(tape));
    s->first = cot_tape_alloc(tape, (size_t)(rows->tokens + 1) * sizeof *s->first);
    s->gu = y->needs_grad ? cot_tape_alloc(tape, gu_bytes) : cot_tape_scratch(tape, gu_bytes);
    if (s->first && s->gu) {
        find_first(rows, s->first);
        forward(tape, s);
    }
    cot_tape_scratch_release(tape, mark);
    cot_tape_record(tape, experts_backward, s, &y, 1);
    return y;
}
