/* Causal self-attention over packed sequences: rotary positions, shared key/value heads, sliding windows, a cache. */
#ifndef COT_OPS_ATTENTION_H
#define COT_OPS_ATTENTION_H

#include "base/rope.h"
#include "tensor/tape.h"

typedef struct {
    int32_t num_heads, num_kv_heads, head_dim;  /* num_kv_heads divides num_heads; head_dim is even */
    double  rope_theta;                         /* 0 = no rotary positions */
    int64_t sliding_window;                     /* 0 = none; w: a query sees keys whose index is > its own - w */
    double  scale;                              /* of scores; 0 = head_dim^-1/2 */
    cot_rope_scaling rope;                      /* how the rotary frequencies are changed */
} cot_attention_shape;

/* Keys (turned) and values of one sequence, carried from token to token by a session. */
typedef struct cot_kv_state cot_kv_state;

/**
 * Makes an empty state for up to `capacity` tokens of a layer; mode is that of the tapes it will be used on.
 *
 *   window   0 = all tokens are kept; else the layer's sliding window: tokens that no later one sees are dropped as
 *            room is needed
 *
 * Errors   COT_INVALID when a size is not positive or capacity exceeds 2^31 - 66, COT_OUT_OF_MEMORY.
 */
cot_status cot_kv_state_create(int64_t capacity, int64_t window, int32_t num_kv_heads, int32_t head_dim, cot_mode mode,
                               cot_kv_state **out);
void       cot_kv_state_destroy(cot_kv_state *state);                   /* accepts NULL */
int64_t    cot_kv_state_length(const cot_kv_state *state);              /* tokens read, dropped ones included */
int64_t    cot_kv_state_rows(int64_t capacity, int64_t window);         /* tokens that such a state has room for */

/* Forgets all tokens from `length` on. Where one that the next token would see was dropped, it forgets everything.
 * Returns its length now. */
int64_t    cot_kv_state_truncate(cot_kv_state *state, int64_t length);

/**
 * out[t, a] = sum over s of softmax over s (scale * q[t, a] . k[s, b]) * v[s, b], where query head a reads key/value
 * head b = floor(a * num_kv_heads / num_heads) and s runs over the tokens that t sees, t included.
 *
 *   qkv    [T, (num_heads + 2 num_kv_heads) * head_dim] act: q heads, then k heads, then v heads
 *   first  [T], borrowed for the call: token t sees tokens first[t] .. t and stands at position t - first[t]. Rows of a
 *          batch and documents packed into a row are told apart by it alone.
 *   state  NULL, or what came before: then the T tokens are one sequence that goes on from it (first NULL): token t
 *          stands at position (length before) + t and sees the state's tokens and 0 .. t; k and v are appended. With
 *          `first` they are a walk through a tree of sequences, parents first: token t stands at position
 *          (length before) + t - first[t], and where that is not one more than the position of t - 1, the state is cut
 *          back to it first. What the last token sees is left in the state. A state that drops tokens takes no walks.
 *          No gradient flows.
 *   out    [T, num_heads * head_dim] act
 *
 * Dynamic rotary positions go by the longest sequence of the call, the state's tokens included; keys in a state keep
 * the angles they were stored with, as they do elsewhere.
 *
 * The T x T scores are never formed: tiles of 64 keys and 64 queries go through a running softmax in the real type (in
 * bf16 the weights enter the second product rounded), tiles that nobody sees are skipped. Kept for going back: qkv, out
 * and the log-sum-exp of scores.
 *
 * Errors   on the tape: COT_SHAPE_MISMATCH when qkv or state do not fit the shape; COT_INVALID when the shape
 *          contradicts itself, first[t] is outside [0, t], a walk jumps ahead or the state is full. The state is then
 *          cut back to its length before, as cot_kv_state_truncate() does.
 * Threads  parallel over sequences, heads and ranges of queries; results do not depend on the number of threads.
 * Source   [dao2022flashattention], [milakov2018online]; positions [su2021roformer]; shared heads [ainslie2023gqa].
 */
cot_tensor *cot_attention(cot_tape *tape, cot_tensor *qkv, const cot_attention_shape *shape, const int32_t *first,
                          cot_kv_state *state);

#endif
