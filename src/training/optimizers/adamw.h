/* AdamW's rule, for itself and for optimizers that leave some parameters to it. */
#ifndef COT_TRAINING_ADAMW_H
#define COT_TRAINING_ADAMW_H

#include "training/optimizers/optimizer.h"

typedef struct {
    double beta1, beta2, eps;
} cot_adamw_settings;

#define COT_ADAMW_OPTIONS(type, field)                                                                                                       \
    {.name = "beta1", .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, field.beta1), .number = 0.9, .min = 0, .max = 0.9999999,      \
     .help = "decay of the first moment"},                                                                                                   \
    {.name = "beta2", .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, field.beta2), .number = 0.95, .min = 0, .max = 0.9999999,     \
     .help = "decay of the second moment"},                                                                                                  \
    {.name = "eps", .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, field.eps), .number = 1e-8, .min = 0, .max = 1,                 \
     .help = "added to the root of the second moment"}

void cot_adamw_declare(cot_slots *slots);
/* Lazy as row_updates.h says; bias corrections go by the step. */
void cot_adamw_update_rows(const cot_adamw_settings *settings, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale);
void cot_adamw_update(const cot_adamw_settings *settings, cot_mode mode, cot_slots *slots, double lr, int64_t step, double grad_scale);

#endif
