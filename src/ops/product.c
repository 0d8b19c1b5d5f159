#include "ops/product.h"

#include <assert.h>
#include <omp.h>
#include <stdatomic.h>
#include <string.h>

#include "base/threads.h"
#include "kernels/product/tile.h"

enum {
    BLOCK = 48,                    /* rows of a tile ... */
    BLOCK_WEIGHT = 64,             /* ... and in the weight gradient */
    PAGE_BYTES = 4096,
    FIRST_ROWS = 6,                /* of a gathered block: what a tile starts with */
    K_STEP = 8,                    /* pieces of k are multiples: few shapes of tiles, however ragged the groups */
    K_MOST_BYTES = 2048,           /* longest piece of k */
    K_MOST_BYTES_BOTH = 1024,      /* and where both operands are packed */
    PANEL_BYTES = 400 << 10,       /* panels of a task: a good part of a second-level cache */
    TASK_ROWS = 4096,              /* most rows of a task ... */
    TASK_ROWS_WEIGHT = 256,        /* ... in the weight gradient ... */
    TASK_ROWS_LATE = 256,          /* ... and where sums wait in f32 for the last piece of k */
    PACK_WAIT = 6,                 /* see cost() */
    PACK_WAIT_WEIGHT = 12,
    READ_WAIT = 4,
    TASK_WORK = 1 << 16,
    SERIAL_WORK = 1 << 18,         /* multiplications that are not worth a second thread */
};

typedef struct {
    int64_t group, m0, m1, n0, n1;
} task;

static const double LAST_TASK = 0.1;  /* share of it that others wait */

/* A product with what follows from its shape. */
typedef struct {
    const cot_product      *p;
    const cot_pack_kernels *pack;
    cot_mode mode;
    size_t   act_size;
    int64_t  m, n, k;            /* m or k is the most of any group where groups differ in it */
    int64_t  k_piece;            /* the longest of any group */
    int64_t  block;              /* rows of a tile */
    bool     gathers;            /* may tiles take rows of a from here and there? */
    bool     late;               /* sums wait in f32 until k is through */
    int64_t  task_rows, task_columns, task_count;
    task    *tasks;
    size_t   panel_bytes, block_bytes, sum_bytes;  /* of one thread */
    atomic_int_fast64_t taken;   /* tasks handed out */
} plan;

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

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }
static int64_t round_up(int64_t count, int64_t size) { return pieces(count, size) * size; }

static double  work(const plan *w) { return (double)w->p->shape->rows * (double)w->p->shape->in * (double)w->p->shape->out; }
static int64_t group_start(const cot_matmul *s, int64_t g) { return s->offset ? s->offset[g] : 0; }
static int64_t group_rows(const cot_matmul *s, int64_t g) { return s->offset ? s->offset[g + 1] - s->offset[g] : s->rows; }
static bool    is_back_weight(const plan *w) { return w->p->form == COT_PRODUCT_BACK_WEIGHT; }
static int64_t group_m(const plan *w, int64_t g) { return is_back_weight(w) ? w->m : group_rows(w->p->shape, g); }
static int64_t group_k(const plan *w, int64_t g) { return is_back_weight(w) ? group_rows(w->p->shape, g) : w->k; }

/* May blocks be read where they lie? Columns of rows that are whole pages apart would fall into the same few places of a cache. */
static bool lies_ready(const plan *w, int64_t k)
{
    const cot_pack_source *a = &w->p->a;
    if (is_back_weight(w)) return w->gathers && w->mode != COT_MODE_BF16 && !a->rows && a->ld * (int64_t)w->act_size % PAGE_BYTES != 0;
    if (a->rows && !w->gathers) return false;
    return w->mode != COT_MODE_BF16 || (!a->is_real && a->ld % 2 == 0 && k % 2 == 0);
}

/* Equal pieces, but for the last. */
static int64_t piece_of(const plan *w, int64_t k)
{
    const bool both = is_back_weight(w) && !lies_ready(w, k);
    const int64_t count = pieces(k, (both ? K_MOST_BYTES_BOTH : K_MOST_BYTES) / (int64_t)w->act_size);
    return count > 0 ? round_up(pieces(k, count), K_STEP) : 0;
}

