/* The feed-forward family: what stands after the mixer in every layer. `dense` is one SwiGLU; `sparse` is a router, a pool of
 * experts and balance rules. A list of members runs side by side on the same input and adds up. */
#ifndef COT_LAYERS_FEED_FORWARD_H
#define COT_LAYERS_FEED_FORWARD_H

#include "base/family.h"
#include "formats/dialects/dialect.h"
#include "tensor/build.h"
#include "routers/vocabulary.h"
#include "routing/routing.h"
#include "tensor/tape.h"

enum { COT_MAX_LOSSES = 1024 };

/* The losses that balance rules add to a step. */
typedef struct {
    int         count;
    cot_tensor *loss[COT_MAX_LOSSES];   /* scalars, each already times its coefficient */
    const char *kind[COT_MAX_LOSSES];
    int32_t     layer[COT_MAX_LOSSES];
} cot_losses;

enum { COT_MAX_REWARDED = 256 };

/* Routings that wait for the rewards of their tokens. */
typedef struct {
    int count;
    struct cot_feed_forward *ffn[COT_MAX_REWARDED];
    const cot_routing       *routing[COT_MAX_REWARDED];
} cot_rewarded;

/* What one forward pass carries past the layers. */
typedef struct {
    const int32_t *ids;     /* [T] */
    const int32_t *first;   /* [T] as in ops/attention.h */
    const int32_t *targets; /* [T] the id that follows, -1 = not scored; or NULL */
    const int32_t *source;  /* [T] source of the corpus, -1 = padding; or NULL */
    int64_t        tokens;
    int32_t        draw;      /* which of several passes over the same tokens: routers that draw draw anew in each */
    bool           tally;     /* a training pass, run for the first time: what buffers follow is counted */
    int64_t        row;       /* tokens in a row of the batch; 0 = one sequence */
    int64_t        position;  /* (generation) tokens of the sequence before this pass ... */
    int32_t        previous;  /* ... and the last of them */
    cot_losses    *losses;  /* NULL when none are wanted (evaluation) */
    cot_rewarded  *rewarded; /* likewise */
    void (*observe)(void *context, int32_t layer, const cot_routing *routing);  /* (optional) sees every routing */
    void          *context;
} cot_pass;

typedef struct cot_feed_forward cot_feed_forward;

typedef struct cot_feed_forward_ops {
    cot_member member;
    size_t     state_size;
    cot_status (*setup)(cot_feed_forward *ffn, const cot_build *build);
    cot_tensor *(*forward)(cot_feed_forward *ffn, cot_tape *tape, const cot_pass *pass, cot_tensor *x, cot_tensor *residual);
    cot_cost   (*cost)(const cot_feed_forward *ffn);
    int64_t    (*num_experts)(const cot_feed_forward *ffn);  /* (optional) of a sparse member */
    int64_t    (*sub_keys)(const cot_feed_forward *ffn);     /* (optional) n of n * n product keys; else 0 */
    void       (*describe)(const cot_feed_forward *ffn, cot_model_card *card);  /* as a mixer's */
    void       (*text)(const cot_feed_forward *ffn, char *text, size_t size);  /* in words, e.g. "16 experts of 512, 2 per token (top_k router)" */
    /* (optional) Does it learn from rewards? And what it does, as a router's. */
    bool       (*is_rewarded)(const cot_feed_forward *ffn);
    cot_tensor *(*reward_loss)(cot_feed_forward *ffn, cot_tape *tape, const cot_routing *routing, const double *reward);
    /* (optional) Before the first step of a run: whether buffers are made from the training text, and making them. */
    bool       (*needs_vocabulary)(const cot_feed_forward *ffn);
    cot_status (*prepare)(cot_feed_forward *ffn, const cot_vocabulary *vocabulary);
    /* (optional) Around a training step: forgets what passes tallied; moves buffers by what they tallied since. */
    void       (*begin_step)(cot_feed_forward *ffn);
    void       (*end_step)(cot_feed_forward *ffn);
    void       (*teardown)(cot_feed_forward *ffn);  /* (optional) */
} cot_feed_forward_ops;

struct cot_feed_forward {
    const cot_feed_forward_ops *ops;
    void                       *state;
    cot_build                   build;  /* prefix is NULL */
};

const cot_member *cot_feed_forward_at(size_t index);

extern const cot_option cot_shared_expert_options[];  /* what a sparse member's `shared: {...}` may set */

cot_status cot_feed_forward_create(const cot_config *spec, const cot_build *build, cot_feed_forward **out);
void       cot_feed_forward_destroy(cot_feed_forward *ffn);  /* accepts NULL */

void       cot_feed_forward_begin_step(cot_feed_forward *ffn);
void       cot_feed_forward_end_step(cot_feed_forward *ffn);
int64_t    cot_feed_forward_num_experts(const cot_feed_forward *ffn);  /* 0 for members without a pool */
int64_t    cot_feed_forward_sub_keys(const cot_feed_forward *ffn);     /* 0 for members without product keys */

/* SwiGLU as a part of others: residual + W_down (silu(W_gate x) * (W_up x)), or without residual when it is NULL (then [T, D] real). */
cot_tensor *cot_swiglu_forward(cot_tape *tape, cot_tensor *x, cot_param *gate_up, cot_param *down, cot_tensor *residual);

#endif
