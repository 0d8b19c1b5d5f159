/* Training: from a recipe to a run's folder, one step at a time. */
#ifndef COTERIE_TRAIN_H
#define COTERIE_TRAIN_H

#include <coterie/data.h>
#include <coterie/evaluate.h>
#include <coterie/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a recipe means, before anything large is taken or written. */
typedef struct cot_plan cot_plan;

/** Told during long preparation: what is being done ("tokenizer", "corpus"), how far. Returns false to stop
 *  (COT_STOPPED). */
typedef bool (*cot_prepare_progress)(void *context, const char *what, uint64_t done, uint64_t total);

/**
 * Reads a recipe, prepares tokenizer and corpus (cached), and declares the model.
 *
 *   recipe   map with model, data and train; copied. Relative data paths are taken from the working directory
 *
 * With `from: FOLDER` in the recipe the run starts from the parameters of that model folder; its `model` section and
 * tokenizer serve where the recipe has none, and what the recipe says under `model` is laid over that section
 * (cot_config_overlay()). The weights must fit what comes of it.
 *
 * Errors   the recipe's with file, line and key; those of cot_corpus_create() and cot_model_create(); COT_OUT_OF_MEMORY
 *          when the model with its optimizer state will not fit into this machine's memory (nothing has been taken
 *          then).
 */
COT_API cot_status cot_plan_create(const cot_config *recipe, cot_prepare_progress progress, void *context,
                                   cot_plan **out);
COT_API void       cot_plan_destroy(cot_plan *plan);  /**< Accepts NULL. */

typedef struct {
    int64_t steps, tokens;              /**< of the whole run */
    int64_t tokens_per_step, rows, micro_batches, context;
    double  flops;                      /**< of the whole run, training */
    double  flops_per_token;            /**< training, recomputation counted */
    double  optimizer_flops;            /**< of the whole run, in f32: products inside the optimizer (Muon), on top of `flops` */
    int64_t bytes;                      /**< parameters, gradients, optimizer state and an estimate of activations */
    bool    bf16;                       /**< are products in bf16? */
    int64_t train_tokens, valid_tokens; /**< in the corpus */
    const char *optimizer, *schedule, *precision;
    uint64_t seed;
    const char *from;                   /**< the model folder that the run starts from, or NULL */
    int64_t parameters_frozen;
    int64_t parameters_trained;         /**< all but the frozen ones; FLOPs are counted as if there were none of those */
} cot_plan_info;

COT_API cot_plan_info    cot_plan_describe(const cot_plan *plan);
COT_API const cot_model *cot_plan_model(const cot_plan *plan);
COT_API const cot_corpus *cot_plan_corpus(const cot_plan *plan);
COT_API const cot_tokenizer *cot_plan_tokenizer(const cot_plan *plan);  /**< NULL for random data. */

/** A training run. */
typedef struct cot_trainer cot_trainer;

/**
 * Starts a run: takes the memory, initialises.
 *
 *   plan     taken: destroyed with the trainer, also on failure
 *   folder   the run's folder, made when missing; NULL: nothing is written
 *
 * Errors   COT_INVALID when the folder holds a run already, or another process is starting one there;
 *          COT_OUT_OF_MEMORY; COT_IO.
 */
COT_API cot_status cot_trainer_create(cot_plan *plan, const char *folder, cot_trainer **out);

/**
 * Goes on with a run where its last checkpoint stands. What follows is bit-identical to a run never stopped (same build
 * and CPU type).
 *
 *   changes   `key=value` assignments to its recipe (e.g. more tokens), `count` of them; its recipe.yaml has them from
 *             then on
 *
 * Errors   those of cot_plan_create(); COT_NOT_FOUND when the folder holds no run; COT_INVALID when another trainer is
 *          at work in it, or the data have changed; COT_FORMAT when the checkpoint does not fit the recipe; COT_IO.
 */
COT_API cot_status cot_trainer_resume(const char *folder, const char *const *changes, size_t count,
                                      cot_prepare_progress progress, void *context, cot_trainer **out);

COT_API void cot_trainer_destroy(cot_trainer *trainer);  /**< Accepts NULL; saves nothing. */

/** How one sparse layer was used in a step. */
typedef struct {
    int64_t layer, experts;
    const double *load;  /**< [experts], fraction of assignments */
    double  cv2, max_vio, router_entropy, drop_fraction;
    int64_t dead;
    double  usage;       /**< fraction of experts with an assignment */
    double  unevenness;  /**< divergence of their use from an even one, nats */
    int64_t sub_keys;    /**< n of a layer with n * n product keys; 0 for others, which have no histogram */
    int64_t use_histogram[COT_USE_BINS];  /**< experts that were used 0, 1, 2 to 3, 4 to 7 ... times */
} cot_step_layer;

typedef struct {
    int64_t step, steps, tokens;     /**< step counts from 1; tokens of the run so far */
    double  loss;                    /**< nats per token, without balance losses */
    double  balance_loss;
    double  lr, grad_norm;           /**< before clipping */
    double  seconds;                 /**< of this step */
    double  tokens_per_s, flops_per_s;
    int64_t layer_count;
    const cot_step_layer *layers;
    const double *layer_grad_norm;   /**< [layers of the model + 1]: each layer, then all that belongs to none */
    const cot_evaluation *valid;     /**< an evaluation made after this step, or NULL */
    bool    saved;                   /**< was a checkpoint written? */
} cot_step_report;

/**
 * One step: data, forward, backward, update; then whatever is due (metrics line, evaluation, checkpoint).
 *
 *   report   its pointers live until the next call
 *
 * Errors   COT_NOT_FINITE naming step and layer: parameters are as before the step, the last checkpoint stays. COT_IO,
 *          COT_OUT_OF_MEMORY: the last checkpoint stays, and cot_trainer_resume() goes on from it.
 */
COT_API cot_status cot_trainer_step(cot_trainer *trainer, cot_step_report *report);

COT_API bool       cot_trainer_done(const cot_trainer *trainer);
COT_API int64_t    cot_trainer_tokens(const cot_trainer *trainer);  /**< Trained on so far. */
COT_API cot_status cot_trainer_save(cot_trainer *trainer);  /**< A checkpoint now. */
COT_API const char *cot_trainer_folder(const cot_trainer *trainer);
COT_API cot_plan   *cot_trainer_plan(cot_trainer *trainer);
COT_API cot_model  *cot_trainer_model(cot_trainer *trainer);  /**< Borrowed. */

/** Where time went, by kind of operation, since the last call of cot_trainer_clear_times(): name, seconds, and
 * how many of them were spent going back; false past the end. Updates of touched rows (PEER's and memories' tables) are
 * "rows". */
COT_API bool cot_trainer_time(const cot_trainer *trainer, size_t index, const char **name, double *seconds,
                              double *back);
COT_API void cot_trainer_clear_times(cot_trainer *trainer);

#ifdef __cplusplus
}
#endif

#endif
