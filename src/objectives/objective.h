/* The objective family: what is minimised. */
#ifndef COT_OBJECTIVES_OBJECTIVE_H
#define COT_OBJECTIVES_OBJECTIVE_H

#include <coterie/data.h>

#include "base/family.h"
#include "models/model.h"

/* One pass over (part of) a batch. */
typedef struct {
    const cot_batch *batch;
    double           token_weight;    /* of each scored token's loss: one over the scored tokens of the whole step */
    double           balance_weight;  /* of the balance rules' losses: one over the micro-batches of the step */
    bool             recompute;
    void (*observe)(void *context, int32_t layer, const cot_routing *routing);  /* (optional) */
    void            *context;
    cot_losses      *losses;          /* filled with what the balance rules said; NULL: leave them out */
} cot_objective_input;

typedef struct cot_objective_ops {
    cot_member member;
    size_t     state_size;
    /* The scalar to go back from. nll [T] real: the loss of each token (0 where the target is -1). */
    cot_tensor *(*loss)(const void *state, cot_tape *tape, cot_model *model, const cot_objective_input *in,
                        cot_tensor **nll);
} cot_objective_ops;

typedef struct {
    const cot_objective_ops *ops;
    void                    *state;
} cot_objective;

/* For members: the next-token loss of a pass and, in the first (draw 0), what rules and rewards ask for; a further pass over the same batch
 * has draws of its own and adds nothing else. *hidden is the state before the output matrix. */
cot_tensor *cot_next_token_loss(cot_tape *tape, cot_model *model, const cot_objective_input *in, int32_t draw, cot_tensor **hidden,
                                cot_tensor **nll);

const cot_member *cot_objective_at(size_t index);

cot_status cot_objective_create(const cot_config *spec, cot_objective **out);  /* spec NULL: next_token */
void       cot_objective_destroy(cot_objective *objective);                    /* accepts NULL */

#endif
