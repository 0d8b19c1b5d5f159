/* The routing: which token goes to which expert, with which weight. Everything a router decides, and nothing about who
 * decided it or who executes it.
 *
 * T tokens, E experts, A assignments in token order, then by choice (first choice first). Arrays live in the tape's
 * arena. */
#ifndef COT_ROUTING_ROUTING_H
#define COT_ROUTING_ROUTING_H

#include "tensor/tape.h"

typedef struct {
    int64_t     tokens, experts, assignments;
    /* choices per token when every token has the same number; then A = T * top_k, assignment t * top_k + j */
    int64_t     top_k;
    int32_t    *token;        /* [A] */
    int32_t    *expert;       /* [A] */
    int32_t    *slot;         /* [A] place in the expert's buffer, -1 = dropped for lack of capacity */
    cot_tensor *gate;         /* [A] real; combine weight, differentiable */

    /* What the router formed; balance rules read them. NULL where a router has none. */
    cot_tensor *logits;       /* [T, E] real; what was ranked (noisy where there is noise); -infinity = masked */
    cot_tensor *clean_logits; /* [T, E] real; before noise (= logits without noise) */
    cot_tensor *probs;        /* [T, E] real; softmax over all experts of the clean logits */
    cot_tensor *noise_std;    /* [T, E] real, differentiable; NULL without noise (evaluation) */
    const void *noise;        /* [T, E] real; the standard normal draws used; NULL without noise */

    int64_t     capacity;     /* slots per expert; -1 = dropless */
    int64_t     dropped;      /* assignments with slot -1 */

    /* The same list grouped by expert, dropped ones left out; made by cot_routing_group(). */
    int64_t     kept;         /* A - dropped */
    int64_t    *offset;       /* [E + 1] */
    int32_t    *order;        /* [kept] assignment of each grouped row, by expert, then by assignment */
    int32_t    *row_token;    /* [kept] token of each grouped row */
    int32_t    *row_of;       /* [A] grouped row of an assignment, -1 when dropped */
} cot_routing;

/* Groups by expert: fills kept, offset, order, row_token, row_of (stable counting sort). */
void cot_routing_group(cot_tape *tape, cot_routing *routing);

/* Assignments per expert before capacity, [E] into counts. */
void cot_routing_counts(const cot_routing *routing, int64_t *counts);

#endif
