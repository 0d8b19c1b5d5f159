/* Load: coef * CV^2 of a smooth count of the tokens that experts receive under noisy gating: each token counts with the
 * probability that the expert would be among the top k if its own noise were drawn again. Without noise it is the hard
 * count, which has no gradient.   [shazeer2017outrageously], eq. 8-11; `kth` is the threshold of [riquelme2021vmoe],
 * appendix A. */
#include "balance/balance.h"
#include "ops/cv_squared.h"
#include "ops/smooth_load.h"
#include "ops/values.h"

typedef struct {
    cot_balance_common common;
    int32_t            threshold;  /* cot_threshold */
    bool               threshold_grad;
} load_state;

static const cot_option options[] = {
    COT_BALANCE_OPTIONS(0.1),
    COT_OPTION_CHOICE(load_state, threshold, COT_THRESHOLD_EXCLUDING, "excluding|kth",
                      "what an expert's logit must exceed: the k-th largest of the others, or of all"),
    COT_OPTION_BOOL(load_state, threshold_grad, true, "let the gradient flow through the threshold"),
    COT_OPTION_END,
};

static cot_tensor *hard_count(cot_tape *tape, const cot_routing *routing)
{
    const cot_dtype real = cot_tape_real(tape);
    cot_tensor *load = cot_tape_tensor(tape, real, 1, (const int64_t[]){routing->experts}, false);
    if (cot_tape_failed(tape)) return load;
    for (int64_t e = 0; e < routing->experts; e++) cot_value_set(load->data, real, e, 0);
    for (int64_t a = 0; a < routing->assignments; a++)
        if (routing->slot[a] != COT_SLOT_SKIPPED) cot_value_put(load->data, real, routing->expert[a], 1, true);
    return load;
}

static cot_tensor *loss(const cot_balance *rule, cot_tape *tape, const cot_routing *routing)
{
    const load_state *s = rule->state;
    const cot_smooth_load_options smooth = {routing->top_k, (cot_threshold)s->threshold, s->threshold_grad};
    cot_tensor *load = routing->load          ? routing->load
                       : !routing->noise_std ? hard_count(tape, routing)
                                             : cot_smooth_load(tape, routing->clean_logits, routing->logits,
                                                               routing->noise_std, &smooth);
    return cot_cv_squared(tape, load, s->common.coef);
}

const cot_balance_ops cot_balance_load = {
    .member = {"load", "shazeer2017outrageously", "evens out the number of tokens of each expert, smoothly", options},
    .state_size = sizeof(load_state),
    .loss = loss,
};
