#include "ops/product.h"

#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "ops/pieces.h"
#include "ops/product_plan.h"

enum { FIRST_ROWS = 6 };  /* of a gathered block: what a tile starts with */

/* A block of a, at `a` or at rows of it. */
typedef struct {
    const void    *a;
    const int32_t *rows;
} left;

/* One thread's memory, the tiles of the piece of k at hand, and what comes after it. */
typedef struct {
    char    *panels, *block;
    float   *sums;
    cot_tile tiles[2][2];        /* whole or cut-off block, whole or cut-off panel */
    bool     found[2][2];
    cot_soon panels_soon[2];     /* the next piece's panels and, in the weight gradient, blocks; so many lines a step */
    int      panels_lines[2];
    cot_soon block_soon;         /* the next block */
} worker;

/* How long a piece lies in panels and blocks: bf16 wants pairs; tokens as k come in any number, too many for
 * generated tiles. */
static int padded(const cot_product_plan *w, int64_t k)
{
    const int64_t step = cot_product_is_back_weight(w) && !w->gathers ? COT_K_STEP : w->mode == COT_MODE_BF16 ? 2 : 1;
    return (int)cot_round_up(k, step);
}

/* ---- operands ---- */

static void make_panels(const cot_product_plan *w, const cot_product_task *t, int64_t k0, int k, void *panels)
{
    const cot_matmul *s = w->p->shape;
    const cot_pack_source *b = &w->p->b;
    const int64_t n = t->n1 - t->n0;
    switch (w->p->form) {
    case COT_PRODUCT_FORWARD:
        w->pack->panels_transposed(b, t->group * s->out + t->n0, k0, k, padded(w, k), n, panels);
        break;
    case COT_PRODUCT_BACK_INPUT: w->pack->panels(b, t->group * s->out + k0, t->n0, k, padded(w, k), n, panels); break;
    default: w->pack->panels(b, cot_product_group_start(w, t->group) + k0, t->n0, k, padded(w, k), n, panels);
    }
}

/* The left operand of a row of tiles. The weight gradient's were packed with its panels. */
static left take_block(const cot_product_plan *w, const worker *me, const cot_product_task *t, int64_t m0, int m,
                       int64_t k0, int k)
{
    const cot_pack_source *a = &w->p->a;
    const int64_t start = cot_product_group_start(w, t->group), r0 = start + m0;
    const bool ready = cot_product_lies_ready(w, k);
    if (ready && cot_product_is_back_weight(w))
        return (left){(const char *)a->data + (size_t)((start + k0) * a->ld + m0) * w->act_size, NULL};
    if (cot_product_is_back_weight(w))
        return (left){me->block + (size_t)((m0 - t->m0) * padded(w, k)) * w->act_size, NULL};
    if (ready)
        return (left){(const char *)a->data + (size_t)((a->rows ? 0 : r0) * a->ld + k0) * w->act_size,
                      a->rows ? a->rows + r0 : NULL};
    w->pack->block(a, r0, k0, m, k, padded(w, k), padded(w, k), me->block);
    return (left){me->block, NULL};
}

static int block_ld(const cot_product_plan *w, int k)
{
    return cot_product_lies_ready(w, k) ? (int)w->p->a.ld : cot_product_is_back_weight(w) ? COT_PANEL : padded(w, k);
}

/* ---- what comes next ---- */

static cot_soon soon(const cot_product_plan *w, const cot_pack_source *source, int64_t r0, int64_t r1, int64_t c0,
                     int64_t columns)
{
    const size_t size = source->is_real ? cot_dtype_size(cot_mode_real(w->mode)) : w->act_size;
    return (cot_soon){.data = (const char *)source->data + (size_t)c0 * size,
                      .rows = source->rows,
                      .ld = (size_t)source->ld * size,
                      .width = (size_t)columns * size,
                      .row = r0,
                      .end = r1};
}

static int lines_a_step(const cot_soon *s, int64_t steps)
{
    const int64_t lines = (s->end - s->row) * (int64_t)(s->width / 64 + 1);
    return lines > 0 && steps > 0 ? (int)cot_pieces(lines, steps) : 0;
}

