/* The dense feed-forward: SwiGLU.   [shazeer2020glu] */
#include <stdio.h>

#include "layers/feed_forward.h"

#include "ops/dropout.h"
#include "ops/gated_linear.h"
#include "ops/linear.h"
#include "ops/residual.h"

typedef struct {
    int64_t    intermediate_size;
    bool       bias;
    cot_param *gate_up, *gate_up_bias, *down, *down_bias;
} dense;

static const cot_option options[] = {
    COT_OPTION_INT(dense, intermediate_size, 1024, 1, 1e7, "hidden width"),
    COT_OPTION_BOOL(dense, bias, false, "biases on all three projections"),
    COT_OPTION_END,
};

static cot_status setup(cot_feed_forward *ffn, const cot_build *build)
{
    dense *s = ffn->state;
    COT_TRY(cot_build_weight(build, "gate_up.weight", 0, 2 * s->intermediate_size, build->hidden_size, &s->gate_up));
    s->gate_up->spec.row_parts = 2;
    s->gate_up->spec.row_part[0] = s->gate_up->spec.row_part[1] = s->intermediate_size;
    if (s->bias) {
        COT_TRY(cot_build_vector(build, "gate_up.bias", 2 * s->intermediate_size, COT_INIT_ZERO, &s->gate_up_bias));
        COT_TRY(cot_build_vector(build, "down.bias", build->hidden_size, COT_INIT_ZERO, &s->down_bias));
    }
    return cot_build_weight(build, "down.weight", 0, build->hidden_size, s->intermediate_size, &s->down);
}

cot_tensor *cot_swiglu_forward(cot_tape *tape, cot_tensor *x, cot_param *gate_up, cot_param *down, cot_tensor *residual)
{
    cot_tensor *hidden = cot_swiglu(tape, cot_linear(tape, x, cot_tape_param(tape, gate_up), NULL));
    cot_tensor *weight = cot_tape_param(tape, down);
    return residual ? cot_linear_add(tape, hidden, weight, residual) : cot_linear_real(tape, hidden, weight);
}

static cot_tensor *forward(cot_feed_forward *ffn, cot_tape *tape, const cot_pass *pass, cot_tensor *x, cot_tensor *residual)
{
    (void)pass;
    dense *s = ffn->state;
    const cot_build *build = &ffn->build;
    const bool drops = build->dropout > 0 && cot_tape_training(tape);
    if (!drops && !s->bias) return cot_swiglu_forward(tape, x, s->gate_up, s->down, residual);
    cot_tensor *bias[2] = {s->bias ? cot_tape_param(tape, s->gate_up_bias) : NULL,
                           s->bias ? cot_tape_param(tape, s->down_bias) : NULL};
    cot_tensor *hidden = cot_swiglu(tape, cot_linear(tape, x, cot_tape_param(tape, s->gate_up), bias[0]));
    cot_tensor *branch = cot_linear(tape, hidden, cot_tape_param(tape, s->down), bias[1]);
    const uint32_t stream = COT_RNG_DROPOUT + 2u * (uint32_t)build->layer + 1u;
    return cot_add(tape, residual, drops ? cot_dropout(tape, branch, build->dropout, stream) : branch);
}

static cot_cost cost(const cot_feed_forward *ffn)
{
    const dense *s = ffn->state;
    return (cot_cost){.flops = 6.0 * (double)ffn->build.hidden_size * (double)s->intermediate_size};
}

static void describe(const cot_feed_forward *ffn, cot_model_card *card)
{
    const dense *s = ffn->state;
    card->intermediate_size = s->intermediate_size;
    card->ffn_bias = s->bias;
}

static void text(const cot_feed_forward *ffn, char *out, size_t size)
{
    snprintf(out, size, "dense SwiGLU of %lld", (long long)((const dense *)ffn->state)->intermediate_size);
}

const cot_feed_forward_ops cot_feed_forward_dense = {
    .member = {"dense", "shazeer2020glu", "one SwiGLU for all tokens", options},
    .state_size = sizeof(dense),
    .setup = setup,
    .forward = forward,
    .cost = cost,
    .describe = describe,
    .text = text,
};
