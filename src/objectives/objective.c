#include "objectives/objective.h"

#include "base/fail.h"
#include "base/memory.h"

#define OBJECTIVE(id) extern const cot_objective_ops cot_objective_##id;
#include "objectives/objectives.def"
#undef OBJECTIVE

static const cot_objective_ops *const objectives[] = {
#define OBJECTIVE(id) &cot_objective_##id,
#include "objectives/objectives.def"
#undef OBJECTIVE
};

const cot_member *cot_objective_at(size_t index)
{
    return index < sizeof objectives / sizeof *objectives ? &objectives[index]->member : NULL;
}

cot_status cot_objective_create(const cot_config *spec, cot_objective **out)
{
    *out = NULL;
    const cot_member *member = cot_objective_at(0);
    if (spec) COT_TRY(cot_family_find("objective", cot_objective_at, spec, &member));
    cot_objective *objective = cot_calloc(sizeof *objective);
    if (!objective) return cot_fail(COT_OUT_OF_MEMORY, "no memory for objective '%s'", member->name);
    objective->ops = (const cot_objective_ops *)member;
    const cot_status status = cot_state_create(member, objective->ops->state_size, spec, &objective->state);
    if (status == COT_OK) *out = objective;
    else cot_objective_destroy(objective);
    return status;
}

void cot_objective_destroy(cot_objective *objective)
{
    if (!objective) return;
    cot_state_destroy(&objective->ops->member, objective->state);
    cot_free(objective);
}