/* How long a piece lies in panels and blocks: bf16 wants pairs; tokens as k come in any number, too many for generated tiles. */
static int padded(const plan *w, int64_t k)
{
    const int64_t step = is_back_weight(w) && !w->gathers ? K_STEP : w->mode == COT_MODE_BF16 ? 2 : 1;
    return (int)round_up(k, step);
}

/* ---- operands ---- */

static void make_panels(const plan *w, const task *t, int64_t k0, int k, void *panels)
{
    const cot_matmul *s = w->p->shape;
    const cot_pack_source *b = &w->p->b;
    const int64_t n = t->n1 - t->n0;
    switch (w->p->form) {
    case COT_PRODUCT_FORWARD: w->pack->panels_transposed(b, t->group * s->out + t->n0, k0, k, padded(w, k), n, panels); break;
    case COT_PRODUCT_BACK_INPUT: w->pack->panels(b, t->group * s->out + k0, t->n0, k, padded(w, k), n, panels); break;
    default: w->pack->panels(b, group_start(s, t->group) + k0, t->n0, k, padded(w, k), n, panels);
    }
}

/* The left operand of a row of tiles. The weight gradient's were packed with its panels. */
static left take_block(const plan *w, const worker *me, const task *t, int64_t m0, int m, int64_t k0, int k)
{
    const cot_pack_source *a = &w->p->a;
    const int64_t start = group_start(w->p->shape, t->group), r0 = start + m0;
    const bool ready = lies_ready(w, k);
    if (ready && is_back_weight(w)) return (left){(const char *)a->data + (size_t)((start + k0) * a->ld + m0) * w->act_size, NULL};
    if (is_back_weight(w)) return (left){me->block + (size_t)((m0 - t->m0) * padded(w, k)) * w->act_size, NULL};
    if (ready)
        return (left){(const char *)a->data + (size_t)((a->rows ? 0 : r0) * a->ld + k0) * w->act_size, a->rows ? a->rows + r0 : NULL};
    w->pack->block(a, r0, k0, m, k, padded(w, k), padded(w, k), me->block);
    return (left){me->block, NULL};
}

static int block_ld(const plan *w, int k)
{
    return lies_ready(w, k) ? (int)w->p->a.ld : is_back_weight(w) ? COT_PANEL : padded(w, k);
}

/* ---- what comes next ---- */

static cot_soon soon(const plan *w, const cot_pack_source *source, int64_t r0, int64_t r1, int64_t c0, int64_t columns)
{
    const size_t size = source->is_real ? cot_dtype_size(cot_mode_real(w->mode)) : w->act_size;
    return (cot_soon){.data = (const char *)source->data + (size_t)c0 * size, .rows = source->rows, .ld = (size_t)source->ld * size,
                      .width = (size_t)columns * size, .row = r0, .end = r1};
}

static int lines_a_step(const cot_soon *s, int64_t steps)
{
    const int64_t lines = (s->end - s->row) * (int64_t)(s->width / 64 + 1);
    return lines > 0 && steps > 0 ? (int)pieces(lines, steps) : 0;
}

/* Notes what the piece of k from k0 of a task (NULL: none) will pack, to be asked for in so many steps. */
static void look_ahead(const plan *w, worker *me, const task *t, int64_t k0, int64_t steps)
{
    me->panels_lines[0] = me->panels_lines[1] = 0;
    if (!t || w->p->packed) return;
    const cot_matmul *s = w->p->shape;
    const int64_t k = group_k(w, t->group), length = least(piece_of(w, k), k - k0), start = group_start(s, t->group) + k0;
    const int64_t row = t->group * s->out;
    if (w->p->form == COT_PRODUCT_FORWARD)
        me->panels_soon[0] = soon(w, &w->p->b, row + t->n0, row + t->n1, k0, length);
    else if (w->p->form == COT_PRODUCT_BACK_INPUT)
        me->panels_soon[0] = soon(w, &w->p->b, row + k0, row + k0 + length, t->n0, t->n1 - t->n0);
    else {
        me->panels_soon[0] = soon(w, &w->p->b, start, start + length, t->n0, t->n1 - t->n0);
        me->panels_soon[1] = soon(w, &w->p->a, start, lies_ready(w, length) ? start : start + length, t->m0, t->m1 - t->m0);
    }
    for (int i = 0; i <= is_back_weight(w); i++) me->panels_lines[i] = lines_a_step(&me->panels_soon[i], steps);
}

