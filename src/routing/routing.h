/* The routing: which token goes to which expert, with which weight. Everything a router decides, and nothing about who
 * decided it or who executes it.
 *
 * T tokens, E experts, A assignments in token order, then by choice (first choice first). Arrays live in the tape's
 * arena.
 *
 * Padding, and tokens whose experts are all masked, have no assignments. A router, capacity and balance rules never see
 * them: until cot_routing_expand() the routing counts live tokens only, afterwards all. */
#ifndef COT_ROUTING_ROUTING_H
#define COT_ROUTING_ROUTING_H

#include "tensor/tape.h"

/* What a slot says of an assignment that nobody executes. */
enum {
    COT_SLOT_FULL = -1,     /* dropped for lack of capacity: an expert's, or what the router itself sets */
    COT_SLOT_SKIPPED = -2,  /* given up by the router itself: counts in no load, importance or loss */
};

/* Cuts tokens into runs that belong together: run i has tokens offset[i] .. offset[i + 1] - 1. */
typedef struct {
    int64_t        count;
    const int64_t *offset;  /* [count + 1] */
} cot_runs;

/* Walking over runs of `tokens` tokens, where no runs means one of all. */
static inline int64_t cot_runs_number(cot_runs runs) { return runs.count ? runs.count : 1; }
static inline int64_t cot_runs_from(cot_runs runs, int64_t i) { return runs.count ? runs.offset[i] : 0; }
static inline int64_t cot_runs_to(cot_runs runs, int64_t i, int64_t tokens)
{
    return runs.count ? runs.offset[i + 1] : tokens;
}

typedef struct {
    int64_t     tokens, experts, assignments;
    /* choices per token when every token has the same number (then A = T * top_k, assignment t * top_k + j); else 0 */
    int64_t     top_k;
    int32_t    *token;        /* [A] */
    int32_t    *expert;       /* [A] */
    int32_t    *slot;         /* [A] place in the expert's buffer, or one of the above */
    cot_tensor *gate;         /* [A] real; combine weight, differentiable */

    /* What the router formed; balance rules read them. NULL where a router has none. T counts live tokens. */
    cot_tensor *logits;       /* [T, E] real; what was ranked (noisy where there is noise); -infinity = masked */
    cot_tensor *clean_logits; /* [T, E] real; before noise (= logits without noise) */
    cot_tensor *probs;        /* [T, E] real; softmax over all experts of the clean logits */
    /* [T, E] real; each row the router's affinities over their sum, where they are no softmax; NULL = probs */
    cot_tensor *shares;
    cot_tensor *noise_std;    /* [T, E] real, differentiable; NULL without noise (evaluation) */
    const void *noise;        /* [T, E] real; the standard normal draws used; NULL without noise */

    cot_tensor *load;         /* [E] real, differentiable: the router's own smooth count of tokens; NULL = none */
    cot_tensor *own_loss;     /* real scalar that the router adds to balance losses, times its weight; NULL = none */
    /* Soft routing, where experts work on slots that mix tokens (ops/soft_slots.h): [T, S] real both, slots of an expert neighbours,
     * tokens mixed within `runs`. NULL: tokens go whole. */
    cot_tensor *dispatch, *combine;
    cot_runs    runs;
    cot_runs    groups;       /* tokens that share capacity; count 0 = all do */
    cot_runs    sequences;    /* count 0 = unknown */
    const int32_t *live;      /* [live tokens] which tokens those are; NULL = all */
    int64_t     all_tokens;   /* padding and masked ones included */

    bool        own_slots;           /* the router hands out slots itself: capacity leaves them alone */
    bool        skipped_hold_slots;  /* a skipped assignment uses up a slot */
    int64_t     capacity;     /* slots per expert (in the largest group); -1 = dropless */
    int64_t     dropped;      /* assignments with slot COT_SLOT_FULL */
    int64_t     skipped;      /* assignments with slot COT_SLOT_SKIPPED */

    /* The same list grouped by expert, dropped ones left out; made by cot_routing_group(). */
    int64_t     kept;         /* A - dropped - skipped */
    int64_t    *offset;       /* [E + 1] */
    int32_t    *order;        /* [kept] assignment of each grouped row, by expert, then by assignment */
    int32_t    *row_token;    /* [kept] token of each grouped row */
    int32_t    *row_of;       /* [A] grouped row of an assignment, -1 when dropped */
} cot_routing;

/* Takes memory for `assignments` assignments to `tokens` tokens and fills token for a fixed number of choices (top_k > 0).
 * Slots start at 0. On failure of the tape the routing is empty. */
void cot_routing_start(cot_tape *tape, int64_t tokens, int64_t experts, int64_t top_k, int64_t assignments,
                       cot_routing *out);

/* first [T + 1]: the first assignment of each token, in the tape's arena. */
int64_t *cot_routing_first(cot_tape *tape, const cot_routing *routing);

/* From live tokens to all: token numbers become those of the pass. */
void cot_routing_expand(cot_routing *routing);

/* What balance rules take for the share of each expert in a token, [T, E]. */
static inline cot_tensor *cot_routing_shares(const cot_routing *routing)
{
    return routing->shares ? routing->shares : routing->probs;
}

/* Groups by expert: fills kept, offset, order, row_token, row_of (stable counting sort). */
void cot_routing_group(cot_tape *tape, cot_routing *routing);

/* Assignments per expert before capacity, skipped ones left out, [E] into counts. */
void cot_routing_counts(const cot_routing *routing, int64_t *counts);

#endif
