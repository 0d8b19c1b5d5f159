#include "ops/product_plan.h"

#include <assert.h>
#include <stdlib.h>

#include "base/threads.h"
#include "ops/pieces.h"

enum {
    BLOCK = 48,                    /* rows of a tile ... */
    BLOCK_WEIGHT = 64,             /* ... and in the weight gradient */
    PAGE_BYTES = 4096,
    K_MOST_BYTES = 4608,           /* longest piece of k: sums would rather not wait for another ... */
    K_MOST_BYTES_WEIGHT = 2048,    /* ... in the weight gradient, where k are tokens ... */
    K_MOST_BYTES_PACKED = 1024,    /* ... and where its blocks are packed */
    NEAR_BYTES = 2 << 20,          /* an operand that second-level caches hold */
    FAR_BYTES = 16 << 20,          /* a result that third-level caches do not */
    PANEL_BYTES = 500 << 10,       /* panels of a task: a good part of a second-level cache */
    TASK_ROWS = 4096,              /* most rows of a task ... */
    TASK_ROWS_WEIGHT = 256,        /* ... in the weight gradient ... */
    TASK_ROWS_LATE = 512,          /* ... and where sums wait in f32 for the last piece of k */
    PACK_WAIT = 10,                /* rows or columns of products in the time that packing takes ... */
    PACK_WAIT_WEIGHT = 12,         /* ... in the weight gradient ... */
    READ_WAIT = 4,                 /* ... and that reading takes */
    TASK_WORK = 1 << 16,           /* multiplications in the time that a task costs for itself */
    SERIAL_WORK = 1 << 18,         /* multiplications that are not worth a second thread */
};

static const double LAST_TASK = 0.1;  /* share of it that others wait */

static double work(const cot_product_plan *w)
{
    return (double)w->p->shape->rows * (double)w->p->shape->in * (double)w->p->shape->out;
}

/* May columns be read where they lie? Not of rows that are whole pages apart: they would fall into the same few places
 * of a cache. */
static bool columns_lie_ready(const cot_product_plan *w, const cot_pack_source *source)
{
    return w->gathers && w->mode != COT_MODE_BF16 && !source->rows &&
           source->ld * (int64_t)w->act_size % PAGE_BYTES != 0;
}

/* Of the two operands of a weight gradient that come from far, the one that is read strip by strip is better packed. */
bool cot_product_lies_ready(const cot_product_plan *w, int64_t k)
{
    const cot_pack_source *a = &w->p->a;
    const int64_t bytes = w->p->shape->rows * a->ld * (int64_t)w->act_size;
    if (cot_product_is_back_weight(w))
        return columns_lie_ready(w, a) && (bytes <= NEAR_BYTES || !cot_product_panels_lie_ready(w));
    if (a->rows && !w->gathers) return false;
    return w->mode != COT_MODE_BF16 || (!a->is_real && a->ld % 2 == 0 && k % 2 == 0);
}

bool cot_product_panels_lie_ready(const cot_product_plan *w)
{
    return cot_product_is_back_weight(w) && columns_lie_ready(w, &w->p->b);
}

/* Equal pieces, but for the last. */
int64_t cot_product_piece(const cot_product_plan *w, int64_t k)
{
    const int64_t bytes = !cot_product_is_back_weight(w)  ? K_MOST_BYTES
                          : cot_product_lies_ready(w, k) ? K_MOST_BYTES_WEIGHT
                                                         : K_MOST_BYTES_PACKED;
    const int64_t count = cot_pieces(k, bytes / (int64_t)w->act_size);
    return count > 0 ? cot_round_up(cot_pieces(k, count), COT_K_STEP) : 0;
}

cot_tile_type cot_product_tile_type(const cot_product_plan *w)
{
    const bool narrow = w->p->c_dtype == COT_BF16 && !w->late;
    return w->mode == COT_MODE_F64   ? COT_TILE_F64
           : w->mode == COT_MODE_F32 ? COT_TILE_F32
           : narrow                  ? COT_TILE_BF16_OUT
                                     : COT_TILE_BF16;
}

/* ---- the cut into tasks ---- */

static int64_t count_tasks(const cot_product_plan *w, int64_t rows, int64_t columns)
{
    int64_t count = 0;
    for (int64_t g = 0; g < w->p->shape->groups; g++) count += cot_pieces(cot_product_group_m(w, g), rows);
    return count * cot_pieces(w->n, columns);
}

/* Whole units in so many nearly equal shares: the largest share. */
static int64_t share_of(int64_t count, int64_t unit, int64_t shares)
{
    return cot_pieces(cot_pieces(count, unit), shares) * unit;
}

/* Time of a cut, in times of one thread at its peak. An element comes near or is packed in the time of so many rows
 * or columns of products; a task costs something for itself; in the end threads wait for the last one. */
static double cost(const cot_product_plan *w, int64_t rows, int64_t columns)
{
    const bool    back_weight = cot_product_is_back_weight(w);
    const double  wait = back_weight ? PACK_WAIT_WEIGHT : PACK_WAIT, threads = w->threads;
    const double  panels = w->p->packed ? READ_WAIT : wait;
    const double  blocks = back_weight || !cot_product_lies_ready(w, w->k_piece) ? wait : READ_WAIT;
    const int64_t tasks = count_tasks(w, rows, columns), groups = w->p->shape->groups;
    const double  largest = (double)(rows * columns) / (double)(w->m * w->n * groups);
    const double  share = groups > 1 ? 1 / threads : largest * (double)cot_pieces(tasks, w->threads);
    const double  fixed = TASK_WORK * (double)tasks / threads / work(w);
    return (share + LAST_TASK * largest) * (1 + panels / (double)cot_least(rows, w->m) + blocks / (double)columns) +
           fixed;
}

