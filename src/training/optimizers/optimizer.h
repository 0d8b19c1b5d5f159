/* The optimizer family: how parameters follow their gradients. */
#ifndef COT_TRAINING_OPTIMIZER_H
#define COT_TRAINING_OPTIMIZER_H

#include "base/family.h"
#include "tensor/tape.h"

typedef struct cot_optimizer cot_optimizer;

enum { COT_MAX_SLOTS = 2 };

/* What an optimizer keeps for one parameter: up to two arrays of the type of its value, saved in checkpoints as PARAMETER.SLOT. */
typedef struct {
    cot_param  *param;
    double      lr_scale, weight_decay;  /* by the option `groups` */
    const char *slot_name[COT_MAX_SLOTS];
    int64_t     slot_size[COT_MAX_SLOTS];
    void       *slot[COT_MAX_SLOTS];
} cot_slots;

typedef struct cot_optimizer_ops {
    cot_member member;
    size_t     state_size;
    /* Names and sizes the slots that a parameter needs; memory follows, zeroed. */
    void (*declare)(const cot_optimizer *optimizer, cot_slots *slots);
    /* One parameter's update; `step` counts from 1; gradients are multiplied by grad_scale. Threaded inside. */
    void (*update)(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale);
    /* (optional) The same for a table by its touched rows alone: other rows and their slots stay as they are. */
    void (*update_rows)(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale);
    double (*flops)(const cot_param *param);  /* (optional) of products in one update, always in the real type */
} cot_optimizer_ops;

/* Options that every optimizer has, first in its state. */
typedef struct {
    double            lr;
    double            weight_decay;
    const cot_config *groups;
} cot_optimizer_common;

#define COT_OPTIMIZER_COMMON(type, lr_, decay_)                                                                                             \
    {.name = "lr", .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, common.lr), .number = (lr_), .min = 0, .max = 100,               \
     .help = "peak learning rate"},                                                                                                         \
    {.name = "weight_decay", .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, common.weight_decay), .number = (decay_), .min = 0,    \
     .max = 10, .help = "decoupled decay per step, times the learning rate; norms and biases have none"},                                   \
    {.name = "groups", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(type, common.groups), .text = "groups",                                              \
     .help = "list of {match: 'layers.*.router.*', lr_scale: 1, weight_decay: 0}; the last match wins"}

struct cot_optimizer {
    const cot_optimizer_ops *ops;
    void                    *state;
    cot_slots               *slots;
    size_t                   count;
    void                    *memory;
    cot_tape                *tape;   /* scratch for updates that need products, and their random numbers */
    uint64_t                 seed;
};

const cot_member *cot_optimizer_at(size_t index);

extern const cot_option cot_optimizer_group_options[];  /* an entry of an optimizer's `groups` list */

/* Checks kind, options and the patterns of groups before any memory is taken. */
cot_status cot_optimizer_check(const cot_config *spec, const cot_params *params);

/* Makes the optimizer that spec ({kind: adamw, lr: ...}) asks for, with zeroed slots for every parameter of the list that is trained and not frozen.
 * The seed is for the rounding of bf16 tables. */
cot_status cot_optimizer_create(const cot_config *spec, cot_params *params, uint64_t seed, cot_optimizer **out);
void       cot_optimizer_destroy(cot_optimizer *optimizer);  /* accepts NULL */
/* Updates all parameters: lr = peak * lr_factor. Counts their versions up. */
void       cot_optimizer_step(cot_optimizer *optimizer, double lr_factor, int64_t step, double grad_scale);
/* Seconds spent on tables updated by touched row, since creation or the last clear. */
double     cot_optimizer_row_seconds(const cot_optimizer *optimizer);
void       cot_optimizer_clear_times(cot_optimizer *optimizer);
double     cot_optimizer_lr(const cot_optimizer *optimizer);  /* the peak */

/* Elements of one update in pieces over the threads. */
#define COT_OPTIMIZER_PIECE (1 << 14)

#endif
