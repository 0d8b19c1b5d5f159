#include "ops/product.h"

#include <assert.h>
#include <omp.h>
#include <string.h>

#include "base/threads.h"
#include "kernels/product/tile.h"

enum {
    ROW_BLOCK = 32,            /* rows of a block in the forms whose rows are tokens */
    OUT_BLOCK = 64,            /* and in the weight gradient, whose rows are outputs */
    K_STEP = 8,                /* pieces of k are multiples: few shapes of tiles, however ragged the groups */
    K_MOST_BYTES = 2048,       /* longest piece of k */
    PANEL_BYTES = 400 << 10,   /* panels of a task: a good part of a second-level cache */
    TASK_ROWS = 1024,          /* most rows of a task, and least when tasks are few */
    TASK_ROWS_LEAST = 128,
    TASKS_PER_THREAD = 4,
    LATE_ROWS = 256,           /* most rows of a task whose sums wait in f32 for the last piece of k */
    SERIAL_WORK = 1 << 18,     /* multiplications that are not worth a second thread */
};

typedef struct {
    int64_t group, m0, m1, n0, n1;
} task;

/* A product with what follows from its shape. */
typedef struct {
    const cot_product      *p;
    const cot_pack_kernels *pack;
    cot_mode mode;
    size_t   act_size;
    int64_t  m, n, k;            /* m or k is the most of any group where groups differ in it */
    int64_t  k_piece;            /* the longest of any group */
    int      block;
    bool     late;               /* sums wait in f32 until k is through */
    int64_t  task_rows, task_columns, task_count;
    task    *tasks;
    size_t   panel_bytes, block_bytes, sum_bytes;  /* of one thread */
} plan;

/* One thread's memory and the tiles of the piece of k at hand. */
typedef struct {
    char    *panels, *block;
    float   *sums;
    cot_tile tiles[2][2];        /* whole or cut-off block, whole or cut-off panel */
    bool     found[2][2];
} worker;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }
static int64_t round_up(int64_t count, int64_t size) { return pieces(count, size) * size; }

static int64_t group_start(const cot_matmul *s, int64_t g) { return s->offset ? s->offset[g] : 0; }
static int64_t group_rows(const cot_matmul *s, int64_t g) { return s->offset ? s->offset[g + 1] - s->offset[g] : s->rows; }
static bool    is_back_weight(const plan *w) { return w->p->form == COT_PRODUCT_BACK_WEIGHT; }
static int64_t group_m(const plan *w, int64_t g) { return is_back_weight(w) ? w->m : group_rows(w->p->shape, g); }
static int64_t group_k(const plan *w, int64_t g) { return is_back_weight(w) ? group_rows(w->p->shape, g) : w->k; }

/* Equal pieces, but for the last. */
static int64_t piece_of(const plan *w, int64_t k)
{
    const int64_t count = pieces(k, K_MOST_BYTES / (int64_t)w->act_size);
    return count > 0 ? round_up(pieces(k, count), K_STEP) : 0;
}

/* How long a piece lies in panels and blocks: tokens as k come in any number, bf16 wants pairs. */
static int padded(const plan *w, int64_t k)
{
    return (int)(is_back_weight(w) ? round_up(k, K_STEP) : w->mode == COT_MODE_BF16 ? round_up(k, 2) : k);
}

/* ---- operands ---- */

static void make_panel(const plan *w, int64_t g, int64_t n0, int n, int64_t k0, int k, void *panel)
{
    const cot_product *p = w->p;
    const cot_matmul *s = p->shape;
    switch (p->form) {
    case COT_PRODUCT_FORWARD: w->pack->panel_transposed(&p->b, g * s->out + n0, k0, k, padded(w, k), n, panel); break;
    case COT_PRODUCT_BACK_INPUT: w->pack->panel(&p->b, g * s->out + k0, n0, k, padded(w, k), n, panel); break;
    default: w->pack->panel(&p->b, group_start(s, g) + k0, n0, k, padded(w, k), n, panel);
    }
}

/* May blocks be read where they lie? */
static bool lies_ready(const plan *w, int k)
{
    const cot_pack_source *a = &w->p->a;
    if (a->rows || padded(w, k) != k) return false;
    return w->mode != COT_MODE_BF16 || (!a->is_real && !is_back_weight(w) && a->ld % 2 == 0);
}

