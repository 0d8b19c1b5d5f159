/* How probable a model finds the ends of many token sequences, what they share computed once.
 *
 * Sequences are sorted, so that those with the same beginning stand together, and walked as the tree that they form:
 * a context is read once for all that follows it, examples that stand before every question once for all questions. */
#ifndef COT_INFERENCE_LIKELIHOOD_H
#define COT_INFERENCE_LIKELIHOOD_H

#include <coterie/evaluate.h>

#include "tensor/tape.h"

typedef struct {
    const int32_t *ids;     /* [count] borrowed */
    int32_t        count;   /* 2 or more; the model reads all but the last */
    int32_t        scored;  /* the last so many of them; 1 to count - 1 */
} cot_scored_sequence;

/* One scored token. */
typedef struct {
    double log_probability;  /* nats */
    float  best;             /* probability of the token that the model holds most probable there */
    bool   greedy;           /* is it that one? The lowest id of equals counts. */
} cot_token_likelihood;

/* Scores `count` sequences; the model reads each as if it stood alone (but for capacity, which is that of a batch).
 *
 *   tokens   [sum of scored] out, in the order of the sequences
 *
 * Errors: COT_INVALID for a sequence without a scored token or an id out of range; COT_NOT_FINITE; COT_STOPPED;
 * COT_OUT_OF_MEMORY. Progress counts tokens that the model reads. Results do not depend on the number of threads. */
cot_status cot_sequences_score(cot_model *model, cot_mode mode, const cot_scored_sequence *sequences, size_t count,
                               cot_evaluate_progress progress, void *context, cot_token_likelihood *tokens);

#endif
