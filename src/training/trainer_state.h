/* What a training run holds; shared by the step loop and the files of a run. */
#ifndef COT_TRAINING_TRAINER_STATE_H
#define COT_TRAINING_TRAINER_STATE_H

#include "objectives/objective.h"
#include "routing/measures.h"
#include "training/optimizers/optimizer.h"
#include "training/plan.h"
#include "training/schedules/schedule.h"

enum { COT_STATE_NAME = 64 };

struct cot_trainer {
    cot_plan      *plan;
    char          *folder;         /* NULL: nothing is written */
    int            lock;           /* on the folder; -1 = none */
    char           state[COT_STATE_NAME];  /* the file that trainer.json names; "" before the first checkpoint */
    int64_t        logged;         /* the last step in metrics.jsonl */
    cot_tape      *tape;
    cot_optimizer *optimizer;
    cot_schedule  *schedule;
    cot_objective *objective;
    cot_batches   *batches;
    int64_t        step;           /* steps done */
    double         best_loss;      /* of evaluations; infinity before the first */
    cot_losses    *losses;

    int32_t       *first;          /* of a micro-batch */
    int32_t       *param_layer;    /* [parameters] which entry of layer_norm it adds to */
    double        *layer_norm;     /* [num_layers + 1] */
    double        *partial;        /* partial sums of squares */
    int64_t        layer_count;    /* sparse layers */
    cot_step_layer *layers;
    cot_expert_use *use;
    double        *loads;          /* [sum of experts] */
    cot_evaluation *valid;
};

/* ---- files of a run (run_files.c) ---- */

cot_status cot_run_folder_check(const char *folder);                          /* fails when it holds a run already */
cot_status cot_run_find(const char *folder);                                  /* fails when it holds none */
cot_status cot_run_lock(const char *folder, int *lock);                       /* one process trains in a folder at a time */
void       cot_run_unlock(const char *folder, int lock);                      /* accepts -1 */
cot_status cot_run_start(cot_trainer *trainer);                               /* makes and locks the folder, writes the recipe */
cot_status cot_run_write_recipe(const cot_trainer *trainer);
cot_status cot_run_save(cot_trainer *trainer);                                /* checkpoint and model folder */
cot_status cot_run_save_model(const cot_trainer *trainer, const char *name);  /* a model folder inside the run's */
bool       cot_run_has_checkpoint(const char *folder);
cot_status cot_run_load(cot_trainer *trainer);                                /* the last checkpoint, or the start where there is none */

/* ---- metrics.jsonl (run_metrics.c) ---- */

cot_status cot_run_log(cot_trainer *trainer, const cot_step_report *report);  /* a step's line, and its evaluation's */
cot_status cot_run_log_check(const cot_trainer *trainer);                     /* fails once a step could not be logged */
cot_status cot_run_log_flush(const cot_trainer *trainer);                     /* what was logged outlives a power cut */
cot_status cot_run_log_cut(cot_trainer *trainer);                             /* drops the lines of steps that are still to come */

#endif