/* The most of a task's rows and columns that the cache allows, as least numbers of tasks along each side. */
static int64_t least_row_tasks(const cot_product_plan *w)
{
    const bool both = cot_product_is_back_weight(w) && !cot_product_lies_ready(w, w->k_piece);
    return cot_pieces(w->m, w->late ? TASK_ROWS_LATE : both ? TASK_ROWS_WEIGHT : TASK_ROWS);
}

static int64_t least_column_tasks(const cot_product_plan *w)
{
    const int64_t panel = COT_PANEL * w->k_piece * (int64_t)w->act_size, most = panel > 0 ? PANEL_BYTES / panel : 1;
    return cot_pieces(cot_pieces(w->n, COT_PANEL), most > 0 ? most : 1);
}

static void cut(cot_product_plan *w)
{
    static const int more[] = {0, 1, 2, 3, 4, 5, 7, 11, 15, 23, 31, 63};
    const int     count = w->threads > 1 ? (int)(sizeof more / sizeof *more) : 1;
    const int64_t row_tasks = least_row_tasks(w), column_tasks = least_column_tasks(w);
    double        best = 0;
    for (int i = 0; i < count && w->m > 0 && w->n > 0; i++)
        for (int j = 0; j < count; j++) {
            const int64_t rows = share_of(w->m, w->block, row_tasks + more[i]);
            const int64_t columns = share_of(w->n, COT_PANEL, column_tasks + more[j]);
            const double  time = cost(w, rows, columns);
            if (w->task_rows > 0 && time >= best) continue;
            best = time;
            w->task_rows = rows;
            w->task_columns = columns;
        }
    w->task_count = w->task_rows > 0 ? count_tasks(w, w->task_rows, w->task_columns) : 0;
}

static void measure(cot_product_plan *w)
{
    const cot_matmul *s = w->p->shape;
    const bool        forward = w->p->form == COT_PRODUCT_FORWARD, back_weight = cot_product_is_back_weight(w);
    int64_t           most = 0;
    for (int64_t g = 0; g < s->groups; g++) {
        const int64_t rows = cot_product_group_rows(w, g);
        most = rows > most ? rows : most;
    }
    w->m = back_weight ? s->out : most;
    w->n = forward ? s->out : s->in;
    w->k = back_weight ? most : forward ? s->in : s->out;
    w->block = back_weight ? BLOCK_WEIGHT : BLOCK;
    w->gathers = cot_tile_gathers(cot_product_tile_type(w));
    w->threads = work(w) < SERIAL_WORK ? 1 : cot_threads();
    for (int64_t g = 0; g < s->groups; g++) {
        const int64_t piece = cot_product_piece(w, cot_product_group_k(w, g));
        w->k_piece = piece > w->k_piece ? piece : w->k_piece;
    }
    w->past_cache = !back_weight && w->p->c_dtype == COT_F32 && s->rows * w->n * (int64_t)sizeof(float) > FAR_BYTES;
    w->late = w->p->c_dtype == COT_BF16 && w->k_piece < w->k;
}

static void take_stock(cot_product_plan *w)
{
    const bool    back_weight = cot_product_is_back_weight(w), ready = cot_product_lies_ready(w, w->k_piece);
    const int64_t length = cot_round_up(w->k_piece, COT_K_STEP), columns = cot_round_up(w->task_columns, COT_PANEL);
    const int64_t blocks = !back_weight ? w->block : ready ? 0 : cot_round_up(w->task_rows, COT_PANEL);
    w->panel_bytes = w->p->packed || cot_product_panels_lie_ready(w) ? 0 : (size_t)(columns * length) * w->act_size;
    w->block_bytes = (size_t)(blocks * length) * w->act_size;
    w->sum_bytes = w->late ? (size_t)(w->task_rows * w->task_columns) * sizeof(float) : 0;
}

cot_product_plan cot_product_plan_make(cot_mode mode, const cot_product *product)
{
    cot_product_plan w = {.p = product, .pack = cot_pack_kernels_for(mode), .mode = mode};
    w.act_size = cot_dtype_size(cot_mode_act(mode));
    measure(&w);
    cut(&w);
    take_stock(&w);
    if (w.threads > w.task_count) w.threads = (int)w.task_count;
    return w;
}

static int most_work_first(const void *a_, const void *b_)
{
    const cot_product_task *a = a_, *b = b_;
    if (a->work != b->work) return a->work < b->work ? 1 : -1;
    return a->group != b->group ? (a->group < b->group ? -1 : 1) : a->n0 < b->n0 ? -1 : a->n0 > b->n0;
}

/* Ragged groups are taken largest first: the last tasks, for which threads wait, are then small ones. */
void cot_product_plan_list(cot_product_plan *w)
{
    cot_product_task *t = w->tasks;
    for (int64_t g = 0; g < w->p->shape->groups; g++)
        for (int64_t m0 = 0, m = cot_product_group_m(w, g); m0 < m; m0 += w->task_rows)
            for (int64_t n0 = 0; n0 < w->n; n0 += w->task_columns, t++) {
                *t = (cot_product_task){.group = g, .m0 = m0, .m1 = cot_least(m, m0 + w->task_rows),
                                        .n0 = n0, .n1 = cot_least(w->n, n0 + w->task_columns)};
                t->work = (t->m1 - m0) * (t->n1 - n0) * cot_product_group_k(w, g);
            }
    assert(t == w->tasks + w->task_count);
    if (w->p->shape->groups > 1) qsort(w->tasks, (size_t)w->task_count, sizeof *w->tasks, most_work_first);
}
