#include "ops/softmax.h"

#include "kernels/gating/gating.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor *logits, *probs;
} softmax_saved;

static void softmax_backward(cot_tape *tape, void *saved_)
{
    const softmax_saved *s = saved_;
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(s->probs), rows = cot_tensor_rows(s->probs);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    bool add = false;
    void *dh = cot_tape_grad(tape, s->logits, &add);
    if (!dh) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->softmax_backward(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), experts,
                                  s->probs->data, s->probs->grad, dh, add);
}

cot_tensor *cot_softmax(cot_tape *tape, cot_tensor *logits)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *probs = cot_tape_tensor(tape, cot_tape_real(tape), logits->rank, logits->shape, logits->needs_grad);
    softmax_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return probs;
    *s = (softmax_saved){logits, probs};
    const cot_gating_kernels *kernels = cot_gating_kernels_for(cot_tape_mode(tape));
    const int64_t experts = cot_tensor_columns(logits), rows = cot_tensor_rows(logits);
    const int64_t pieces = cot_pieces(rows, COT_PIECE_TOKENS);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->softmax(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), experts, logits->data,
                         probs->data);
    cot_tape_record(tape, softmax_backward, s, &probs, 1);
    return probs;
}
