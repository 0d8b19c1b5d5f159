/* Consistency of two passes: every batch goes through the model twice, with experts drawn anew (router thor or random), and both
 * predictions are to be right and alike:
 *
 *     CE(P1) + CE(P2) + coef * (KL(P1 || P2) + KL(P2 || P1)) / 2
 *
 * each a mean over scored tokens. The reported loss is that of the first pass; balance rules count there too. Costs two passes, and
 * both passes' logits stay in memory (2 x tokens x symbols). With a router that draws nothing both passes agree, and it is twice the
 * plain loss.
 *
 * [zuo2022taming], eq. 3 to 5; coef is 5 there, 1 in its code */
#include "objectives/objective.h"
#include "ops/symmetric_kl.h"
#include "ops/weighted_sum.h"

typedef struct {
    double coef;
} consistency;

static const cot_option options[] = {
    COT_OPTION_DOUBLE(consistency, coef, 5, 0, 1e6, "weight of the distance between both predictions"),
    COT_OPTION_END,
};

static cot_tensor *loss(const void *state, cot_tape *tape, cot_model *model, const cot_objective_input *in, cot_tensor **nll)
{
    const consistency *s = state;
    cot_tensor *hidden[2], *ignored, *terms[3];
    terms[0] = cot_next_token_loss(tape, model, in, 0, &hidden[0], nll);
    terms[1] = cot_next_token_loss(tape, model, in, 1, &hidden[1], &ignored);
    if (cot_tape_failed(tape)) return terms[0];
    cot_tensor *first = cot_model_logits(model, tape, hidden[0]), *second = cot_model_logits(model, tape, hidden[1]);
    if (cot_tape_failed(tape)) return terms[0];
    terms[2] = cot_symmetric_kl(tape, first, second, in->batch->targets, s->coef * in->token_weight);
    return cot_weighted_sum(tape, terms, NULL, 3);
}

const cot_objective_ops cot_objective_consistency = {
    .member = {"consistency", "zuo2022taming", "two passes with experts drawn anew, both right and alike (THOR)", options},
    .state_size = sizeof(consistency),
    .loss = loss,
};
