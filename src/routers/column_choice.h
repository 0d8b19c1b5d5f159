/* Experts that pick tokens: each takes the best of its column. */
#ifndef COT_ROUTERS_COLUMN_CHOICE_H
#define COT_ROUTERS_COLUMN_CHOICE_H

#include "routers/router.h"

/* key[t, e] = ln p[t, e] of logits [T, E], p a softmax over experts; minus infinity where masked. */
void cot_log_probabilities(const cot_tensor *logits, double *key);

/* place[t, e] for tokens from .. to - 1 and all experts: base + the rank of token t among the `picks` tokens of largest key
 * in column e, or -1. Masked tokens are not picked; keys closer than `tolerance` (relative and absolute) tie, and the
 * earlier token comes first. */
void cot_pick_columns(cot_tape *tape, const double *key, int64_t from, int64_t to, int64_t experts, int64_t picks,
                      int64_t base, double tolerance, int32_t *place);

/* What rounding makes of equal keys on this tape. */
double cot_key_tolerance(const cot_tape *tape);

/* Starts the routing that place [tokens, experts] says, in token order, then by expert, with its slots. */
void cot_collect_picks(cot_tape *tape, int64_t tokens, int64_t experts, const int32_t *place, cot_routing *out);

#endif
