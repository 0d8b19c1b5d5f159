/* Rules: what must come out for a claim to count as reproduced, written down before the runs.
 *
 *     MEASURE: TERM RELATION TERM [RELATION TERM ...]      or   sd(MEASURE): ...   for the spread over seeds
 *
 * A term is a number, or [FACTOR *] ARM [- ARM]. Relations: `<`, `>` and `~ P%` (the same within P percent of the right
 * one). All relations of a chain must hold.
 *
 * `a < b` holds when chance alone would show b above a by as much in less than one of 20 repetitions (Welch's test over seeds,
 * one-sided; for sd(): the F test), and fails when the same is true the other way round. `~` holds when the difference is so
 * established to be smaller than P percent, and fails when it is established to be larger. Anything else is open. */
#ifndef COT_STUDY_CLAIM_RULE_H
#define COT_STUDY_CLAIM_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include <coterie/config.h>

#include "study/claim_measures.h"

enum { COT_RULE_TERMS = 16 };

typedef struct {
    double factor;            /* a number without an arm: the number */
    int    arm, minus;        /* -1: none */
} cot_rule_term;

typedef struct {
    char          *says, *that;
    cot_measure    measure;
    bool           spread;    /* compares standard deviations */
    size_t         terms;
    cot_rule_term  term[COT_RULE_TERMS];
    char           relation[COT_RULE_TERMS];  /* before term i: '<', '>', '~' */
    double         within[COT_RULE_TERMS];    /* of '~', a fraction */
} cot_rule;

/* Reads rule->that; arms are named by name_at(context, i). Errors: COT_INVALID with the place of `at`. */
cot_status cot_rule_parse(cot_rule *rule, const cot_config *at, size_t arms, const char *(*name_at)(const void *, size_t), const void *context);

#endif
