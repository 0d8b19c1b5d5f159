/* A pool of SwiGLU experts, executed by expert: products over ragged groups, no padding.   [shazeer2020glu], [gale2022megablocks] */
#include <stdio.h>

#include "experts/experts.h"
#include "ops/experts_ffn.h"

typedef struct {
    int64_t    num_experts, intermediate_size;
    double     expert_dropout;
    cot_param *gate_up, *down;
} ffn;

static const cot_option options[] = {
    COT_OPTION_INT(ffn, num_experts, 8, 1, 1 << 20, "experts"),
    COT_OPTION_INT(ffn, intermediate_size, 512, 1, 1e7, "hidden width of one expert; fine-grained experts are narrow ones"),
    COT_OPTION_DOUBLE(ffn, expert_dropout, 0, 0, 0.95, "of hidden values inside experts, while training"),
    COT_OPTION_END,
};

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    ffn *s = experts->state;
    COT_TRY(cot_build_weight(build, "gate_up", s->num_experts, 2 * s->intermediate_size, build->hidden_size, &s->gate_up));
    s->gate_up->spec.row_parts = 2;
    s->gate_up->spec.row_part[0] = s->gate_up->spec.row_part[1] = s->intermediate_size;
    return cot_build_weight(build, "down", s->num_experts, build->hidden_size, s->intermediate_size, &s->down);
}

static int64_t count(const cot_experts *experts) { return ((const ffn *)experts->state)->num_experts; }

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual)
{
    const ffn *s = experts->state;
    const cot_expert_rows rows = cot_expert_rows_of(routing);
    return cot_experts_ffn(tape, x, &rows, cot_tape_param(tape, s->gate_up), cot_tape_param(tape, s->down), s->expert_dropout, experts->build.layer,
                           residual);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const ffn *s = experts->state;
    const double one = 3.0 * (double)experts->build.hidden_size * (double)s->intermediate_size;
    return (cot_cost){.flops = 2 * top_k * one, .inactive = (int64_t)(((double)s->num_experts - top_k) * one)};
}

static void describe(const cot_experts *experts, cot_model_card *card)
{
    const ffn *s = experts->state;
    card->num_experts = s->num_experts;
    card->moe_intermediate_size = s->intermediate_size;
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    const ffn *s = experts->state;
    snprintf(out, size, "%lld experts of %lld", (long long)s->num_experts, (long long)s->intermediate_size);
}

const cot_experts_ops cot_experts_ffn_pool = {
    .member = {"ffn", "shazeer2020glu, gale2022megablocks", "SwiGLU experts, dropless grouped products", options},
    .state_size = sizeof(ffn),
    .setup = setup,
    .count = count,
    .forward = forward,
    .cost = cost,
    .describe = describe,
    .text = text,
};
