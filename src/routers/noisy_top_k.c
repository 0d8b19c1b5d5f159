/* Noisy top-k gating: the k largest of H = c + n * (softplus(z) + noise_eps), n standard normal, gates a softmax over
 * them. The noise lets experts that just missed a token try it, and makes a smooth load estimate possible (balance rule
 * `load`). Evaluation: H = c.
 *
 * Both weights start at zero: all experts equal, noise of scale ln 2, so that nobody is flooded at the start.
 *
 * [shazeer2017outrageously], eq. 3-5; noise_eps is in its public code, not in the paper. */
#include "ops/gate.h"
#include "ops/noise.h"
#include "ops/pieces.h"
#include "ops/values.h"
#include "routers/router.h"

typedef struct {
    cot_router_common common;
    int64_t           top_k;
    double            noise_eps;
    cot_param        *weight, *noise_weight;
} noisy;

static const cot_option options[] = {
    COT_OPTION_INT(noisy, top_k, 2, 1, 4096,
                   "experts per token; with 1 the gate is constantly 1 and only balance rules train the router"),
    COT_OPTION_DOUBLE(noisy, noise_eps, 1e-2, 0, 10, "smallest scale of the noise"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static cot_status setup(cot_router *r, const cot_build *build)
{
    noisy *s = r->state;
    r->top_k = s->top_k;
    COT_TRY(cot_router_add_weight(r, build, "weight", true, &s->weight));
    return cot_router_add_weight(r, build, "noise_weight", true, &s->noise_weight);
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    const noisy *s = r->state;
    out->logits = cot_router_logits(r, tape, in->x, s->weight);
    if (cot_tape_training(tape)) out->raw_noise_std = cot_router_logits(r, tape, in->x, s->noise_weight);
}

/* Standard normal draws for every token and expert. */
static const void *draw(const cot_router *r, cot_tape *tape, int64_t count)
{
    enum { PIECE = 4096 };
    const cot_dtype real = cot_tape_real(tape);
    const cot_rng_key key = cot_tape_rng(tape, COT_RNG_GATE_NOISE + (uint32_t)r->build.layer);
    void *noise = cot_tape_alloc(tape, (size_t)count * cot_dtype_size(real));
    if (!noise) return NULL;
    const int64_t pieces = cot_pieces(count, PIECE);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        double four[4];
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            if (i % 4 == 0) cot_rng_normal4(key, (uint64_t)i / 4, four);
            cot_value_set(noise, real, i, four[i % 4]);
        }
    }
    return noise;
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const noisy *s = r->state;
    cot_tensor *clean = cot_router_round(r, tape, scores->logits), *ranked = clean, *std = NULL;
    const void *noise = NULL;
    if (cot_tape_training(tape) && scores->raw_noise_std) {
        noise = in->noise ? in->noise : draw(r, tape, cot_tensor_count(clean));
        std = cot_softplus(tape, scores->raw_noise_std, s->noise_eps);
        ranked = cot_router_round(r, tape, cot_add_noise(tape, clean, std, noise));
    }
    cot_router_choose(r, tape, clean, ranked, out);
    out->noise_std = std;
    out->noise = noise;
    out->gate = cot_router_round(r, tape, cot_gate_softmax(tape, ranked, out->expert, r->top_k));
}

const cot_router_ops cot_router_noisy_top_k = {
    .member = {"noisy_top_k", "shazeer2017outrageously",
               "the k largest logits after learned noise, gates a softmax over them", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_EXPERT_EQUIVARIANT |
              COT_ROUTER_SCORES | COT_ROUTER_UNIT_GATES | COT_ROUTER_NOISY,
    .lab_input = "\"noise\" (T x E, standard normal draws), \"raw_noise_std\" (T x E, scale of the noise before its softplus), with \"training\"",
    .state_size = sizeof(noisy),
    .setup = setup,
    .score = score,
    .select = select,
};
