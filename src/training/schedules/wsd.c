/* Warmup, stable, decay: the peak until the last part of the run, then a straight line down.   [hu2024minicpm] */
#include <math.h>

#include "training/schedules/schedule.h"

typedef struct {
    cot_schedule_common common;
    double              decay, min_ratio;
} wsd;

static const cot_option options[] = {
    COT_SCHEDULE_OPTIONS(0.02),
    COT_OPTION_DOUBLE(wsd, decay, 0.2, 0, 1, "share of all steps that decay"),
    COT_OPTION_DOUBLE(wsd, min_ratio, 0, 0, 1, "the last step's rate as a share of the peak"),
    COT_OPTION_END,
};

static double factor(const void *state, double step, double warmup, double steps)
{
    const wsd *s = state;
    const double length = s->decay * steps, start = fmax(warmup, steps - length);
    if (step <= start || steps <= start) return 1;
    return 1 + (s->min_ratio - 1) * fmin(1, (step - start) / (steps - start));
}

const cot_schedule_ops cot_schedule_wsd = {{"wsd", "hu2024minicpm", "warmup, stable, linear decay", options}, sizeof(wsd), factor};