/* Notes what the piece of k from k0 of a task (NULL: none) will pack, to be asked for in so many steps. */
static void look_ahead(const cot_product_plan *w, worker *me, const cot_product_task *t, int64_t k0, int64_t steps)
{
    me->panels_lines[0] = me->panels_lines[1] = 0;
    if (!t || w->p->packed) return;
    const int64_t k = cot_product_group_k(w, t->group), length = cot_least(cot_product_piece(w, k), k - k0);
    const int64_t token = cot_product_group_start(w, t->group) + k0, out = t->group * w->p->shape->out;
    const int64_t columns = t->n1 - t->n0;
    cot_soon     *panels = &me->panels_soon[0], *blocks = &me->panels_soon[1];
    switch (w->p->form) {
    case COT_PRODUCT_FORWARD: *panels = soon(w, &w->p->b, out + t->n0, out + t->n1, k0, length); break;
    case COT_PRODUCT_BACK_INPUT: *panels = soon(w, &w->p->b, out + k0, out + k0 + length, t->n0, columns); break;
    default:
        *panels = soon(w, &w->p->b, token, token + length, t->n0, columns);
        *blocks = soon(w, &w->p->a, token, token + length, t->m0, t->m1 - t->m0);
        if (!cot_product_lies_ready(w, length)) me->panels_lines[1] = lines_a_step(blocks, steps);
    }
    me->panels_lines[0] = lines_a_step(panels, steps);
}

/* The next block, to be asked for in so many steps. Tiles that read rows as they lie ask for the next rows
 * themselves, but for those behind the end of a gathered block. */
static int look_at_block(const cot_product_plan *w, worker *me, const cot_product_task *t, int64_t m0, int64_t k0,
                         int64_t k, int64_t steps)
{
    const cot_pack_source *a = &w->p->a;
    if (cot_product_is_back_weight(w) || m0 >= t->m1 || (cot_product_lies_ready(w, k) && !a->rows)) return 0;
    const int64_t r0 = cot_product_group_start(w, t->group) + m0;
    const int64_t rows = cot_least(cot_product_lies_ready(w, k) ? FIRST_ROWS : w->block, t->m1 - m0);
    me->block_soon = soon(w, a, r0, r0 + rows, k0, k);
    return lines_a_step(&me->block_soon, steps);
}

/* ---- one task ---- */

static int64_t c_ld(const cot_product_plan *w)
{
    return w->p->form == COT_PRODUCT_FORWARD ? w->p->shape->out : w->p->shape->in;
}

static char *c_at(const cot_product_plan *w, int64_t g, int64_t i, int64_t j)
{
    const int64_t row = cot_product_is_back_weight(w) ? g * w->m + i : cot_product_group_start(w, g) + i;
    return (char *)w->p->c + (size_t)(row * c_ld(w) + j) * cot_dtype_size(w->p->c_dtype);
}

static const cot_tile *tile_for(const cot_product_plan *w, worker *me, int m, int n, int k, bool first,
                                bool last)
{
    const int short_m = m < w->block, short_n = n < COT_PANEL;
    cot_tile *tile = &me->tiles[short_m][short_n];
    if (me->found[short_m][short_n]) return tile;
    *tile = cot_tile_find((cot_tile_spec){.type = cot_product_tile_type(w),
                                          .m = m,
                                          .n = n,
                                          .k = padded(w, k),
                                          .lda = block_ld(w, k),
                                          .ldb = cot_product_panels_lie_ready(w) ? (int)w->p->b.ld : COT_PANEL,
                                          .ldc = (int)(w->late ? w->task_columns : c_ld(w)),
                                          .a_transposed = cot_product_is_back_weight(w),
                                          .accumulate = !first || (w->p->accumulate && !w->late),
                                          .streams = true,
                                          .past_cache = last && w->past_cache});
    me->found[short_m][short_n] = true;
    return tile;
}

static const char *panel_at(const cot_product_plan *w, const worker *me, const cot_product_task *t, int64_t n,
                            int64_t k0, int k)
{
    const cot_pack_source *b = &w->p->b;
    if (cot_product_panels_lie_ready(w))
        return (const char *)b->data + (size_t)((cot_product_group_start(w, t->group) + k0) * b->ld + n) * w->act_size;
    if (!w->p->packed) return me->panels + (size_t)((n - t->n0) * padded(w, k)) * w->act_size;
    const int64_t whole = cot_round_up(w->k, COT_K_STEP);
    const int64_t place = t->group * cot_round_up(w->n, COT_PANEL) * whole + n * whole + k0 * COT_PANEL;
    return (const char *)w->p->packed + (size_t)place * w->act_size;
}

static void *c_of(const cot_product_plan *w, const worker *me, const cot_product_task *t, int64_t m, int64_t n)
{
    return w->late ? (void *)(me->sums + (m - t->m0) * w->task_columns + n - t->n0) : (void *)c_at(w, t->group, m, n);
}