/* Rows m0 .. of a, and how far apart they lie. */
static const void *take_block(const plan *w, const worker *me, int64_t g, int64_t m0, int m, int64_t k0, int k)
{
    const cot_pack_source *a = &w->p->a;
    const int64_t start = group_start(w->p->shape, g), r0 = is_back_weight(w) ? start + k0 : start + m0, c0 = is_back_weight(w) ? m0 : k0;
    if (lies_ready(w, k)) return (const char *)a->data + (size_t)(r0 * a->ld + c0) * w->act_size;
    if (is_back_weight(w)) w->pack->panel(a, r0, c0, k, padded(w, k), m, me->block);
    else w->pack->block(a, r0, c0, m, k, padded(w, k), padded(w, k), me->block);
    return me->block;
}

static int block_ld(const plan *w, int k)
{
    if (lies_ready(w, k)) return (int)w->p->a.ld;
    return is_back_weight(w) ? COT_PANEL : padded(w, k);
}

/* ---- one task ---- */

static int64_t c_ld(const plan *w) { return w->p->form == COT_PRODUCT_FORWARD ? w->p->shape->out : w->p->shape->in; }

static char *c_at(const plan *w, int64_t g, int64_t i, int64_t j)
{
    const int64_t row = is_back_weight(w) ? g * w->m + i : group_start(w->p->shape, g) + i;
    return (char *)w->p->c + (size_t)(row * c_ld(w) + j) * cot_dtype_size(w->p->c_dtype);
}

static const cot_tile *tile_for(const plan *w, worker *me, int m, int n, int k, bool accumulate)
{
    const int short_m = m < w->block, short_n = n < COT_PANEL;
    cot_tile *tile = &me->tiles[short_m][short_n];
    if (me->found[short_m][short_n]) return tile;
    const cot_tile_type types[] = {COT_TILE_F64, COT_TILE_F32, w->p->c_dtype == COT_BF16 && !w->late ? COT_TILE_BF16_OUT : COT_TILE_BF16};
    *tile = cot_tile_find((cot_tile_spec){
        .type = types[w->mode], .m = m, .n = n, .k = padded(w, k), .lda = block_ld(w, k), .ldb = COT_PANEL,
        .ldc = (int)(w->late ? w->task_columns : c_ld(w)), .a_transposed = is_back_weight(w), .accumulate = accumulate});
    me->found[short_m][short_n] = true;
    return tile;
}

static const char *panel_at(const plan *w, const worker *me, const task *t, int64_t n, int64_t k0, int k)
{
    if (!w->p->packed) return me->panels + (size_t)((n - t->n0) * padded(w, k)) * w->act_size;
    const int64_t whole = round_up(w->k, 2);
    return (const char *)w->p->packed + (size_t)(t->group * round_up(w->n, COT_PANEL) * whole + n * whole + k0 * COT_PANEL) * w->act_size;
}

/* Brings the next block's rows near, a share with each panel. */
static void prefetch_share(const plan *w, const task *t, int64_t m0, int64_t k0, int64_t k, int64_t panel)
{
    const int64_t panels = pieces(t->n1 - t->n0, COT_PANEL), m = least(w->block, t->m1 - m0), start = group_start(w->p->shape, t->group);
    if (m <= 0) return;
    if (is_back_weight(w)) {
        const int64_t each = pieces(k, panels), from = least(k, panel * each);
        w->pack->prefetch(&w->p->a, start + k0 + from, m0, least(each, k - from), m);
    } else {
        const int64_t each = pieces(m, panels), from = least(m, panel * each);
        w->pack->prefetch(&w->p->a, start + m0 + from, k0, least(each, m - from), k);
    }
}

static void run_piece(const plan *w, worker *me, const task *t, int64_t k0, int k)
{
    const bool accumulate = k0 > 0 || (w->p->accumulate && !w->late);
    memset(me->found, 0, sizeof me->found);
    for (int64_t n = t->n0; n < t->n1 && !w->p->packed; n += COT_PANEL)
        make_panel(w, t->group, n, (int)least(COT_PANEL, t->n1 - n), k0, k, (char *)panel_at(w, me, t, n, k0, k));
    for (int64_t m0 = t->m0; m0 < t->m1; m0 += w->block) {
        const int m = (int)least(w->block, t->m1 - m0);
        const void *a = take_block(w, me, t->group, m0, m, k0, k);
        for (int64_t n = t->n0; n < t->n1; n += COT_PANEL) {
            const cot_tile *tile = tile_for(w, me, m, (int)least(COT_PANEL, t->n1 - n), k, accumulate);
            void *c = w->late ? (void *)(me->sums + (m0 - t->m0) * w->task_columns + n - t->n0) : (void *)c_at(w, t->group, m0, n);
            cot_tile_run(tile, a, panel_at(w, me, t, n, k0, k), c);
            prefetch_share(w, t, m0 + w->block, k0, k, (n - t->n0) / COT_PANEL);
        }
    }
}

