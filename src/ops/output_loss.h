/* The output projection and the cross-entropy in one, by chunks of tokens: the full [T, V] matrix of logits never exists. */
#ifndef COT_OPS_OUTPUT_LOSS_H
#define COT_OPS_OUTPUT_LOSS_H

#include "tensor/tape.h"

/* loss [1] real = weight * sum over tokens of nll[t],  nll[t] = -ln softmax(x[t, :] W^T)[target[t]]; target[t] < 0 counts for nothing.
 *   x [T, d] act, w [V, d] real, target [T] borrowed; nll [T] real out (lives in the arena; NULL: not wanted)
 *
 * While recording, the gradient is formed chunk by chunk in the forward, where the logits are at hand: dW goes straight into w's
 * gradient and dx is kept [T, d]. This takes the loss's own gradient to be 1 (scale by `weight`); backward fails with COT_INVALID otherwise. */
cot_tensor *cot_output_loss(cot_tape *tape, cot_tensor *x, cot_tensor *w, const int32_t *target, double weight, cot_tensor **nll);

#endif
