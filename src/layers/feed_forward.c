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
    const cot_feed_forward_ops *ops = (const cot_feed_forward_ops *)member;
    cot_feed_forward *ffn = cot_calloc(sizeof *ffn);
    if (ffn) ffn->state = cot_calloc(ops->state_size);
    if (!ffn || !ffn->state) {
        cot_free(ffn);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for feed-forward '%s'", member->name);
    }
    ffn->ops = ops;
    ffn->build = *build;
    ffn->build.prefix = NULL;
    cot_build inner = *build;
    inner.spec = spec;
    cot_status status = cot_options_apply(member->options, ffn->state, spec);
    if (status == COT_OK) status = ops->setup(ffn, &inner);
    if (status != COT_OK) {
        cot_feed_forward_destroy(ffn);
        return status;
    }
    *out = ffn;
    return COT_OK;
}

void cot_feed_forward_destroy(cot_feed_forward *ffn)
{
    if (!ffn) return;
    if (ffn->ops->teardown) ffn->ops->teardown(ffn);
    cot_options_release(ffn->ops->member.options, ffn->state);
    cot_free(ffn->state);
    cot_free(ffn);
}

int64_t cot_feed_forward_num_experts(const cot_feed_forward *ffn) { return ffn->ops->num_experts ? ffn->ops->num_experts(ffn) : 0; }

void cot_feed_forward_begin_step(cot_feed_forward *ffn)
{
    if (ffn->ops->begin_step) ffn->ops->begin_step(ffn);
}

void cot_feed_forward_end_step(cot_feed_forward *ffn)
{
    if (ffn->ops->end_step) ffn->ops->end_step(ffn);
}
