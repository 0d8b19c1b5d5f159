/* A recipe made ready: what cot_plan holds. */
#ifndef COT_TRAINING_PLAN_H
#define COT_TRAINING_PLAN_H

#include <coterie/train.h>

#include "models/model.h"

typedef struct {
    double  tokens;
    int64_t steps, batch, accumulation, seed, eval_every, eval_tokens, save_every, keep_every;
    double  clip_grad_norm;
    bool    clip_tables;
    int32_t precision;  /* 0 auto, 1 f32, 2 bf16 */
    bool    recompute;
    const cot_config *optimizer, *schedule, *objective, *freeze;
} cot_train_options;

extern const cot_option cot_recipe_options[];      /* a recipe's blocks */
extern const cot_option cot_train_option_table[];  /* what its block `train` may set */

struct cot_plan {
    cot_config       *recipe;       /* its model section complete */
    char             *source;       /* the model folder that the run starts from, or NULL */
    cot_train_options train;
    cot_tokenizer    *tokenizer;  /* NULL for random data */
    cot_corpus       *corpus;
    cot_model        *model;      /* declared, without memory */
    int64_t           steps, context;
    int64_t           vocab_size, longest;  /* of the source */
    bool              bf16;
};

/* As cot_plan_create(); where the recipe says `from`, the model is taken from `source` (NULL: from where it says). */
cot_status cot_plan_create_from(const cot_config *recipe, const char *source, cot_prepare_progress progress, void *context, cot_plan **out);

#endif
