/* Pictures of a run: the learning curve, how evenly the experts were used over time, which expert takes which text,
 * how far its confidence in answers can be trusted, and how often each pair of product keys was used.
 * Drawn by gnuplot from a script with the numbers in it, which can be kept and edited. */
#ifndef COTERIE_PLOT_H
#define COTERIE_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How one sparse layer was used, row by row (a stretch of the run, or a source of text). */
typedef struct {
    int32_t layer;    /**< its number in the model */
    size_t  rows, experts;
    double *load;     /**< [rows, experts]: fraction of the row's assignments that the expert took; NaN where unknown */
} cot_plot_layer;

/** What a run's metrics say. */
typedef struct {
    size_t          steps;                /**< logged training steps */
    double         *tokens, *loss;        /**< [steps]: tokens seen so far; nats per token, NaN where not finite */
    size_t          validations;
    double         *valid_tokens, *valid_loss, *valid_bits_per_byte;  /**< [validations], NaN where unknown */
    size_t          layers;
    cot_plot_layer *layer;                /**< [layers]: rows are equal stretches of the run, at most 256 of them */
} cot_plot_run;

/** How often the n x n experts of a layer with product keys were used: expert i * n + j at row i, column j. */
typedef struct {
    int32_t layer;     /**< its number in the model */
    int64_t sub_keys;  /**< n */
    int64_t bin;       /**< a cell stands for bin x bin experts, fewer at the ends of rows and columns */
    int64_t cells;     /**< in a row: n / bin, rounded up; at most 1024 */
    double *use;       /**< [cells, cells]: assignments */
} cot_plot_grid;

/** What an evaluation says about each source of text that had any. */
typedef struct {
    size_t          sources;
    char          **name;             /**< [sources] */
    size_t          layers;
    cot_plot_layer *layer;            /**< [layers]: rows are the sources */
    size_t          grids;
    cot_plot_grid  *grid;             /**< [grids]: of the layers with product keys */
    int             yardstick_order;  /**< of the best Kneser-Ney model over the same tokens, 0: none was measured */
    double          yardstick_loss;   /**< its nats per token */
} cot_plot_evaluation;

/** Predictions of like confidence. */
typedef struct {
    double from, to;              /**< confidences of the bin, 0 to 1 */
    double count;                 /**< more than 0 */
    double confidence, accuracy;  /**< means */
} cot_plot_bin;

/** How well the confidence in a task's answers was founded. */
typedef struct {
    char         *name;
    bool          of_tokens;  /**< of the most probable token at each place, not of the chosen answer */
    double        count;      /**< predictions */
    double        error;      /**< expected calibration error, NaN where unknown */
    size_t        bins;
    cot_plot_bin *bin;        /**< [bins]: those of equal width with predictions in them */
} cot_plot_task;

/** Tasks with predictions. */
typedef struct {
    size_t         count;
    cot_plot_task *task;  /**< [count] */
} cot_plot_tasks;

/**
 * Reads `metrics.jsonl`. Where a resumed run logged steps anew, the later lines count. A last line that is still being
 * written is left out.
 *
 * Errors   COT_IO when it cannot be read; COT_FORMAT with file and line for what is not such a line; COT_INVALID when
 *          nothing has been logged yet.
 */
COT_API cot_status cot_plot_run_read(const char *path, cot_plot_run **out);
COT_API void       cot_plot_run_destroy(cot_plot_run *run);  /**< Accepts NULL. */

/**
 * Reads what `coterie eval --json` prints.
 *
 * Errors   COT_IO; COT_FORMAT with the place of what was not expected.
 */
COT_API cot_status cot_plot_evaluation_read(const char *path, cot_plot_evaluation **out);
COT_API void       cot_plot_evaluation_destroy(cot_plot_evaluation *evaluation);  /**< Accepts NULL. */

/**
 * Reads what `coterie eval --task --json` prints, or the task-NAME.json that it leaves in a run's folder, and adds it to
 * *tasks, which is made where it is NULL. The caller gives that back with cot_plot_tasks_destroy(), after an error too.
 *
 * Errors   COT_IO; COT_FORMAT with the place of what was not expected.
 */
COT_API cot_status cot_plot_tasks_add(const char *path, cot_plot_tasks **tasks);
COT_API void       cot_plot_tasks_destroy(cot_plot_tasks *tasks);  /**< Accepts NULL. */

enum {
    COT_PLOT_CURVE = 1,   /**< training and validation loss over tokens, and the yardstick; needs `run` */
    COT_PLOT_LOAD = 2,    /**< share of the experts over time, per layer; needs `run` with sparse layers */
    COT_PLOT_SOURCES = 4, /**< share of the experts by source, per layer; needs `evaluation` with such layers */
    COT_PLOT_RELIABILITY = 8, /**< share of right answers by confidence, per task; needs `tasks` */
    COT_PLOT_KEYS = 16        /**< use of each pair of product keys, per layer; needs `evaluation` with such layers */
};

/** A picture: the parts of `parts`, one below the other. */
typedef struct {
    const char                *title;       /**< above everything, NULL: none; UTF-8 */
    const cot_plot_run        *run;         /**< or NULL */
    const cot_plot_evaluation *evaluation;  /**< or NULL */
    const cot_plot_tasks      *tasks;       /**< or NULL */
    unsigned                   parts;       /**< sum of COT_PLOT_... */
} cot_plot;

/** The parts that these data have something for. */
COT_API unsigned cot_plot_parts(const cot_plot_run *run, const cot_plot_evaluation *evaluation,
                                const cot_plot_tasks *tasks);

/**
 * The gnuplot script that draws a picture, numbers included. It writes to `path`, whose ending (.png, .svg, .pdf) picks
 * the format. The caller frees *text with free().
 *
 * Errors   COT_INVALID for another ending, for no parts, and for parts whose data are missing.
 */
COT_API cot_status cot_plot_script(const cot_plot *plot, const char *path, char **text);

/**
 * Draws a picture to `path` with the program `gnuplot`, which is looked for in PATH. The picture appears whole or not
 * at all. With keep_script, the script stays beside it: `load.gp` for `load.png`.
 *
 * Errors   those of cot_plot_script(); COT_NOT_FOUND when there is no gnuplot; COT_IO with gnuplot's own words when it
 *          fails, or when something cannot be written.
 * Threads  safe for different paths.
 */
COT_API cot_status cot_plot_draw(const cot_plot *plot, const char *path, bool keep_script);

#ifdef __cplusplus
}
#endif

#endif
