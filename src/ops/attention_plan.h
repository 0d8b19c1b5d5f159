/* How one call of attention is cut into tasks and tiles; shared by its forward and backward. See
 * kernels/attention/attention.h for layouts.
 *
 * Tokens of the call are numbered from 0; keys too, the state's first: token t's own key is number past + t. A span is
 * a run of tokens that see nothing outside it. The grid of key tiles starts at a task's first key. */
#ifndef COT_OPS_ATTENTION_PLAN_H
#define COT_OPS_ATTENTION_PLAN_H

#include "kernels/attention/attention.h"
#include "kernels/product/tile.h"
#include "ops/attention.h"

struct cot_kv_state {
    cot_mode mode;
    int32_t  capacity;       /* tokens that may be read in all */
    int32_t  rows, window;   /* tokens that there is room for; the least that must stay and one more, 0 = all stay */
    int32_t  gone, length;   /* tokens dropped, tokens held */
    int32_t  num_kv_heads, head_dim;
    char    *keys, *values;  /* [num_kv_heads][rows][head_dim] act */
};

enum {
    ATTENTION_TILE = COT_ATTENTION_TILE,
    ATTENTION_STRIP = COT_ATTENTION_STRIP,
    ATTENTION_STRIPS = ATTENTION_TILE / ATTENTION_STRIP,  /* of 16 lanes in a tile */
    ATTENTION_SLOTS = 8,  /* query tiles that a task holds at once, where a group has no more heads */
};

/* Queries and keys (ranges of tokens and of key numbers) that a thread deals with at a time, for one key/value head. */
typedef struct {
    int32_t query, query_end;
    int32_t key, key_end;
    bool    query_grad, key_grad;  /* going back: which gradients it writes */
} attention_task;

/* Products of a strip by its width (16 or 64 lanes) and its keys (16, 32, 48, 64):
 *   score   [keys][lanes] = rows [keys][dim] . column pairs [dim][lanes]
 *   value   [dim][lanes] += columns [dim][keys] . pairs [keys][lanes]
 *   key     [keys][dim]  += [keys][lanes] . row pairs [lanes][dim] */
typedef struct {
    cot_tile score[2][ATTENTION_STRIPS], value[2][ATTENTION_STRIPS], key[2][ATTENTION_STRIPS];
} attention_tiles;

typedef struct {
    cot_attention_shape          shape;  /* defaults filled in */
    const cot_attention_kernels *kernels;
    cot_mode       mode;
    size_t         act, real;        /* bytes of an element */
    int32_t        tokens, past;     /* of the call; the state's before it */
    int32_t        gone;             /* tokens that came before those of the state */
    int32_t        group;            /* query heads of a key/value head */
    int32_t        chunk;            /* queries that a task holds at once, a multiple of 64 */
    const void    *turns;            /* NULL = no rotary positions */
    const int32_t *position;         /* [tokens] row of turns */
    const int32_t *lowest;           /* [tokens, and 64 more] first key that a token sees */
    const int32_t *span;             /* [spans + 1] borders */
    int32_t        spans;
    const char    *q, *k, *v;        /* row t of head a: q + (t * row + a * head_dim) * act */
    int64_t        row;              /* elements from one token's q to the next one's */
    int64_t        key_row, key_head;  /* elements from one k or v to the next token's, to the next head's */
    bool           turn_keys;        /* k is not turned yet */
    attention_tiles tiles;
} attention_plan;

/* A strip of a tile, and where it lies in it. */
typedef struct {
    cot_attention_strip strip;
    int32_t lane, row;       /* its first lane and key, counted in the tile */
    int32_t width;           /* index of its lanes in attention_tiles */
} attention_part;

/* The parts of a tile that are seen: n queries from token `query` on, `keys` keys from number `key` on. One wide part
 * where all strips see the same keys, else up to four of 16 lanes. Returns how many. */
int cot_attention_parts(const attention_plan *plan, int32_t query, int32_t n, int32_t key, int32_t keys,
                        attention_part parts[ATTENTION_STRIPS]);

/* The tile of the task's grid that holds the first key seen by tokens [query, query_end). */
int32_t cot_attention_first_tile(const attention_plan *plan, const attention_task *task, int32_t query,
                                 int32_t query_end);

/* Query tiles that a chunk takes: [group][chunk / 64]. */
static inline int32_t attention_slots(const attention_plan *plan)
{
    return plan->group * (plan->chunk / ATTENTION_TILE);
}

static inline const cot_tile *attention_tile_of(const cot_tile tiles[2][ATTENTION_STRIPS], const attention_part *part)
{
    return &tiles[part->width][part->strip.keys / ATTENTION_STRIP - 1];
}

static inline int32_t attention_padded(int32_t n)
{
    return (n + ATTENTION_STRIP - 1) / ATTENTION_STRIP * ATTENTION_STRIP;
}

/* Gathers n keys or values of a head from number `key` on (k: turned), padded with zeros to a multiple of 16. */
void cot_attention_keys(const attention_plan *plan, int32_t head, int32_t key, int32_t n, void *rows);
void cot_attention_values(const attention_plan *plan, int32_t head, int32_t key, int32_t n, void *rows);
/* Asks the processor for a share of the task's key tile after the one at `key`; the products of slot `slot` of `slots`
 * hide the waiting. */
void cot_attention_fetch(const attention_plan *plan, const attention_task *task, int32_t head, int32_t key,
                         int32_t slot, int32_t slots);
/* What queries carry so that scores count in log2. */
double cot_attention_query_factor(const attention_plan *plan);
/* Gathers n queries of a head from token `query` on, turned and scaled for scores in units of log2. */
void cot_attention_queries(const attention_plan *plan, int32_t head, int32_t query, int32_t n, void *rows);

/* Takes `bytes` of a thread's memory at base (NULL: only counts) and moves *used on to the next cache line. */
static inline void *attention_carve(char *base, size_t *used, size_t bytes)
{
    void *block = base ? base + *used : NULL;
    *used += (bytes + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
    return block;
}

/* out [T, heads * dim] act; lse [heads, T] real, or NULL. */
void cot_attention_forward(cot_tape *tape, const attention_plan *plan, void *out, void *lse);
/* The same for one token that goes on from a state: keys are read once, where they lie. */
void cot_attention_single(cot_tape *tape, const attention_plan *plan, void *out);
/* qkv_grad (+)= from out_grad, out and lse as above. */
void cot_attention_backward(cot_tape *tape, const attention_plan *plan, const void *out, const void *out_grad,
                            const void *lse, void *qkv_grad, bool accumulate);

/* The most tokens that one append takes. */
static inline int32_t attention_most(const cot_kv_state *state)
{
    return state->window ? state->rows - (state->window - 1) : state->rows;
}

/* Makes room for so many tokens, attention_most() at most. */
void cot_kv_state_make_room(cot_kv_state *state, int32_t tokens);
/* Appends k and v of the call's tokens to the state and lets the plan read keys from there. */
void cot_kv_state_append(cot_kv_state *state, attention_plan *plan);

#endif
