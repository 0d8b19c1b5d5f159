/* A claim as read from its file, and its results. */
#ifndef COT_STUDY_CLAIM_H
#define COT_STUDY_CLAIM_H

#include <coterie/claims.h>
#include <coterie/config.h>

#include "study/claim_measures.h"
#include "study/claim_rule.h"
#include "study/statistics.h"

enum {
    COT_CLAIM_CURVE = 20,  /* points of a run's curve of training loss */
    COT_CLAIM_MOST_SEEDS = 1000
};

/* One line of the results. */
typedef struct {
    char    arm[64], hash[17];  /* of the recipe as it was run, but for its seed */
    int64_t seed;
    bool    failed;             /* ended in values that are not finite */
    double  value[COT_MEASURE_COUNT];  /* NaN where unknown */
    double  curve[COT_CLAIM_CURVE];    /* means of equal stretches of the run */
    char    cpu[96], kernels[16], version[32], date[11], trouble[256];
    int64_t threads;
} cot_claim_result;

typedef struct {
    const char *name;
    char       *note;
    const cot_config *set, *paper;
    double      figure[COT_MEASURE_COUNT];  /* the paper's, NaN without one */
    char        hash[17];
    int64_t     steps, tokens;
    double      flops_per_token, flops_forward;
    int64_t     parameters, parameters_active;
    bool        left_out;                   /* of the short form */
} cot_claim_arm_state;

struct cot_claim {
    cot_config *file;
    char       *name, *results;
    bool        short_form;
    /* read by the option table */
    char       *title, *source, *where, *says, *differs, *found;
    const cot_config *recipe, *set, *arms_node, *measures_node, *picture_node, *rules_node, *short_node;
    int64_t     seeds;
    /* from these */
    cot_config          *base;  /* the recipe with the claim's changes */
    size_t               arms, measures, panels, rules, results_count;
    cot_claim_arm_state *arm;
    cot_measure         *measure, *panel;  /* shown in the table, in the picture */
    cot_rule            *rule;
    cot_claim_result    *result;
    char                 why[512];  /* of the rule asked for last */
};

/* The recipe of an arm with a seed; the caller frees it. */
cot_status cot_claim_recipe(const cot_claim *claim, size_t arm, int64_t seed, cot_config **out);

/* Reads the results file, if there is one. */
cot_status cot_claim_results_read(cot_claim *claim);

/* Adds one line to the results file, and to the claim. */
cot_status cot_claim_results_add(cot_claim *claim, const cot_claim_result *result);

/* The result of a run as the claim stands now, or NULL. */
const cot_claim_result *cot_claim_result_of(const cot_claim *claim, size_t arm, int64_t seed);

/* Values of a measure over the seeds that have one, in their order; returns how many. values, seeds: [claim->seeds], seeds may be NULL. */
size_t cot_claim_values(const cot_claim *claim, size_t arm, cot_measure measure, double *values, int64_t *seeds);

double cot_claim_mean(const cot_claim *claim, size_t arm, cot_measure measure);  /* NaN without a value */

bool cot_measure_find(const char *name, size_t length, cot_measure *out);
const char *cot_measure_name(size_t index);  /* NULL past the end */

/* Judges a rule by the results; writes the figures that decide. */
cot_verdict cot_claim_judge(const cot_claim *claim, const cot_rule *rule, char *why, size_t size);

#endif