static void clear(const plan *w, const task *t)
{
    for (int64_t i = t->m0; i < t->m1; i++) memset(c_at(w, t->group, i, t->n0), 0, (size_t)(t->n1 - t->n0) * cot_dtype_size(w->p->c_dtype));
}

static void run_task(const plan *w, worker *me, const task *t)
{
    const int64_t k = group_k(w, t->group), piece = piece_of(w, k);
    if (k == 0 && !w->p->accumulate) clear(w, t);
    for (int64_t k0 = 0; k0 < k; k0 += piece) run_piece(w, me, t, k0, (int)least(piece, k - k0));
    if (w->late && k > 0)
        w->pack->settle(t->m1 - t->m0, t->n1 - t->n0, me->sums, w->task_columns, c_at(w, t->group, t->m0, t->n0), c_ld(w), w->p->accumulate);
}

/* ---- the cut into tasks ---- */

static int64_t count_tasks(const plan *w)
{
    int64_t count = 0;
    for (int64_t g = 0; g < w->p->shape->groups; g++) count += pieces(group_m(w, g), w->task_rows);
    return count * pieces(w->n, w->task_columns);
}

/* Equal shares of whole panels or blocks. */
static int64_t share(int64_t count, int64_t unit, int64_t most)
{
    const int64_t units = pieces(count, unit), most_units = most > unit ? most / unit : 1;
    return units ? pieces(units, pieces(units, most_units)) * unit : unit;
}

/* As large as the cache allows, then smaller until every thread finds some: first fewer rows, then fewer columns. */
static void cut(plan *w)
{
    const int64_t wanted = (int64_t)TASKS_PER_THREAD * cot_threads(), panel = COT_PANEL * w->k_piece * (int64_t)w->act_size;
    w->task_columns = share(w->n, COT_PANEL, PANEL_BYTES / (panel > 0 ? panel : 1) * COT_PANEL);
    w->task_rows = share(w->m, w->block, w->late ? LATE_ROWS : TASK_ROWS);
    while (count_tasks(w) < wanted) {
        if (w->task_rows > TASK_ROWS_LEAST) w->task_rows = share(w->m, w->block, w->task_rows / 2);
        else if (w->task_columns > COT_PANEL) w->task_columns = share(w->n, COT_PANEL, w->task_columns / 2);
        else if (w->task_rows > w->block) w->task_rows = share(w->m, w->block, w->task_rows / 2);
        else break;
    }
    w->task_count = count_tasks(w);
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
    w->block = is_back_weight(w) ? OUT_BLOCK : ROW_BLOCK;
    for (int64_t g = 0; g < s->groups; g++) w->k_piece = piece_of(w, group_k(w, g)) > w->k_piece ? piece_of(w, group_k(w, g)) : w->k_piece;
    w->late = w->p->c_dtype == COT_BF16 && w->k_piece < w->k;
    cut(w);
    w->panel_bytes = w->p->packed ? 0 : (size_t)(w->task_columns * round_up(w->k_piece, K_STEP)) * w->act_size;
    w->block_bytes = (size_t)(OUT_BLOCK * round_up(w->k_piece, K_STEP)) * w->act_size;
    w->sum_bytes = w->late ? (size_t)(w->task_rows * w->task_columns) * sizeof(float) : 0;
}

static double work(const plan *w) { return (double)w->p->shape->rows * (double)w->p->shape->in * (double)w->p->shape->out; }

static void run_all(const plan *w, char *memory, size_t each, int threads)
{
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        char *mine = memory + (size_t)omp_get_thread_num() * each;
        worker me = {.panels = mine, .block = mine + w->panel_bytes, .sums = (float *)(void *)(mine + w->panel_bytes + w->block_bytes)};
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < w->task_count; i++) run_task(w, &me, &w->tasks[i]);
    }
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
        run_all(&w, memory, each, threads);
    }
    cot_tape_scratch_release(tape, mark);
}
