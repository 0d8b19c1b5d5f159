/* The peak throughout, after the warmup. */
#include "training/schedules/schedule.h"

static const cot_option options[] = {COT_SCHEDULE_OPTIONS(0), COT_OPTION_END};

static double factor(const void *state, double step, double warmup, double steps)
{
    (void)state, (void)step, (void)warmup, (void)steps;
    return 1;
}

const cot_schedule_ops cot_schedule_constant = {{"constant", NULL, "the peak throughout", options}, sizeof(cot_schedule_common), factor};
