/* How near products of rows with weights come to the product peak: the shapes of the bench recipes, forward, gradient
 * of the input and of the weights, with everything they pack and convert. The peak is measured in turn with them. Not
 * part of the build.
 *
 *   bench_matmul [repetitions] [part of a shape's name] [cold]
 *
 * "cold": caches are emptied before each product, as other work empties them between two products of training; then
 * medians are printed instead of the best. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "kernels/peak/peak.h"
#include "ops/matmul.h"

enum { PEAK_ROUNDS = 400000, MOST_GROUPS = 16, FORMS = 3, MOST_REPETITIONS = 1000 };

typedef struct {
    const char *name;
    int64_t     groups, rows, in, out;
    bool        gather_x, gather_dy;
} shape;

static const shape shapes[] = {
    {"q, k, v", 1, 4096, 384, 1152, false, false},     {"attention out", 1, 4096, 384, 384, false, false},
    {"gate and up", 1, 4096, 384, 2048, false, false}, {"down", 1, 4096, 1024, 384, false, false},
    {"experts up", 16, 8192, 384, 1024, true, false},  {"experts down", 16, 8192, 512, 384, false, true},
    {"vocabulary", 1, 512, 384, 8192, false, false},   {"small q, k, v", 1, 768, 128, 384, false, false},
    {"small experts", 8, 1536, 128, 344, true, false},
};

static double peak(cot_mode mode)
{
    const cot_peak_kernels *kernels = cot_peak_kernels_now();
    double (*run)(int64_t) = mode == COT_MODE_BF16 && kernels->bf16 ? kernels->bf16 : kernels->f32;
    double       flops = 0;
    const double since = cot_now();
#pragma omp parallel for num_threads(cot_threads()) reduction(+ : flops)
    for (int i = 0; i < cot_threads(); i++) flops += run(PEAK_ROUNDS);
    return flops / (cot_now() - since);
}

static void *numbers(cot_dtype type, int64_t count)
{
    void *data = cot_malloc((size_t)count * cot_dtype_size(type));
    if (!data) exit(1);
    for (int64_t i = 0; i < count; i++) {
        const float value = (float)(i * 7919 % 2003) / 1000 - 1;
        if (type == COT_F32) ((float *)data)[i] = value;
        else ((cot_bf16 *)data)[i] = cot_f32_to_bf16(value);
    }
    return data;
}

/* Ragged groups of much the same size, and the rows that they take from half as many. */
static void route(const shape *s, int64_t *offset, int32_t *rows)
{
    for (int64_t g = 0; g <= s->groups; g++)
        offset[g] = g * s->rows / s->groups + (g % s->groups ? g * 37 % 101 - 50 : 0);
    for (int64_t r = 0; r < s->rows; r++) rows[r] = (int32_t)(r * 7919 % (s->rows / 2));
}

typedef struct {
    void      *x, *y, *dy, *dx, *dw;
    cot_dtype  act, dy_type;
    cot_tensor w;
} arrays;

static bool cold;

static void empty_caches(void)
{
    enum { BYTES = 128 << 20 };
    static char *memory;
    if (!memory && !(memory = malloc(BYTES))) exit(1);
#pragma omp parallel for num_threads(cot_threads())
    for (int64_t i = 0; i < BYTES; i += 64) memory[i]++;
}

static double run(cot_tape *tape, const cot_matmul *m, arrays *a, int form)
{
    if (cold) empty_caches();
    const double since = cot_now();
    if (form == 0) cot_matmul_forward(tape, m, a->x, &a->w, a->y, a->act, false);
    else if (form == 1) cot_matmul_back_input(tape, m, a->dy, a->dy_type, &a->w, a->dx, a->act, false);
    else cot_matmul_back_weight(tape, m, a->dy, a->dy_type, a->x, a->dw, false);
    return 2.0 * (double)m->rows * (double)m->in * (double)m->out / (cot_now() - since);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double of_all(double *rates, int count)
{
    qsort(rates, (size_t)count, sizeof *rates, by_size);
    return rates[cold ? count / 2 : count - 1];
}

/* As in training, where scratch memory is large and lies in huge pages. */
static void grow_scratch(cot_tape *tape)
{
    const size_t mark = cot_tape_scratch_mark(tape), bytes = 64u << 20;
    void        *memory = cot_tape_scratch(tape, bytes);
    if (memory) memset(memory, 0, bytes);
    cot_tape_scratch_release(tape, mark);
}

static void measure(cot_mode mode, const shape *s, int repetitions)
{
    static int64_t offset[MOST_GROUPS + 1];
    int32_t   *rows = malloc((size_t)s->rows * sizeof *rows);
    const cot_dtype act = cot_mode_act(mode);
    arrays a = {.act = act, .dy_type = s->gather_dy ? COT_F32 : act, .x = numbers(act, s->rows * s->in)};
    cot_tape *tape = NULL;
    if (!rows || cot_tape_create(mode, &tape) != COT_OK) exit(1);
    cot_tape_reset(tape, true, true, 0, 0);
    grow_scratch(tape);
    route(s, offset, rows);
    a.y = numbers(act, s->rows * s->out);
    a.dy = numbers(a.dy_type, s->rows * s->out);
    a.dx = numbers(act, s->rows * s->in);
    a.dw = numbers(COT_F32, s->groups * s->in * s->out);
    a.w = (cot_tensor){.dtype = COT_F32,
                       .rank = 3,
                       .shape = {s->groups, s->out, s->in, 1},
                       .data = numbers(COT_F32, s->groups * s->in * s->out)};
    const cot_matmul m = {.rows = s->rows, .in = s->in, .out = s->out, .groups = s->groups, .offset = offset,
                          .x_rows = s->gather_x ? rows : NULL, .y_rows = s->gather_dy ? rows : NULL};
    double rates[FORMS][MOST_REPETITIONS], most = 0;
    for (int r = 0; r < repetitions; r++) {
        const double now = peak(mode);
        if (now > most) most = now;
        for (int form = 0; form < FORMS; form++) rates[form][r] = run(tape, &m, &a, form);
    }
    printf("%-4s %-14s %5lld x %4lld x %4lld", mode == COT_MODE_F32 ? "f32" : "bf16", s->name, (long long)s->rows,
           (long long)s->in, (long long)s->out);
    for (int form = 0; form < FORMS; form++) {
        const double rate = of_all(rates[form], repetitions);
        printf("   %5.1f %5.1f%%", rate * 1e-9, 100 * rate / most);
    }
    printf("   of %.0f\n", most * 1e-9);
    void *all[] = {a.x, a.y, a.dy, a.dx, a.dw, a.w.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cot_free(all[i]);
    free(rows);
    cot_tape_destroy(tape);
}

int main(int argc, char **argv)
{
    const int   asked = argc > 1 ? atoi(argv[1]) : 10;
    const int   repetitions = asked < 1 ? 1 : asked > MOST_REPETITIONS ? MOST_REPETITIONS : asked;
    const char *part = argc > 2 ? argv[2] : "";
    cold = argc > 3;
    printf("GFLOP/s and fraction of the peak, %s of %d, %d threads   forward        input gradient  weight gradient\n",
           cold ? "median" : "best", repetitions, cot_threads());
    for (cot_mode mode = COT_MODE_F32; mode <= COT_MODE_BF16; mode++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            if (strstr(shapes[i].name, part)) measure(mode, &shapes[i], repetitions);
    return 0;
}
