/* The expert family: pools that do the work which a routing hands out. */
#ifndef COT_EXPERTS_EXPERTS_H
#define COT_EXPERTS_EXPERTS_H

#include "base/family.h"
#include "formats/dialects/dialect.h"
#include "ops/experts_ffn.h"
#include "tensor/build.h"
#include "routing/routing.h"
#include "tensor/tape.h"

typedef struct cot_experts cot_experts;

typedef struct cot_experts_ops {
    cot_member member;
    size_t     state_size;
    bool       by_token;   /* walks over tokens, not experts: the routing need not be grouped, and there is no capacity */
    cot_status (*setup)(cot_experts *experts, const cot_build *build);
    int64_t    (*count)(const cot_experts *experts);
    /* residual [T, D] real + sum over a token's kept assignments of gate * expert(x [T, D] act) */
    cot_tensor *(*forward)(cot_experts *experts, cot_tape *tape, cot_tensor *x, cot_routing *routing, cot_tensor *residual);
    cot_cost   (*cost)(const cot_experts *experts, double top_k);
    void       (*describe)(const cot_experts *experts, cot_model_card *card);  /* as a mixer's; may be NULL ... */
    const char *beyond;  /* ... where this says what published models lack */
    void       (*text)(const cot_experts *experts, char *text, size_t size);  /* in words, e.g. "16 experts of 512" */
    void       (*teardown)(cot_experts *experts);  /* (optional) */
} cot_experts_ops;

struct cot_experts {
    const cot_experts_ops *ops;
    void                  *state;
    cot_build              build;  /* prefix is NULL */
};

/* A grouped routing as the executor of grouped products takes it. */
static inline cot_expert_rows cot_expert_rows_of(const cot_routing *routing)
{
    return (cot_expert_rows){.tokens = routing->tokens, .experts = routing->experts, .assignments = routing->assignments, .kept = routing->kept,
                             .offset = routing->offset, .order = routing->order, .row_token = routing->row_token, .row_of = routing->row_of,
                             .token = routing->token, .gate = routing->gate};
}

const cot_member *cot_experts_at(size_t index);

/* Makes the pool that spec ({kind: ffn, num_experts: 8, ...}) asks for and declares its parameters under build->prefix. */
cot_status cot_experts_create(const cot_config *spec, const cot_build *build, cot_experts **out);
void       cot_experts_destroy(cot_experts *experts);  /* accepts NULL */

#endif
