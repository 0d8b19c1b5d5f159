/* The peak falls with the root of the step: sqrt(warmup / step).   [vaswani2017attention] */
#include <math.h>

#include "training/schedules/schedule.h"

static const cot_option options[] = {COT_SCHEDULE_OPTIONS(0.02), COT_OPTION_END};

static double factor(const void *state, double step, double warmup, double steps)
{
    (void)state, (void)steps;
    return sqrt(fmax(warmup, 1) / step);
}

const cot_schedule_ops cot_schedule_inverse_sqrt = {
    {"inverse_sqrt", "vaswani2017attention", "falls with the root of the step after the warmup", options}, sizeof(cot_schedule_common), factor};