static void run_block(const cot_product_plan *w, worker *me, const cot_product_task *t, int64_t m0, int64_t k0, int k)
{
    const bool last = k0 + k >= cot_product_group_k(w, t->group);
    const int m = (int)cot_least(w->block, t->m1 - m0);
    const left a = take_block(w, me, t, m0, m, k0, k);
    const int64_t steps = cot_tile_steps(cot_product_tile_type(w), m, k) * cot_pieces(t->n1 - t->n0, COT_PANEL);
    const int block_lines = look_at_block(w, me, t, m0 + w->block, k0, k, steps);
    for (int64_t n = t->n0; n < t->n1; n += COT_PANEL) {
        const bool more = n + COT_PANEL < t->n1;
        const int64_t next_m = more || m0 + w->block >= t->m1 ? m0 : m0 + w->block;
        const cot_tile_stream operands = {
            .a = a.a, .rows = a.rows, .b = panel_at(w, me, t, n, k0, k), .c = c_of(w, me, t, m0, n),
            .next = c_of(w, me, t, next_m, more ? n + COT_PANEL : t->n0),
            .soon = {&me->panels_soon[0], cot_product_is_back_weight(w) ? &me->panels_soon[1] : &me->block_soon},
            .lines = {me->panels_lines[0], cot_product_is_back_weight(w) ? me->panels_lines[1] : block_lines}};
        cot_tile_run_stream(tile_for(w, me, m, (int)cot_least(COT_PANEL, t->n1 - n), k, k0 == 0, last), &operands);
    }
}

static void run_piece(const cot_product_plan *w, worker *me, const cot_product_task *t, int64_t k0, int k)
{
    memset(me->found, 0, sizeof me->found);
    if (!w->p->packed && !cot_product_panels_lie_ready(w)) make_panels(w, t, k0, k, me->panels);
    if (cot_product_is_back_weight(w) && !cot_product_lies_ready(w, k))
        w->pack->panels(&w->p->a, cot_product_group_start(w, t->group) + k0, t->m0, k, padded(w, k), t->m1 - t->m0,
                        me->block);
    for (int64_t m0 = t->m0; m0 < t->m1; m0 += w->block) run_block(w, me, t, m0, k0, k);
}

static void clear(const cot_product_plan *w, const cot_product_task *t)
{
    for (int64_t i = t->m0; i < t->m1; i++)
        memset(c_at(w, t->group, i, t->n0), 0, (size_t)(t->n1 - t->n0) * cot_dtype_size(w->p->c_dtype));
}

static void run_task(const cot_product_plan *w, worker *me, const cot_product_task *t, const cot_product_task *next)
{
    const int64_t k = cot_product_group_k(w, t->group), piece = cot_product_piece(w, k);
    const int64_t panels = cot_pieces(t->n1 - t->n0, COT_PANEL);
    if (k == 0 && !w->p->accumulate) clear(w, t);
    for (int64_t k0 = 0; k0 < k; k0 += piece) {
        const bool more = k0 + piece < k;
        look_ahead(w, me, more ? t : next, more ? k0 + piece : 0,
                   cot_tile_steps(cot_product_tile_type(w), t->m1 - t->m0, cot_least(piece, k - k0)) * panels);
        run_piece(w, me, t, k0, (int)cot_least(piece, k - k0));
    }
    if (w->late && k > 0)
        w->pack->settle(t->m1 - t->m0, t->n1 - t->n0, me->sums, w->task_columns, c_at(w, t->group, t->m0, t->n0),
                        c_ld(w), w->p->accumulate);
}

/* ---- threads ---- */

/* A thread takes task after task; which one will be its next is a guess, good enough to ask for what that one packs. */
static void work_through(const cot_product_plan *w, atomic_int_fast64_t *taken, char *memory)
{
    worker me = {.panels = memory, .block = memory + w->panel_bytes};
    me.sums = (float *)(void *)(me.block + w->block_bytes);
    for (int64_t i; (i = atomic_fetch_add(taken, 1)) < w->task_count;) {
        const int64_t next = i + w->threads;
        run_task(w, &me, &w->tasks[i], next < w->task_count ? &w->tasks[next] : NULL);
    }
    atomic_thread_fence(memory_order_seq_cst);  /* what was written past the caches is there for all */
}

void cot_product_run(cot_tape *tape, const cot_product *product)
{
    if (cot_tape_failed(tape)) return;
    if (!cot_tile_ready()) {
        cot_tape_fail(tape, cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for LIBXSMM to keep its code in", cot_tape_where(tape)));
        return;
    }
    cot_product_plan w = cot_product_plan_make(cot_tape_mode(tape), product);
    if (w.task_count == 0) return;
    const size_t each = (size_t)cot_round_up((int64_t)(w.panel_bytes + w.block_bytes + w.sum_bytes), COT_ALIGNMENT);
    const size_t mark = cot_tape_scratch_mark(tape);
    w.tasks = cot_tape_scratch(tape, (size_t)w.task_count * sizeof *w.tasks);
    char *memory = w.tasks ? cot_tape_scratch(tape, each * (size_t)w.threads) : NULL;
    atomic_int_fast64_t taken = 0;
    if (memory) {
        cot_product_plan_list(&w);
#pragma omp parallel num_threads(w.threads) if (w.threads > 1)
        work_through(&w, &taken, memory + (size_t)omp_get_thread_num() * each);
    }
    cot_tape_scratch_release(tape, mark);
}
