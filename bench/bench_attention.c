/* How near attention comes to the peak of tile products, forward and backward, counted by its causal half.
 * Not part of the build.
 *
 *   bench_attention [rows] [length] [heads] [kv heads] [head size] [seconds]
 *
 * FLOPs forward: 2 products of 2 * head_dim for each pair (query, key at or before it), taken as length^2 / 2;
 * backward 2.5 times that. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/threads.h"
#include "kernels/product/tile.h"
#include "ops/attention.h"

/* FLOP/s of all threads on 64 x 64 x 64 products in cache. */
static double tile_peak(cot_mode mode, double seconds)
{
    static char memory[64][3 * 64 * 64 * 8];
    const cot_tile_type type = mode == COT_MODE_F64   ? COT_TILE_F64
                               : mode == COT_MODE_F32 ? COT_TILE_F32
                                                      : COT_TILE_BF16;
    const cot_tile tile = cot_tile_find((cot_tile_spec){type, 64, 64, 64, 64, 64, 64, .accumulate = true});
    double flops = 0;
#pragma omp parallel num_threads(cot_threads()) reduction(+ : flops)
    {
        char *own = memory[omp_get_thread_num() % 64];
        const double start = cot_now();
        int64_t count = 0;
        for (; cot_now() - start < seconds; count += 200)
            for (int i = 0; i < 200; i++) cot_tile_run(&tile, own, own + 64 * 64 * 8, own + 2 * 64 * 64 * 8);
        flops = (double)count * 2 * 64 * 64 * 64 / (cot_now() - start);
    }
    return flops;
}

static double gone_back;  /* when the gradient was there */

static void ones_backward(cot_tape *tape, void *saved)
{
    bool accumulate = false;
    cot_tensor *y = saved;
    char *grad = cot_tape_grad(tape, y, &accumulate);
    for (int64_t i = 0; grad && i < cot_tensor_count(y) * (int64_t)cot_dtype_size(y->dtype); i++)
        grad[i] = (char)(i % 4 == 3 || i % 2 ? 0x3c : 0);
    gone_back = cot_now();
}

typedef struct { double forward, backward; } times;

static times once(cot_tape *tape, const cot_attention_shape *shape, int64_t tokens, const int32_t *first)
{
    cot_tape_reset(tape, true, true, 1, 1);
    const int64_t width = (int64_t)(shape->num_heads + 2 * shape->num_kv_heads) * shape->head_dim;
    cot_tensor *x = cot_tape_matrix(tape, cot_tape_act(tape), tokens, width, true);
    cot_tensor *sum = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, true);
    for (int64_t i = 0; i < tokens * width; i++) {
        const double value = (double)(i * 7919 % 2003) / 1000 - 1;
        if (x->dtype == COT_BF16) ((cot_bf16 *)x->data)[i] = cot_f32_to_bf16((float)value);
        else if (x->dtype == COT_F32) ((float *)x->data)[i] = (float)value;
        else ((double *)x->data)[i] = value;
    }
    const double start = cot_now();
    cot_tensor *y = cot_attention(tape, x, shape, first, NULL);
    const double middle = cot_now();
    cot_tape_record(tape, ones_backward, y, &sum, 1);
    cot_tape_backward(tape, sum, 1);
    const times t = {middle - start, cot_now() - gone_back};
    return t;
}

static void bench(cot_mode mode, const cot_attention_shape *shape, int64_t rows, int64_t length, double seconds)
{
    const int64_t tokens = rows * length;
    int32_t *first = malloc((size_t)tokens * sizeof *first);
    cot_tape *tape = NULL;
    if (!first || cot_tape_create(mode, &tape) != COT_OK) return;
    for (int64_t t = 0; t < tokens; t++) first[t] = (int32_t)(t / length * length);
    times best = {1e9, 1e9};
    double peak = 0;
    for (const double start = cot_now(); cot_now() - start < seconds;) {  /* in turn: a loaded machine slows both */
        const double p = tile_peak(mode, 0.02);
        peak = p > peak ? p : peak;
        const times t = once(tape, shape, tokens, first);
        best.forward = t.forward < best.forward ? t.forward : best.forward;
        best.backward = t.backward < best.backward ? t.backward : best.backward;
    }
    const double flops = 2.0 * (double)(rows * length * length) * shape->num_heads * shape->head_dim;
    printf("%-5s peak %6.1f GFLOP/s   forward %7.3f ms %4.1f %%   backward %7.3f ms %4.1f %%   both %4.1f %%\n",
           cot_dtype_name(cot_mode_act(mode)), peak / 1e9, best.forward * 1e3, 100 * flops / best.forward / peak,
           best.backward * 1e3, 250 * flops / best.backward / peak,
           350 * flops / (best.forward + best.backward) / peak);
    cot_tape_destroy(tape);
    free(first);
}

int main(int argc, char **argv)
{
    double n[] = {8, 512, 6, 6, 64, 3};
    for (int i = 1; i < argc && i <= 6; i++) n[i - 1] = atof(argv[i]);
    const cot_attention_shape shape = {
        .num_heads = (int32_t)n[2], .num_kv_heads = (int32_t)n[3], .head_dim = (int32_t)n[4], .rope_theta = 10000};
    printf("%g rows of %g tokens, %g heads on %g of %g\n", n[0], n[1], n[2], n[3], n[4]);
    bench(COT_MODE_F32, &shape, (int64_t)n[0], (int64_t)n[1], n[5]);
    bench(COT_MODE_BF16, &shape, (int64_t)n[0], (int64_t)n[1], n[5]);
    return 0;
}
