/* How a product is cut: blocks, panels and pieces of k from its shape alone, tasks from a model of their cost. Of
 * product.c only. */
#ifndef COT_OPS_PRODUCT_PLAN_H
#define COT_OPS_PRODUCT_PLAN_H

#include "kernels/product/tile.h"
#include "ops/product.h"

enum { COT_K_STEP = 8 };  /* pieces of k are multiples: few shapes of tiles, however ragged the groups */

/* Rows m0 .. m1 - 1 and columns n0 .. n1 - 1 of a group's c, and how many multiplications they take. */
typedef struct {
    int64_t group, m0, m1, n0, n1, work;
} cot_product_task;

/* A product with what follows from its shape. */
typedef struct {
    const cot_product      *p;
    const cot_pack_kernels *pack;
    cot_mode mode;
    size_t   act_size;
    int64_t  m, n, k;           /* m or k is the most of any group where groups differ in it */
    int64_t  k_piece;           /* the longest of any group */
    int64_t  block;             /* rows of a tile */
    bool     gathers;           /* may tiles take rows of a from here and there? */
    bool     past_cache;        /* is c too large to be found in a cache again? */
    bool     late;              /* sums wait in f32 until k is through */
    int      threads;
    int64_t  task_rows, task_columns, task_count;
    cot_product_task *tasks;
    size_t   panel_bytes, block_bytes, sum_bytes;  /* of one thread */
} cot_product_plan;

/* Everything but the list of tasks, for which the caller takes memory. */
cot_product_plan cot_product_plan_make(cot_mode mode, const cot_product *product);
void             cot_product_plan_list(cot_product_plan *plan);

/* Where pieces of k end in a group whose k is this long: equal pieces, but for the last. */
int64_t cot_product_piece(const cot_product_plan *plan, int64_t k);

/* May a's blocks be read where they lie, for a piece of this length? */
bool cot_product_lies_ready(const cot_product_plan *plan, int64_t k);

/* The same of b's panels: only in a weight gradient. */
bool cot_product_panels_lie_ready(const cot_product_plan *plan);

cot_tile_type cot_product_tile_type(const cot_product_plan *plan);

static inline int64_t cot_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t cot_round_up(int64_t count, int64_t size) { return (count + size - 1) / size * size; }

static inline bool cot_product_is_back_weight(const cot_product_plan *w)
{
    return w->p->form == COT_PRODUCT_BACK_WEIGHT;
}
static inline int64_t cot_product_group_start(const cot_product_plan *w, int64_t g)
{
    return w->p->shape->offset ? w->p->shape->offset[g] : 0;
}
static inline int64_t cot_product_group_rows(const cot_product_plan *w, int64_t g)
{
    const cot_matmul *s = w->p->shape;
    return s->offset ? s->offset[g + 1] - s->offset[g] : s->rows;
}
static inline int64_t cot_product_group_m(const cot_product_plan *w, int64_t g)
{
    return cot_product_is_back_weight(w) ? w->m : cot_product_group_rows(w, g);
}
static inline int64_t cot_product_group_k(const cot_product_plan *w, int64_t g)
{
    return cot_product_is_back_weight(w) ? cot_product_group_rows(w, g) : w->k;
}

#endif
