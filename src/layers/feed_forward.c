#include "layers/feed_forward.h"

#include "base/fail.h"
#include "base/memory.h"

#define FEED_FORWARD(id) extern const cot_feed_forward_ops cot_feed_forward_##id;
#include "layers/feed_forwards.def"
#undef FEED_FORWARD

static const cot_feed_forward_ops *const members[] = {
#define FEED_FORWARD(id) &cot_feed_forward_##id,
#include "layers/feed_forwards.def"
#undef FEED_FORWARD
};

const cot_member *cot_feed_forward_at(size_t index) { return index < sizeof members / sizeof *members ? &members[index]->member : NULL; }

cot_status cot_feed_forward_create(const cot_config *spec, const cot_build *build, cot_feed_forward **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("feed-forward", cot_feed_forward_at, spec, &member));
    cot_feed_forward *ffn = cot_calloc(sizeof *ffn);
    if (!ffn) return cot_fail(COT_OUT_OF_MEMORY, "no memory for feed-forward '%s'", member->name);
    ffn->ops = (const cot_feed_forward_ops *)member;
    ffn->build = *build;
    ffn->build.prefix = NULL;
    cot_build inner = *build;
    inner.spec = spec;
    cot_status status = cot_state_create(member, ffn->ops->state_size, spec, &ffn->state);
    if (status == COT_OK) status = ffn->ops->setup(ffn, &inner);
    if (status == COT_OK) *out = ffn;
    else cot_feed_forward_destroy(ffn);
    return status;
}

void cot_feed_forward_destroy(cot_feed_forward *ffn)
{
    if (!ffn) return;
    if (ffn->state && ffn->ops->teardown) ffn->ops->teardown(ffn);
    cot_state_destroy(&ffn->ops->member, ffn->state);
    cot_free(ffn);
}

int64_t cot_feed_forward_num_experts(const cot_feed_forward *ffn) { return ffn->ops->num_experts ? ffn->ops->num_experts(ffn) : 0; }

int64_t cot_feed_forward_sub_keys(const cot_feed_forward *ffn) { return ffn->ops->sub_keys ? ffn->ops->sub_keys(ffn) : 0; }

void cot_feed_forward_begin_step(cot_feed_forward *ffn)
{
    if (ffn->ops->begin_step) ffn->ops->begin_step(ffn);
}

void cot_feed_forward_end_step(cot_feed_forward *ffn)
{
    if (ffn->ops->end_step) ffn->ops->end_step(ffn);
}
