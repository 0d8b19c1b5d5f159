/* Top-k: every token goes to the k experts with the largest logits. Its gates are
 *
 *   softmax: all, norm_topk_prob: true     probabilities over all experts, divided by the sum of the chosen (Mixtral,
 *                                          Qwen3-MoE)
 *   softmax: all, norm_topk_prob: false    those probabilities as they are (OLMoE, Qwen2-MoE)
 *   softmax: chosen                        a softmax over the chosen logits: the same numbers as the first
 *
 * Published models by name are presets, which other options may change: mixtral (2 of 8 experts), qwen2_moe (4, as the 1.5-MoE-A2.7B;
 * the 57B-A14B takes 8; both with a shared expert behind a sigmoid gate, section `shared`), qwen3_moe and olmoe (8).
 *
 * With a bias (balance rule loss_free), experts rank by probability + bias.
 *
 * [jiang2024mixtral], section 2.1; [yang2024qwen2], section 2.2.2; [muennighoff2024olmoe]. */
#include "ops/gate.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int32_t           preset;
    int64_t           top_k;
    int32_t           softmax;  /* 0 over all experts, 1 over the chosen */
    bool              norm_topk_prob;
    cot_param        *weight;
} top_k;

static const char *const presets[] = {
    "{}",
    "{top_k: 2, softmax: all, norm_topk_prob: true}",
    "{top_k: 4, softmax: all, norm_topk_prob: false}",
    "{top_k: 8, softmax: all, norm_topk_prob: true}",
    "{top_k: 8, softmax: all, norm_topk_prob: false}",
};

static const cot_option options[] = {
    COT_OPTION_INT(top_k, top_k, 2, 1, 4096, "experts per token"),
    COT_OPTION_PRESET(top_k, preset, "none|mixtral|qwen2_moe|qwen3_moe|olmoe", presets,
                      "a published model's choice: mixtral 2 experts, gates that sum to one; qwen2_moe 4 (its largest model 8), gates that do not; "
                      "qwen3_moe 8 that do; olmoe 8 that do not"),
    COT_OPTION_CHOICE(top_k, softmax, 0, "all|chosen", "gates are a softmax over all experts or over the chosen ones"),
    COT_OPTION_BOOL(top_k, norm_topk_prob, true, "with softmax: all, divide the chosen probabilities by their sum"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    top_k *s = r->state;
    r->top_k = s->top_k;
    return cot_router_add_weight(r, build, "weight", false, &s->weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const top_k *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const top_k *s = r->state;
    cot_tensor *logits = cot_router_round(r, tape, scores->logits);
    cot_router_choose_with(r, tape, logits, in->bias, out);
    const bool unit = s->softmax == 1 || s->norm_topk_prob;
    cot_tensor *gate = unit ? cot_gate_softmax(tape, logits, out->expert, r->top_k)
                            : cot_gate_gather(tape, out->probs, out->expert, r->top_k);
    out->gate = cot_router_round(r, tape, gate);
}

const cot_router_ops cot_router_top_k = {
    .member = {"top_k", "jiang2024mixtral", "the k largest logits, gates from a softmax", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_SCORES | COT_ROUTER_UNIT_GATES | COT_ROUTER_TAKES_BIAS,
    .lab_input = "\"bias\" (E, added to probabilities where experts are chosen)",
    .state_size = sizeof(top_k),
    .setup = setup,
    .score = score,
    .select = select,
};
