/* Parameters picked by patterns of their names, as the shell's: * stands for any text, ? for one character. */
#ifndef COT_TRAINING_PATTERNS_H
#define COT_TRAINING_PATTERNS_H

#include <coterie/config.h>

#include "tensor/params.h"

bool cot_pattern_picks(const char *pattern, const char *name);

/* Errors: COT_INVALID with the place of the pattern's `node` when it is the name of no parameter; some names are given. */
cot_status cot_pattern_check(const cot_config *node, const char *pattern, const cot_params *params);

/* Freezes what a list of patterns (or a single one) picks: `train.freeze`. A pattern behind a '!' lets go again of what it picks; the last one
 * that picks a parameter counts. NULL freezes nothing.
 * Errors: COT_INVALID with file and line for what is no pattern, one that picks nothing, and a list that leaves nothing to train. */
cot_status cot_params_freeze(cot_params *params, const cot_config *patterns);

#endif
