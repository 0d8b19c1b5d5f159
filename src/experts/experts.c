#include "experts/experts.h"

#include "base/fail.h"
#include "base/memory.h"

#define EXPERTS(id) extern const cot_experts_ops cot_experts_##id;
#include "experts/experts.def"
#undef EXPERTS

static const cot_experts_ops *const experts_list[] = {
#define EXPERTS(id) &cot_experts_##id,
#include "experts/experts.def"
#undef EXPERTS
};

const cot_member *cot_experts_at(size_t index) { return index < sizeof experts_list / sizeof *experts_list ? &experts_list[index]->member : NULL; }

cot_status cot_experts_create(const cot_config *spec, const cot_build *build, cot_experts **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("expert pool", cot_experts_at, spec, &member));
    cot_experts *experts = cot_calloc(sizeof *experts);
    if (!experts) return cot_fail(COT_OUT_OF_MEMORY, "no memory for experts '%s'", member->name);
    experts->ops = (const cot_experts_ops *)member;
    experts->build = *build;
    experts->build.prefix = NULL;
    cot_status status = cot_state_create(member, experts->ops->state_size, spec, &experts->state);
    if (status == COT_OK) status = experts->ops->setup(experts, build);
    if (status == COT_OK) *out = experts;
    else cot_experts_destroy(experts);
    return status;
}

void cot_experts_destroy(cot_experts *experts)
{
    if (!experts) return;
    if (experts->state && experts->ops->teardown) experts->ops->teardown(experts);
    cot_state_destroy(&experts->ops->member, experts->state);
    cot_free(experts);
}
