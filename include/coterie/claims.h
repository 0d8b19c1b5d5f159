/* Executable literature: what a paper claims, as a file that says how it is tried here and what would confirm it; the runs
 * that were made, one line each in a results file; and the verdict that follows. */
#ifndef COTERIE_CLAIMS_H
#define COTERIE_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/recipes.h>
#include <coterie/status.h>
#include <coterie/train.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Lists the claims that come with Coterie: from $COTERIE_CLAIMS, or else claims/ where recipes/ lies (cot_recipes_list()). */
COT_API cot_status cot_claims_list(cot_recipe **out, size_t *count);

/** Finds a claim's file by path or name, as cot_recipes_find() does. */
COT_API cot_status cot_claims_find(const char *name, char **path);

/** A claim with the results that there are. */
typedef struct cot_claim cot_claim;

typedef struct {
    const char *results;     /**< folder of CLAIM.jsonl; it need not exist */
    int64_t     seeds;       /**< in place of the claim's number of them; 0 = the claim's */
    bool        short_form;  /**< the claim's short form: less training, fewer arms; results are kept apart by what was run */
} cot_claim_options;

/**
 * Reads a claim and its results.
 *
 * Errors   COT_INVALID and COT_FORMAT with file and line for what is no claim, or no line of results; COT_NOT_FOUND for an
 *          unknown recipe, measure or arm; the recipes' own errors, of every arm.
 */
COT_API cot_status cot_claim_open(const char *path, const cot_claim_options *options, cot_claim **out);

/** Frees what cot_claim_open() made. Accepts NULL. */
COT_API void cot_claim_destroy(cot_claim *claim);

typedef enum {
    COT_VERDICT_OPEN,            /**< inconclusive: runs are missing, or differences lie within the seeds' spread */
    COT_VERDICT_REPRODUCED,      /**< every rule holds */
    COT_VERDICT_NOT_REPRODUCED,  /**< a rule fails */
    COT_VERDICT_NONE             /**< a study without rules */
} cot_verdict;

/** A verdict in words: "reproduced", ... */
COT_API const char *cot_verdict_text(cot_verdict verdict);

typedef struct {
    const char *name, *title;
    const char *source;   /**< keys of docs/references.bib, "" without */
    const char *where;    /**< in the source: "table 6" */
    const char *says;     /**< what the source claims */
    const char *differs;  /**< how what is run here differs from it */
    size_t      arms, measures, rules;
    int64_t     seeds;
    int64_t     runs, done;       /**< runs that belong to it, and those with a result */
    double      seconds_left;     /**< expected on an idle machine: as much processor time as the runs that are done took, else guessed from the product peak */
    double      flops_left;       /**< training FLOPs of the runs without a result */
    cot_verdict verdict;
} cot_claim_info;

/** Where a claim stands; strings live as long as the claim. Judges every rule. */
COT_API cot_claim_info cot_claim_describe(const cot_claim *claim);

/** What is varied. */
typedef struct {
    const char *name;
    const char *note;             /**< "" without */
    double      flops_per_token;  /**< of training */
    double      flops_forward;    /**< of a forward pass, per token */
    int64_t     parameters, parameters_active;
    int64_t     done;             /**< seeds with a result */
    int64_t     failed;           /**< of them: runs that ended in values that are not finite */
    double      seconds, cpu_seconds;  /**< means of a run, NaN without one */
} cot_claim_arm;

/** The arm at `index`; false past the end. */
COT_API bool cot_claim_arm_at(const cot_claim *claim, size_t index, cot_claim_arm *out);

/** What is measured and shown. */
typedef struct {
    const char *name, *help;
    int         decimals;
    bool        in_paper;  /**< does the paper give figures for any arm? */
} cot_claim_measure;

/** The measure of the claim at `index`; false past the end. */
COT_API bool cot_claim_measure_at(const cot_claim *claim, size_t index, cot_claim_measure *out);

/** The measure at `index` of all that claims may name; false past the end. */
COT_API bool cot_claim_measure_known_at(size_t index, cot_claim_measure *out);

/** A measure of an arm over its seeds. */
typedef struct {
    double paper;     /**< the paper's figure, NaN without one */
    double mean, sd;  /**< NaN without a run; sd: sample standard deviation */
    size_t count;     /**< seeds */
} cot_claim_value;

/** The measure of an arm; both indices must lie below the claim's counts. */
COT_API cot_claim_value cot_claim_value_at(const cot_claim *claim, size_t arm, size_t measure);

/** A rule that was written down before the runs. */
typedef struct {
    const char *says;     /**< in words */
    const char *that;     /**< as it is judged: "loss: sparse < dense" */
    cot_verdict verdict;
    const char *why;      /**< the figures that decide: "3.38 ± 0.01 < 3.45 ± 0.02 (p 0.003)"; lives until the next call for this claim */
} cot_claim_rule;

/** Judges the rule at `index`; false past the end. */
COT_API bool cot_claim_rule_at(cot_claim *claim, size_t index, cot_claim_rule *out);

/** A run without a result. */
typedef struct {
    size_t  arm;
    int64_t seed;
    double  flops;  /**< of training */
} cot_claim_job;

/**
 * The next run to make: seed after seed, so that a set that is broken off compares all arms.
 *
 *   arms    names of arms to look at; NULL = all
 *   out     out; false when all have a result
 */
COT_API bool cot_claim_next(const cot_claim *claim, const char *const *arms, size_t count, cot_claim_job *out);

/** Told after each step: the fraction of the run that is done and the loss. Returns false to stop (COT_STOPPED). */
typedef bool (*cot_claim_progress)(void *context, double fraction, double loss);

/**
 * Trains one run and adds its line to the results, whole or not at all. A run that ends in values that are not finite is a result too.
 *
 *   preparing   as in cot_plan_create(); may be NULL
 *   progress    may be NULL
 *
 * Errors   those of cot_plan_create() and cot_trainer_step(), but for COT_NOT_FINITE; COT_INVALID when another process adds to
 *          the same results; COT_IO; COT_STOPPED, with nothing added.
 */
COT_API cot_status cot_claim_run(cot_claim *claim, cot_claim_job job, cot_prepare_progress preparing, cot_claim_progress progress, void *context);

/** The path of the results file. */
COT_API const char *cot_claim_results(const cot_claim *claim);

/** Does its file ask for a picture, and is there a run to draw? */
COT_API bool cot_claim_has_picture(const cot_claim *claim);

/**
 * Draws it with gnuplot to a file of kind SVG, which appears whole or not at all.
 *
 * Errors   COT_INVALID without a picture; COT_NOT_FOUND when PATH has no gnuplot; COT_IO with gnuplot's own words.
 */
COT_API cot_status cot_claim_draw(const cot_claim *claim, const char *path);

/** The page of a claim in Markdown: claim, figures, rules, verdict, runs, machine. The caller frees it with free(). */
COT_API cot_status cot_claim_report(cot_claim *claim, char **out);

#ifdef __cplusplus
}
#endif

#endif
