/* Next-token cross-entropy, plus what the balance rules ask for (summed over sparse layers).   [shazeer2017outrageously], section 4 */
#include <math.h>

#include "objectives/objective.h"
#include "ops/output_loss.h"
#include "ops/values.h"
#include "ops/weighted_sum.h"

static const cot_option options[] = {COT_OPTION_END};

static cot_tensor *with_balance(cot_tape *tape, cot_tensor *loss, const cot_losses *losses, double weight)
{
    if (!losses || losses->count == 0) return loss;
    cot_tensor **terms = cot_tape_alloc(tape, (size_t)(losses->count + 1) * sizeof *terms);
    double *weights = cot_tape_alloc(tape, (size_t)(losses->count + 1) * sizeof *weights);
    if (cot_tape_failed(tape)) return loss;
    terms[0] = loss, weights[0] = 1;
    for (int i = 0; i < losses->count; i++) terms[i + 1] = losses->loss[i], weights[i + 1] = weight;
    return cot_weighted_sum(tape, terms, weights, losses->count + 1);
}

/* A token's reward is minus its loss; NaN where nothing is predicted. */
static const double *rewards(cot_tape *tape, const cot_batch *batch, const cot_tensor *nll)
{
    const int64_t tokens = (int64_t)batch->rows * batch->context;
    double *reward = cot_tape_alloc(tape, (size_t)tokens * sizeof *reward);
    for (int64_t t = 0; reward && t < tokens; t++)
        reward[t] = batch->targets[t] < 0 ? NAN : -cot_value_at(nll->data, nll->dtype, t);
    return reward;
}

static void add_rewarded(cot_tape *tape, const cot_batch *batch, const cot_rewarded *rewarded, const cot_tensor *nll, cot_losses *losses)
{
    if (cot_tape_failed(tape) || rewarded->count == 0) return;
    const double *reward = rewards(tape, batch, nll);
    for (int i = 0; reward && i < rewarded->count && losses->count < COT_MAX_LOSSES; i++) {
        const int n = losses->count++;
        losses->loss[n] = rewarded->ffn[i]->ops->reward_loss(rewarded->ffn[i], tape, rewarded->routing[i], reward);
        losses->kind[n] = "reward";
        losses->layer[n] = rewarded->ffn[i]->build.layer;
    }
}

cot_tensor *cot_next_token_loss(cot_tape *tape, cot_model *model, const cot_objective_input *in, int32_t draw, cot_tensor **hidden,
                                cot_tensor **nll)
{
    const cot_batch *batch = in->batch;
    cot_losses *losses = draw == 0 ? in->losses : NULL;
    cot_rewarded rewarded = {0};
    const cot_pass pass = {.draw = draw, .rewarded = losses ? &rewarded : NULL, .ids = batch->ids, .first = batch->first, .targets = batch->targets, .source = batch->source,
                           .tokens = (int64_t)batch->rows * batch->context, .row = batch->context, .losses = losses,
                           .tally = losses != NULL, .observe = draw == 0 ? in->observe : NULL, .context = in->context};
    if (losses) losses->count = 0;
    *hidden = model->ops->hidden(model, tape, &pass, NULL, in->recompute);
    cot_tensor *data_loss = cot_output_loss(tape, *hidden, cot_tape_param(tape, model->head), batch->targets, in->token_weight, nll);
    if (losses) add_rewarded(tape, batch, &rewarded, *nll, losses);
    return with_balance(tape, data_loss, losses, in->balance_weight);
}

static cot_tensor *loss(const void *state, cot_tape *tape, cot_model *model, const cot_objective_input *in, cot_tensor **nll)
{
    (void)state;
    cot_tensor *hidden;
    return cot_next_token_loss(tape, model, in, 0, &hidden, nll);
}

const cot_objective_ops cot_objective_next_token = {
    .member = {"next_token", "bengio2003neural", "cross-entropy of the next token, plus balance losses", options},
    .loss = loss,
};
