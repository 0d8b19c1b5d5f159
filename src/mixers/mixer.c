#include "mixers/mixer.h"

#include "base/fail.h"
#include "base/memory.h"

#define MIXER(id) extern const cot_mixer_ops cot_mixer_##id;
#include "mixers/mixers.def"
#undef MIXER

static const cot_mixer_ops *const mixers[] = {
#define MIXER(id) &cot_mixer_##id,
#include "mixers/mixers.def"
#undef MIXER
};

const cot_member *cot_mixer_at(size_t index)
{
    return index < sizeof mixers / sizeof *mixers ? &mixers[index]->member : NULL;
}

cot_status cot_mixer_create(const cot_config *spec, const cot_build *build, cot_mixer **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("mixer", cot_mixer_at, spec, &member));
    cot_mixer *mixer = cot_calloc(sizeof *mixer);
    if (!mixer) return cot_fail(COT_OUT_OF_MEMORY, "no memory for mixer '%s'", member->name);
    mixer->ops = (const cot_mixer_ops *)member;
    mixer->build = *build;
    mixer->build.prefix = NULL;
    cot_build inner = *build;
    inner.spec = spec;
    cot_status status = cot_state_create(member, mixer->ops->state_size, spec, &mixer->state);
    if (status == COT_OK) status = mixer->ops->setup(mixer, &inner);
    if (status == COT_OK) *out = mixer;
    else cot_mixer_destroy(mixer);
    return status;
}

void cot_mixer_destroy(cot_mixer *mixer)
{
    if (!mixer) return;
    cot_state_destroy(&mixer->ops->member, mixer->state);
    cot_free(mixer);
}
