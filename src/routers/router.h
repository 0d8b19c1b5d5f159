/* The router family: who decides which token goes to which expert, and with what weight.
 *
 * A router works in two steps, so that the router lab, tests and other sources of scores can enter between them:
 * score() makes logits from tokens, select() makes a routing from logits. It writes forward maths only; operations know
 * their gradients. */
#ifndef COT_ROUTERS_ROUTER_H
#define COT_ROUTERS_ROUTER_H

#include "base/family.h"
#include "routers/vocabulary.h"
#include "routing/routing.h"
#include "tensor/build.h"
#include "tensor/tape.h"

typedef struct cot_router cot_router;

/* What a router may look at besides its parameters; whatever is NULL (count 0) is unknown. Training flag, seed and step are
 * the tape's. */
typedef struct {
    int64_t        tokens;      /* T */
    cot_tensor    *x;           /* [T, D] act; NULL in the lab, where score() is not called */
    const int32_t *ids;         /* [T] token ids */
    const int32_t *previous;    /* [T] the id before, within the document; -1 at its start */
    const int32_t *position;    /* [T] in the document, from 0 */
    const int32_t *labels;      /* [T] what the token belongs to: a task, a language, a source of the corpus; -1 unknown */
    const int32_t *targets;     /* [T] the id that follows; -1 = not predicted */
    int32_t        draw;        /* which of several passes over the same tokens: what draws experts draws anew in each */
    bool           tally;       /* a training pass, run for the first time: what buffers follow is counted */
    const uint8_t *padding;     /* [T] 1 = the token is filling: it is routed nowhere and counts in nothing */
    const void    *noise;       /* [T, E] real draws in place of the router's own */
    const double  *bias;        /* [E] added to scores where choices are made, never to gates */
    const double  *thresholds;  /* [E] (lab) in place of learned ones */
    cot_runs       groups;      /* in place of the router's own group_size */
    cot_runs       sequences;
} cot_route_input;

typedef struct {
    cot_tensor *logits;         /* [T, E] real, before noise; minus infinity = masked */
    /* [T, E] real, the scale of the noise before its softplus; NULL where the router has none */
    cot_tensor *raw_noise_std;
    cot_tensor *primary;        /* [T, groups] real, logits of a first level; NULL where there is none */
    cot_tensor *primary_raw_noise_std;  /* [T, groups] real, as raw_noise_std */
} cot_scores;

/* Traits, true of the default options. Tests and warnings go by them. */
enum {
    COT_ROUTER_FIXED_K = 1u << 0,            /* every token has the same number of choices */
    COT_ROUTER_CAUSAL = 1u << 1,             /* a token's choices do not depend on later tokens */
    COT_ROUTER_TOKEN_EQUIVARIANT = 1u << 2,  /* permuting tokens permutes the outcome (draws aside) */
    COT_ROUTER_EXPERT_EQUIVARIANT = 1u << 3, /* so does permuting experts, away from ties */
    COT_ROUTER_UNIT_GATES = 1u << 4,         /* the gates of a token sum to one */
    COT_ROUTER_NOISY = 1u << 5,              /* draws noise on logits while training */
    COT_ROUTER_SCORES = 1u << 6,             /* column e of the logits is expert e's: minus infinity masks it, larger is better */
    COT_ROUTER_TAKES_BIAS = 1u << 7,         /* adds cot_route_input.bias where it chooses */
    COT_ROUTER_NO_LOGITS = 1u << 9,          /* logits play no part; they only say how many experts there are; it has neither below */
    COT_ROUTER_SQUARE = 1u << 10,            /* the number of experts is a square */
    COT_ROUTER_NO_SHARES = 1u << 11,         /* forms no share of every expert in a token: rules that read them do not fit */
    COT_ROUTER_NO_EXPERT_LOGITS = 1u << 12,  /* forms no logit of every expert: likewise */
    COT_ROUTER_OWN_SLOTS = 1u << 8,          /* experts take a number of tokens that the router sets: no capacity */
};

typedef struct cot_router_ops {
    cot_member member;      /* its options include COT_ROUTER_OPTIONS */
    uint32_t   traits;
    size_t     state_size;  /* of the member's own struct, which starts with a cot_router_common */
    /* Sets r->top_k (0 where it varies, and then r->choices) and declares parameters. */
    cot_status (*setup)(cot_router *r, const cot_build *build);
    void (*score)(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out);
    void (*select)(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores,
                   cot_routing *out);
    /* (optional) What the router learns from rewards [T] that are known after the pass, a real scalar already times its weight; NaN =
     * a token without one. T as in the routing, before or after cot_routing_expand(). */
    cot_tensor *(*reward_loss)(cot_router *r, cot_tape *tape, const cot_routing *routing, const double *reward);
    /* (optional) Around a training step: forgets what passes tallied; moves buffers by what they tallied since. */
    void (*begin_step)(cot_router *r);
    void (*end_step)(cot_router *r);
    const char *lab_input;  /* (optional) what the router lab reads besides logits, for `coterie list` */
    /* (optional) How many experts a lab's matrix of so many columns is about; else as many. 0: none fit. */
    int64_t (*experts_of)(const cot_config *spec, int64_t columns);
    double (*flops)(const cot_router *r);  /* (optional) forward, per token; else those of a matrix [E, D] */
    /* (optional) Before the first step of a run: makes buffers from the training text. */
    cot_status (*prepare)(cot_router *r, const cot_vocabulary *vocabulary);
    void (*teardown)(cot_router *r);  /* (optional) frees what setup() took */
} cot_router_ops;