/* The next block, to be asked for in so many steps. Tiles that read rows as they lie ask for the next rows themselves, but for those
 * behind the end of a gathered block. */
static int look_at_block(const plan *w, worker *me, const task *t, int64_t m0, int64_t k0, int64_t k, int64_t steps)
{
    const cot_pack_source *a = &w->p->a;
    if (is_back_weight(w) || m0 >= t->m1 || (lies_ready(w, k) && !a->rows)) return 0;
    const int64_t r0 = group_start(w->p->shape, t->group) + m0, rows = least(lies_ready(w, k) ? FIRST_ROWS : w->block, t->m1 - m0);
    me->block_soon = soon(w, a, r0, r0 + rows, k0, k);
    return lines_a_step(&me->block_soon, steps);
}

/* ---- one task ---- */

static int64_t c_ld(const plan *w) { return w->p->form == COT_PRODUCT_FORWARD ? w->p->shape->out : w->p->shape->in; }

static char *c_at(const plan *w, int64_t g, int64_t i, int64_t j)
{
    const int64_t row = is_back_weight(w) ? g * w->m + i : group_start(w->p->shape, g) + i;
    return (char *)w->p->c + (size_t)(row * c_ld(w) + j) * cot_dtype_size(w->p->c_dtype);
}

static cot_tile_type tile_type(const plan *w)
{
    const bool narrow = w->p->c_dtype == COT_BF16 && !w->late;
    return w->mode == COT_MODE_F64 ? COT_TILE_F64 : w->mode == COT_MODE_F32 ? COT_TILE_F32 : narrow ? COT_TILE_BF16_OUT : COT_TILE_BF16;
}

static const cot_tile *tile_for(const plan *w, worker *me, int m, int n, int k, bool accumulate)
{
    const int short_m = m < w->block, short_n = n < COT_PANEL;
    cot_tile *tile = &me->tiles[short_m][short_n];
    if (me->found[short_m][short_n]) return tile;
    *tile = cot_tile_find((cot_tile_spec){
        .type = tile_type(w), .m = m, .n = n, .k = padded(w, k), .lda = block_ld(w, k), .ldb = COT_PANEL,
        .ldc = (int)(w->late ? w->task_columns : c_ld(w)), .a_transposed = is_back_weight(w), .accumulate = accumulate,
        .streams = true});
    me->found[short_m][short_n] = true;
    return tile;
}

static const char *panel_at(const plan *w, const worker *me, const task *t, int64_t n, int64_t k0, int k)
{
    if (!w->p->packed) return me->panels + (size_t)((n - t->n0) * padded(w, k)) * w->act_size;
    const int64_t whole = round_up(w->k, K_STEP);
    const int64_t place = t->group * round_up(w->n, COT_PANEL) * whole + n * whole + k0 * COT_PANEL;
    return (const char *)w->p->packed + (size_t)place * w->act_size;
}

static void *c_of(const plan *w, const worker *me, const task *t, int64_t m, int64_t n)
{
    return w->late ? (void *)(me->sums + (m - t->m0) * w->task_columns + n - t->n0) : (void *)c_at(w, t->group, m, n);
}

static void run_block(const plan *w, worker *me, const task *t, int64_t m0, int64_t k0, int k)
{
    const bool accumulate = k0 > 0 || (w->p->accumulate && !w->late);
    const int m = (int)least(w->block, t->m1 - m0);
    const left a = take_block(w, me, t, m0, m, k0, k);
    const int64_t steps = cot_tile_steps(tile_type(w), m, k) * pieces(t->n1 - t->n0, COT_PANEL);
    const int block_lines = look_at_block(w, me, t, m0 + w->block, k0, k, steps);
    for (int64_t n = t->n0; n < t->n1; n += COT_PANEL) {
        const bool more = n + COT_PANEL < t->n1;
        const int64_t next_m = more || m0 + w->block >= t->m1 ? m0 : m0 + w->block;
        const cot_tile_stream operands = {
            .a = a.a, .rows = a.rows, .b = panel_at(w, me, t, n, k0, k), .c = c_of(w, me, t, m0, n),
            .next = c_of(w, me, t, next_m, more ? n + COT_PANEL : t->n0),
            .soon = {&me->panels_soon[0], is_back_weight(w) ? &me->panels_soon[1] : &me->block_soon},
            .lines = {me->panels_lines[0], is_back_weight(w) ? me->panels_lines[1] : block_lines}};
        cot_tile_run_stream(tile_for(w, me, m, (int)least(COT_PANEL, t->n1 - n), k, accumulate), &operands);
    }
}

