/* What the machine can do: product peaks, streaming reads, gathers. */
#include <coterie/bench.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "kernels/peak/peak.h"
#include "kernels/product/tile.h"
#include "tensor/tape.h"

enum { PIECE_ROUNDS = 20000, TILE = 64, TILE_K = 256, ROW = 384 };

/* One burst of work on all threads; the best of several, since others may use the machine too. */
typedef double (*burst)(const void *context, int thread);

static double best_rate(burst run, const void *context, double seconds)
{
    double best = 0;
    for (const double start = cot_now(); cot_now() - start < seconds;) {
        double done = 0;
        const double since = cot_now();
#pragma omp parallel for num_threads(cot_threads()) schedule(static) reduction(+ : done)
        for (int i = 0; i < cot_threads(); i++) done += run(context, i);
        const double rate = done / (cot_now() - since);
        if (rate > best) best = rate;
    }
    return best;
}

static double registers_f32(const void *context, int thread)
{
    (void)thread;
    return ((const cot_peak_kernels *)context)->f32(PIECE_ROUNDS);
}

static double registers_bf16(const void *context, int thread)
{
    (void)thread;
    return ((const cot_peak_kernels *)context)->bf16(PIECE_ROUNDS);
}

typedef struct {
    cot_tile tile;
    char    *memory;  /* one stretch for each thread */
    size_t   each;
} tile_work;

static double tiles(const void *context, int thread)
{
    const tile_work *w = context;
    char *a = w->memory + (size_t)thread * w->each, *b = a + w->each / 3, *c = b + w->each / 3;
    for (int i = 0; i < 500; i++) cot_tile_run(&w->tile, a, b, c);
    return 500.0 * 2 * TILE * TILE * TILE_K;
}

static double tile_peak(cot_tile_type type, double seconds)
{
    const cot_tile_spec spec = {
        .type = type, .m = TILE, .n = TILE, .k = TILE_K, .lda = TILE_K, .ldb = TILE, .ldc = TILE, .accumulate = true};
    tile_work w = {.tile = cot_tile_find(spec), .each = 3 * TILE * TILE_K * 4};
    w.memory = cot_calloc(w.each * (size_t)cot_threads());
    const double rate = w.memory ? best_rate(tiles, &w, seconds) : 0;
    cot_free(w.memory);
    return rate;
}

static double larger(double a, double b) { return a > b ? a : b; }

static double measure_peak(bool bf16, double seconds)
{
    const cot_peak_kernels *kernels = cot_peak_kernels_now();
    if (!bf16) return larger(best_rate(registers_f32, kernels, seconds / 2), tile_peak(COT_TILE_F32, seconds / 2));
    return kernels->bf16 ? larger(best_rate(registers_bf16, kernels, seconds / 2), tile_peak(COT_TILE_BF16, seconds / 2)) : 0;
}

double cot_machine_product_peak(bool bf16)
{
    static double known[2];
    if (known[bf16] <= 0) known[bf16] = measure_peak(bf16, 0.1);
    return known[bf16] > 0 ? known[bf16] : bf16 ? cot_machine_product_peak(false) : 0;
}

/* ---- memory ---- */

typedef struct {
    const cot_peak_kernels *kernels;
    const float            *table;
    size_t                  rows;   /* of ROW floats, in the whole table */
    const int32_t          *order;  /* [threads, ORDER] random rows */
} memory_work;

enum { ORDER = 1 << 16 };

static _Thread_local volatile float sink;

static double read_share(const void *context, int thread)
{
    const memory_work *w = context;
    const size_t share = w->rows / (size_t)cot_threads();
    sink = w->kernels->read(w->table + (size_t)thread * share * ROW, share * ROW);
    return (double)(share * ROW) * 4;
}

static double gather_share(const void *context, int thread)
{
    const memory_work *w = context;
    sink = w->kernels->gather(w->table, w->order + (size_t)thread * ORDER, ORDER, ROW);
    return (double)ORDER * ROW * 4;
}

static void measure_memory(cot_machine *m)
{
    memory_work w = {.kernels = cot_peak_kernels_now(), .rows = 700000};
    const size_t choices = (size_t)cot_threads() * ORDER;
    float *table = cot_malloc(w.rows * ROW * sizeof *table);
    int32_t *order = cot_malloc(choices * sizeof *order);
    if (table && order) {
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
        for (size_t i = 0; i < w.rows * ROW; i++) table[i] = 1;
        for (size_t i = 0; i < choices; i++) order[i] = (int32_t)cot_rng_below((cot_rng_key){.stream = COT_RNG_TEST}, i, w.rows);
        w.table = table;
        w.order = order;
        m->read_bytes = best_rate(read_share, &w, 0.4);
        m->gather_bytes = best_rate(gather_share, &w, 0.4);
    }
    cot_free(table);
    cot_free(order);
}

cot_machine cot_machine_measure(void)
{
    cot_machine m = {.cpu = cot_cpu_model(), .kernels = cot_cpu_name(cot_cpu()), .threads = cot_threads()};
    m.f32_flops = measure_peak(false, 0.6);
    m.bf16_flops = measure_peak(true, 0.6);
    measure_memory(&m);
    return m;
}
