/* Half a cosine from the peak down to min_ratio of it.   [loshchilov2017sgdr] */
#include <math.h>

#include "training/schedules/schedule.h"

typedef struct {
    cot_schedule_common common;
    double              min_ratio;
} cosine;

static const cot_option options[] = {
    COT_SCHEDULE_OPTIONS(0.02),
    COT_OPTION_DOUBLE(cosine, min_ratio, 0.1, 0, 1, "the last step's rate as a share of the peak"),
    COT_OPTION_END,
};

static double factor(const void *state, double step, double warmup, double steps)
{
    const double low = ((const cosine *)state)->min_ratio, done = steps > warmup ? (step - warmup) / (steps - warmup) : 1;
    return low + (1 - low) * 0.5 * (1 + cos(3.14159265358979323846 * fmin(done, 1)));
}

const cot_schedule_ops cot_schedule_cosine = {{"cosine", "loshchilov2017sgdr", "half a cosine down to min_ratio", options}, sizeof(cosine), factor};