static void run_piece(const plan *w, worker *me, const task *t, int64_t k0, int k)
{
    memset(me->found, 0, sizeof me->found);
    if (!w->p->packed) make_panels(w, t, k0, k, me->panels);
    if (is_back_weight(w) && !lies_ready(w, k))
        w->pack->panels(&w->p->a, group_start(w->p->shape, t->group) + k0, t->m0, k, padded(w, k), t->m1 - t->m0, me->block);
    for (int64_t m0 = t->m0; m0 < t->m1; m0 += w->block) run_block(w, me, t, m0, k0, k);
}

static void clear(const plan *w, const task *t)
{
    for (int64_t i = t->m0; i < t->m1; i++) memset(c_at(w, t->group, i, t->n0), 0, (size_t)(t->n1 - t->n0) * cot_dtype_size(w->p->c_dtype));
}

static void run_task(const plan *w, worker *me, const task *t, const task *next)
{
    const int64_t k = group_k(w, t->group), piece = piece_of(w, k);
    const int64_t panels = pieces(t->n1 - t->n0, COT_PANEL);
    if (k == 0 && !w->p->accumulate) clear(w, t);
    for (int64_t k0 = 0; k0 < k; k0 += piece) {
        const bool more = k0 + piece < k;
        look_ahead(w, me, more ? t : next, more ? k0 + piece : 0, cot_tile_steps(tile_type(w), t->m1 - t->m0, least(piece, k - k0)) * panels);
        run_piece(w, me, t, k0, (int)least(piece, k - k0));
    }
    if (w->late && k > 0)
        w->pack->settle(t->m1 - t->m0, t->n1 - t->n0, me->sums, w->task_columns, c_at(w, t->group, t->m0, t->n0), c_ld(w),
                        w->p->accumulate);
}

/* ---- the cut into tasks ---- */

static int64_t count_tasks(const plan *w, int64_t rows, int64_t columns)
{
    int64_t count = 0;
    for (int64_t g = 0; g < w->p->shape->groups; g++) count += pieces(group_m(w, g), rows);
    return count * pieces(w->n, columns);
}

/* Whole units in so many nearly equal shares: the largest share. */
static int64_t share_of(int64_t count, int64_t unit, int64_t shares) { return pieces(pieces(count, unit), shares) * unit; }

/* Time of a cut, in times of one thread at its peak. An element comes near or is packed in the time of so many rows or columns of
 * products; a task costs something for itself; in the end threads wait for the last one. */
static double cost(const plan *w, int64_t rows, int64_t columns)
{
    const double wait = is_back_weight(w) ? PACK_WAIT_WEIGHT : PACK_WAIT, threads = cot_threads();
    const double panels = w->p->packed ? READ_WAIT : wait, blocks = !lies_ready(w, w->k_piece) || is_back_weight(w) ? wait : READ_WAIT;
    const int64_t tasks = count_tasks(w, rows, columns), groups = w->p->shape->groups;
    const double largest = (double)(rows * columns) / (double)(w->m * w->n * groups);
    const double share = groups > 1 ? 1 / threads : largest * (double)pieces(tasks, cot_threads());
    const double fixed = TASK_WORK * (double)tasks / threads / work(w);
    return (share + LAST_TASK * largest) * (1 + panels / (double)least(rows, w->m) + blocks / (double)columns) + fixed;
}

static void cut(plan *w)
{
    static const int ways[] = {1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64};
    const int64_t panel = COT_PANEL * w->k_piece * (int64_t)w->act_size, most_panels = panel > 0 && panel < PANEL_BYTES ? PANEL_BYTES / panel : 1;
    const int64_t most_rows = w->late ? TASK_ROWS_LATE : is_back_weight(w) && !lies_ready(w, w->k_piece) ? TASK_ROWS_WEIGHT : TASK_ROWS;
    const int64_t least_columns = pieces(pieces(w->n, COT_PANEL), most_panels), least_rows = pieces(w->m, most_rows);
    if (w->m == 0 || w->n == 0) return;
    const int count = work(w) < SERIAL_WORK ? 1 : (int)(sizeof ways / sizeof *ways);
    double best = 0;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            const int64_t rows = share_of(w->m, w->block, least_rows + ways[i] - 1), columns = share_of(w->n, COT_PANEL, least_columns + ways[j] - 1);
            if (rows == 0 || columns == 0) continue;
            const double time = cost(w, rows, columns);
            if (best > 0 && time >= best) continue;
            best = time;
            w->task_rows = rows;
            w->task_columns = columns;
        }
    w->task_count = best > 0 ? count_tasks(w, w->task_rows, w->task_columns) : 0;
}

