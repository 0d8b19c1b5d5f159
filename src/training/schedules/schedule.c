#include "training/schedules/schedule.h"

#include "base/fail.h"
#include "base/memory.h"

#define SCHEDULE(id) extern const cot_schedule_ops cot_schedule_##id;
#include "training/schedules/schedules.def"
#undef SCHEDULE

static const cot_schedule_ops *const schedules[] = {
#define SCHEDULE(id) &cot_schedule_##id,
#include "training/schedules/schedules.def"
#undef SCHEDULE
};

const cot_member *cot_schedule_at(size_t index) { return index < sizeof schedules / sizeof *schedules ? &schedules[index]->member : NULL; }

cot_status cot_schedule_create(const cot_config *spec, cot_schedule **out)
{
    *out = NULL;
    const cot_member *member = cot_schedule_at(0);  /* no spec: constant */
    if (spec) COT_TRY(cot_family_find("schedule", cot_schedule_at, spec, &member));
    cot_schedule *schedule = cot_calloc(sizeof *schedule);
    if (!schedule) return cot_fail(COT_OUT_OF_MEMORY, "no memory for schedule '%s'", member->name);
    schedule->ops = (const cot_schedule_ops *)member;
    const cot_status status = cot_state_create(member, schedule->ops->state_size, spec, &schedule->state);
    if (status == COT_OK) *out = schedule;
    else cot_schedule_destroy(schedule);
    return status;
}

void cot_schedule_destroy(cot_schedule *schedule)
{
    if (!schedule) return;
    cot_state_destroy(&schedule->ops->member, schedule->state);
    cot_free(schedule);
}

double cot_schedule_factor(const cot_schedule *schedule, int64_t step, int64_t steps)
{
    const double asked = ((const cot_schedule_common *)schedule->state)->warmup, warmup = asked < 1 ? asked * (double)steps : asked;
    if ((double)step <= warmup) return (double)step / warmup;
    return schedule->ops->factor(schedule->state, (double)step, warmup, (double)steps);
}
