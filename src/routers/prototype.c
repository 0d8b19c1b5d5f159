/* Prototyping: experts stand in top_k groups of neighbours (prototypes), a token takes the best expert of each, weighted by
 * its probability among that group's. Routing is top_k independent choices of one, and costs as much as one.
 *
 * Balance losses read group probabilities over top_k, so that they sum to one. Gates sum to less than top_k; groups are what
 * permuting experts would break.
 *
 * [yang2021m6t], section 3.2 */
#include "base/fail.h"
#include "ops/gate.h"
#include "ops/row_maps.h"
#include "ops/softmax.h"
#include "ops/top_k_rows.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k;
    cot_param        *weight;
} prototype;

static const cot_option options[] = {
    COT_OPTION_INT(prototype, top_k, 2, 1, 4096, "groups, and experts per token; must divide the number of experts"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    prototype *s = r->state;
    r->top_k = s->top_k;
    if (s->top_k <= r->num_experts && r->num_experts % s->top_k)
        return cot_fail(COT_INVALID, "router 'prototype': top_k is %lld, expected a divisor of num_experts = %lld",
                        (long long)s->top_k, (long long)r->num_experts);
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const prototype *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    (void)in;
    const int64_t tokens = cot_tensor_rows(scores->logits), k = r->top_k, each = r->num_experts / k;
    const int64_t whole[] = {tokens, r->num_experts}, parts[] = {tokens * k, each};
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_tensor *by_group = cot_reshape(tape, logits, 2, parts);
    cot_tensor *probs = cot_router_round(r, tape, cot_softmax(tape, by_group));
    int32_t *chosen = cot_tape_alloc(tape, (size_t)(tokens * k) * sizeof *chosen);
    cot_routing_start(tape, tokens, r->num_experts, k, tokens * k, out);
    if (cot_tape_failed(tape)) return;
    cot_top_k_rows(tape, by_group, 1, chosen);
    for (int64_t a = 0; a < tokens * k && !cot_tape_failed(tape); a++)
        out->expert[a] = (int32_t)(a % k * each + chosen[a]);
    out->logits = out->clean_logits = logits;
    out->probs = cot_softmax(tape, logits);
    out->shares = cot_normalise_rows(tape, cot_reshape(tape, probs, 2, whole), 0);
    out->gate = cot_gate_gather(tape, probs, chosen, 1);
}

const cot_router_ops cot_router_prototype = {
    .member = {"prototype", "yang2021m6t", "the best expert of each of several groups", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_SCORES,
    .state_size = sizeof(prototype),
    .setup = setup,
    .score = score,
    .select = select,
};