static void list_tasks(plan *w)
{
    task *t = w->tasks;
    for (int64_t g = 0; g < w->p->shape->groups; g++)
        for (int64_t m0 = 0, m = group_m(w, g); m0 < m; m0 += w->task_rows)
            for (int64_t n0 = 0; n0 < w->n; n0 += w->task_columns)
                *t++ = (task){g, m0, least(m, m0 + w->task_rows), n0, least(w->n, n0 + w->task_columns)};
    assert(t == w->tasks + w->task_count);
}

static void measure(plan *w)
{
    const cot_matmul *s = w->p->shape;
    int64_t most = 0;
    for (int64_t g = 0; g < s->groups; g++) most = group_rows(s, g) > most ? group_rows(s, g) : most;
    w->m = is_back_weight(w) ? s->out : most;
    w->n = w->p->form == COT_PRODUCT_FORWARD ? s->out : s->in;
    w->k = is_back_weight(w) ? most : w->p->form == COT_PRODUCT_FORWARD ? s->in : s->out;
    w->block = is_back_weight(w) ? BLOCK_WEIGHT : BLOCK;
    w->gathers = cot_tile_gathers(tile_type(w));
    for (int64_t g = 0; g < s->groups; g++) {
        const int64_t piece = piece_of(w, group_k(w, g));
        w->k_piece = piece > w->k_piece ? piece : w->k_piece;
    }
    w->late = w->p->c_dtype == COT_BF16 && w->k_piece < w->k;
    cut(w);
    const int64_t length = round_up(w->k_piece, K_STEP), blocks = !is_back_weight(w) ? w->block : lies_ready(w, w->k_piece) ? 0 : round_up(w->task_rows, COT_PANEL);
    w->panel_bytes = w->p->packed ? 0 : (size_t)(round_up(w->task_columns, COT_PANEL) * length) * w->act_size;
    w->block_bytes = (size_t)(blocks * length) * w->act_size;
    w->sum_bytes = w->late ? (size_t)(w->task_rows * w->task_columns) * sizeof(float) : 0;
}

/* ---- threads ---- */

/* A thread takes task after task; which one will be its next is a guess, good enough to ask for what that one packs. */
static void work_through(plan *w, char *memory, int threads)
{
    worker me = {.panels = memory, .block = memory + w->panel_bytes,
                 .sums = (float *)(void *)(memory + w->panel_bytes + w->block_bytes)};
    for (int64_t i; (i = atomic_fetch_add(&w->taken, 1)) < w->task_count;)
        run_task(w, &me, &w->tasks[i], i + threads < w->task_count ? &w->tasks[i + threads] : NULL);
}

void cot_product_run(cot_tape *tape, const cot_product *product)
{
    const cot_mode mode = cot_tape_mode(tape);
    plan w = {.p = product, .pack = cot_pack_kernels_for(mode), .mode = mode, .act_size = cot_dtype_size(cot_tape_act(tape))};
    if (cot_tape_failed(tape)) return;
    measure(&w);
    if (w.task_count == 0) return;
    const int threads = work(&w) < SERIAL_WORK ? 1 : (int)least(cot_threads(), w.task_count);
    const size_t each = (w.panel_bytes + w.block_bytes + w.sum_bytes + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
    const size_t mark = cot_tape_scratch_mark(tape);
    w.tasks = cot_tape_scratch(tape, (size_t)w.task_count * sizeof *w.tasks);
    char *memory = w.tasks ? cot_tape_scratch(tape, each * (size_t)threads) : NULL;
    if (memory) {
        list_tasks(&w);
#pragma omp parallel num_threads(threads) if (threads > 1)
        work_through(&w, memory + (size_t)omp_get_thread_num() * each, threads);
    }
    cot_tape_scratch_release(tape, mark);
}