/* What every router's state starts with. */
typedef struct {
    int32_t router_dtype;  /* cot_router_dtype */
} cot_router_common;

typedef enum { COT_ROUTER_F32, COT_ROUTER_BF16 } cot_router_dtype;

#define COT_ROUTER_OPTIONS                                                                                       \
    COT_OPTION_CHOICE(cot_router_common, router_dtype, COT_ROUTER_F32, "f32|bf16",                               \
                      "precision of the router's input, logits and probabilities; bf16 rounds them, to see what " \
                      "it costs")

/* For routers in which tokens compete: an int64_t field group_size of the state, which setup() copies to r->group_size. */
#define COT_ROUTER_GROUP_OPTION(type)                                                                            \
    COT_OPTION_INT(type, group_size, 0, 0, 1e9,                                                                  \
                   "tokens that are routed together; the largest divisor of all tokens up to it is taken; 0 = all")

struct cot_router {
    const cot_router_ops *ops;
    void                 *state;
    int64_t               num_experts;
    int64_t               columns;     /* of the logits; setup() need not set it when they are num_experts */
    int64_t               top_k;       /* choices per token; 0 = varies */
    double                choices;     /* the mean number of choices per token; setup() need not set it when top_k > 0 */
    int64_t               group_size;  /* tokens routed together; 0 = all */
    cot_build             build;       /* prefix is NULL */
};

const cot_member *cot_router_at(size_t index);

/* Adds a router from outside the tree to the list; ops is kept. Call it from one thread before routers are made.
 *
 * Errors   COT_INVALID for a name that is taken, or beyond 64 such routers. */
cot_status cot_router_register(const cot_router_ops *ops);

/* Makes the router that spec ({kind: top_k, ...}) asks for; its parameters are declared under build->prefix.
 * build->params NULL (the lab): nothing is declared and score() must not be called.
 *
 * Errors   those of cot_family_find and cot_options_apply; COT_INVALID when top_k > num_experts. */
cot_status cot_router_create(const cot_config *spec, int64_t num_experts, const cot_build *build, cot_router **out);
void       cot_router_destroy(cot_router *r);  /* accepts NULL */

/* How many experts there are where the lab gives so many columns of logits. Errors: those of cot_family_find. */
cot_status cot_router_experts_of(const cot_config *spec, int64_t columns, int64_t *experts);

/* Both steps. `out` has no slots yet: cot_capacity_apply() fills them. */
void cot_router_run(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_routing *out);

/* The second step: select() on the tokens that are no padding and have an expert left. */
void cot_router_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores,
                       cot_routing *out);

static inline bool cot_router_is(const cot_router *r, uint32_t traits) { return (r->ops->traits & traits) == traits; }

/* ---- for members ---- */

/* Declares a weight [E, D]: initialised as the model says, or with zeros. */
cot_status cot_router_add_weight(cot_router *r, const cot_build *build, const char *name, bool zero, cot_param **out);

/* x W^T in the router's precision. */
cot_tensor *cot_router_logits(const cot_router *r, cot_tape *tape, cot_tensor *x, cot_param *weight);

/* What stands for the logits of a router that has none: [tokens, E] zeros without gradient. */
cot_tensor *cot_router_no_logits(const cot_router *r, cot_tape *tape, int64_t tokens);

/* t as the router's precision sees it: t itself, or rounded to bf16. */
cot_tensor *cot_router_round(const cot_router *r, cot_tape *tape, cot_tensor *t);

/* Fails the tape with COT_NOT_FINITE when a logit is NaN or plus infinity. For routers that rank nothing by row. */
void cot_router_check_finite(cot_tape *tape, const cot_tensor *logits);

/* Starts a routing of r->top_k choices per token: the largest of `ranked`, with expert and token filled, and
 * clean_logits and probs from `clean`. The gate is left to the caller. On failure of the tape the routing is empty. */
void cot_router_choose(const cot_router *r, cot_tape *tape, cot_tensor *clean, cot_tensor *ranked, cot_routing *out);

/* Starts a routing of every expert whose weight [T, E] exceeds `threshold`, and of each token's heaviest; heavier ones first,
 * ties to the lower index. Gates are the weights. */
void cot_router_above(const cot_router *r, cot_tape *tape, cot_tensor *weight, double threshold, cot_routing *out);

/* The same by logits alone; with a bias [E], experts rank by probability + bias. A bias that is the same for all changes nothing, and
 * experts rank by logits, which no rounding makes equal: NULL stands for it. */
const double *cot_router_bias(const double *bias, int64_t experts);
void cot_router_choose_with(const cot_router *r, cot_tape *tape, cot_tensor *logits, const double *bias, cot_routing *out);

#endif
