/* SwiGLU experts that are one shared base and a small difference each: W_e = W + B_e A_e, with B_e A_e of rank `rank`, in all
 * matrices. B starts at zero, so that all experts start as the base. Parameters of an expert grow with its width times the rank, not times
 * the width of the model; its work is that of any other.
 *
 * What experts share and what sets them apart can then be read off. The form of the difference is a choice of ours; low rank as in
 * [hu2021lora].   [rajbhandari2022deepspeed] shares an expert by adding outputs (section `shared`), this shares weights. */
#include <stdio.h>

#include "experts/experts.h"
#include "ops/experts_ffn.h"
#include "ops/low_rank.h"

typedef struct {
    int64_t    num_experts, intermediate_size, rank;
    double     expert_dropout;
    cot_param *gate_up, *gate_up_outer, *gate_up_inner, *down, *down_outer, *down_inner;
} residual;

static const cot_option options[] = {
    COT_OPTION_INT(residual, num_experts, 8, 1, 1 << 20, "experts"),
    COT_OPTION_INT(residual, intermediate_size, 512, 1, 1e7, "hidden width of one expert"),
    COT_OPTION_INT(residual, rank, 8, 1, 65536, "of the difference between an expert's matrix and the base"),
    COT_OPTION_DOUBLE(residual, expert_dropout, 0, 0, 0.95, "of hidden values inside experts, while training"),
    COT_OPTION_END,
};

/* A base [rows, columns] with differences: outer [E, rows, r] of zeros, inner [E, r, columns]. */
static cot_status add_matrix(const residual *s, const cot_build *build, const char *name, int64_t rows, int64_t columns, cot_param **base,
                             cot_param **outer, cot_param **inner)
{
    char full[64];
    COT_TRY(cot_build_weight(build, name, 0, rows, columns, base));
    snprintf(full, sizeof full, "%s_outer", name);
    COT_TRY(cot_build_weight(build, full, s->num_experts, rows, s->rank, outer));
    (*outer)->spec.init = (cot_init){COT_INIT_ZERO, 0};
    snprintf(full, sizeof full, "%s_inner", name);
    return cot_build_weight(build, full, s->num_experts, s->rank, columns, inner);
}

static cot_status setup(cot_experts *experts, const cot_build *build)
{
    residual *s = experts->state;
    COT_TRY(add_matrix(s, build, "gate_up", 2 * s->intermediate_size, build->hidden_size, &s->gate_up, &s->gate_up_outer, &s->gate_up_inner));
    s->gate_up->spec.row_parts = 2;
    s->gate_up->spec.row_part[0] = s->gate_up->spec.row_part[1] = s->intermediate_size;
    return add_matrix(s, build, "down", build->hidden_size, s->intermediate_size, &s->down, &s->down_outer, &s->down_inner);
}

static int64_t count(const cot_experts *experts) { return ((const residual *)experts->state)->num_experts; }

static cot_tensor *weights(cot_tape *tape, cot_param *base, cot_param *outer, cot_param *inner)
{
    return cot_low_rank_stack(tape, cot_tape_param(tape, base), cot_tape_param(tape, outer), cot_tape_param(tape, inner));
}

static cot_tensor *forward(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *stream)
{
    const residual *s = experts->state;
    const cot_expert_rows rows = cot_expert_rows_of(routing);
    cot_tensor *gate_up = weights(tape, s->gate_up, s->gate_up_outer, s->gate_up_inner);
    cot_tensor *down = weights(tape, s->down, s->down_outer, s->down_inner);
    if (cot_tape_failed(tape)) return stream;
    return cot_experts_ffn(tape, x, &rows, gate_up, down, s->expert_dropout, experts->build.layer, stream);
}

static cot_cost cost(const cot_experts *experts, double top_k)
{
    const residual *s = experts->state;
    const double d = (double)experts->build.hidden_size, f = (double)s->intermediate_size, r = (double)s->rank;
    return (cot_cost){.flops = 6 * top_k * d * f, .inactive = (int64_t)(((double)s->num_experts - top_k) * r * (2 * d + 3 * f))};
}

static void text(const cot_experts *experts, char *out, size_t size)
{
    const residual *s = experts->state;
    snprintf(out, size, "%lld experts of %lld, a base and differences of rank %lld", (long long)s->num_experts, (long long)s->intermediate_size,
             (long long)s->rank);
}

const cot_experts_ops cot_experts_residual_pool = {
    .member = {"residual", "hu2021lora", "SwiGLU experts that are a shared base and a small difference each", options},
    .state_size = sizeof(residual),
    .setup = setup,
    .count = count,
    .forward = forward,
    .cost = cost,
    .beyond = "experts that share a base",
    .text = text,
};
