/* The schedule family: the learning rate as a share of its peak, step by step. */
#ifndef COT_TRAINING_SCHEDULE_H
#define COT_TRAINING_SCHEDULE_H

#include "base/family.h"

typedef struct {
    double            warmup;  /* first in every member's state: share of the steps (below 1) or steps, rising linearly from 0 */
} cot_schedule_common;

#define COT_SCHEDULE_OPTIONS(value)                                                                                                  \
    COT_OPTION_DOUBLE(cot_schedule_common, warmup, value, 0, 1e9, "steps of linear rise from 0; below 1: that share of all steps")

typedef struct cot_schedule_ops {
    cot_member member;
    size_t     state_size;
    double (*factor)(const void *state, double step, double warmup, double steps);  /* after the warmup: step in [warmup, steps] */
} cot_schedule_ops;

typedef struct {
    const cot_schedule_ops *ops;
    void                   *state;
} cot_schedule;

const cot_member *cot_schedule_at(size_t index);

cot_status cot_schedule_create(const cot_config *spec, cot_schedule **out);
void       cot_schedule_destroy(cot_schedule *schedule);  /* accepts NULL */
/* The factor of step 1 .. steps, in [0, 1]. */
double     cot_schedule_factor(const cot_schedule *schedule, int64_t step, int64_t steps);

#endif
