/* Tile products against a plain double loop: every type, ragged shapes, strides beyond the width, transposed a,
 * accumulation. Run under every COTERIE_CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernels/product/tile.h"
#include "tensor/dtype.h"

static const cot_rng_key key = {.seed = 7, .stream = COT_RNG_TEST};

static double get(cot_dtype type, const void *data, size_t i)
{
    return type == COT_F64   ? ((const double *)data)[i]
           : type == COT_F32 ? (double)((const float *)data)[i]
                             : (double)cot_bf16_to_f32(((const cot_bf16 *)data)[i]);
}

static void set(cot_dtype type, void *data, size_t i, double value)
{
    if (type == COT_F64) ((double *)data)[i] = value;
    else if (type == COT_F32) ((float *)data)[i] = (float)value;
    else ((cot_bf16 *)data)[i] = cot_f32_to_bf16((float)value);
}

static void *uniform(cot_dtype type, size_t count, uint64_t from)
{
    void *data = cot_malloc(count * cot_dtype_size(type));
    assert_non_null(data);
    for (size_t i = 0; i < count; i++) set(type, data, i, 2 * cot_rng_uniform(key, from + i) - 1);
    return data;
}

static size_t place_a(const cot_tile_spec *s, int i, int p)
{
    const size_t lda = (size_t)s->lda;
    if (!s->a_transposed) return (size_t)i * lda + (size_t)p;
    return s->type >= COT_TILE_BF16 ? (size_t)(p / 2) * 2 * lda + 2 * (size_t)i + (size_t)(p % 2)
                                    : (size_t)p * lda + (size_t)i;
}

static size_t place_b(const cot_tile_spec *s, int p, int j)
{
    const size_t ldb = (size_t)s->ldb;
    return s->type >= COT_TILE_BF16 ? (size_t)(p / 2) * 2 * ldb + 2 * (size_t)j + (size_t)(p % 2)
                                    : (size_t)p * ldb + (size_t)j;
}

/* |error| <= (k + 1) roundings of sums of |a||b| <= k + 1, each half an epsilon of the sum's type; a narrow result
 * rounds once more. */
static double tolerance(const cot_tile_spec *s)
{
    const double epsilon = s->type == COT_TILE_F64 ? DBL_EPSILON : FLT_EPSILON;
    return (s->k + 2) * 0.5 * epsilon * (s->k + 1) + (s->type == COT_TILE_BF16_OUT ? (s->k + 1) / 256.0 : 0);
}

static void check(cot_tile_spec s)
{
    const cot_dtype in = s.type == COT_TILE_F64 ? COT_F64 : s.type == COT_TILE_F32 ? COT_F32 : COT_BF16;
    const cot_dtype out = s.type == COT_TILE_F64 ? COT_F64 : s.type == COT_TILE_BF16_OUT ? COT_BF16 : COT_F32;
    const size_t a_count = (size_t)s.lda * (size_t)(s.a_transposed ? s.k : s.m), c_count = (size_t)s.ldc * (size_t)s.m;
    void *a = uniform(in, a_count, 0), *b = uniform(in, (size_t)s.ldb * (size_t)s.k, 1 << 20);
    void *c = uniform(out, c_count, 2 << 20), *before = uniform(out, c_count, 2 << 20);
    const cot_tile tile = cot_tile_find(s);
    if (s.streams) cot_tile_run_stream(&tile, &(cot_tile_stream){.a = a, .b = b, .c = c, .next = c});
    else cot_tile_run(&tile, a, b, c);
    for (int i = 0; i < s.m; i++)
        for (int j = 0; j < s.ldc; j++) {
            const size_t at = (size_t)i * (size_t)s.ldc + (size_t)j;
            double want = s.accumulate || j >= s.n ? get(out, before, at) : 0;
            for (int p = 0; j < s.n && p < s.k; p++)
                want += get(in, a, place_a(&s, i, p)) * get(in, b, place_b(&s, p, j));
            const double got = get(out, c, at);
            if (!(fabs(got - want) <= (j < s.n ? tolerance(&s) : 0)))
                fail_msg("type %d m %d n %d k %d lda %d transposed %d accumulate %d streams %d: c[%d, %d] is %.9g, "
                         "expected %.9g",
                         s.type, s.m, s.n, s.k, s.lda, s.a_transposed, s.accumulate, s.streams, i, j, got, want);
        }
    cot_free(a);
    cot_free(b);
    cot_free(c);
    cot_free(before);
}

static void every_shape(cot_tile_type type, bool transposed)
{
    static const int ms[] = {1, 2, 5, 7, 16, 32, 37}, ns[] = {1, 8, 17, 24, 63, 64, 96}, ks[] = {2, 6, 10, 64, 130};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t j = 0; j < sizeof ns / sizeof *ns; j++)
            for (size_t p = 0; p < sizeof ks / sizeof *ks; p++) {
                const int m = ms[i], n = ns[j], k = ks[p], wide = (int)((i + j + p) % 3);
                const int lda =
                    (transposed ? m : k) + 3 * wide; /* odd now and then: in bf16 that is the plain kernel's */
                cot_tile_spec s = {.type = type,
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .lda = lda,
                                   .ldb = n + wide,
                                   .ldc = n + 5 * wide,
                                   .a_transposed = transposed};
                check(s);
                s.accumulate = true;
                check(s);
                s.streams = true;
                check(s);
                if (type >= COT_TILE_BF16) continue;
                s.k = k - 1;
                check(s);
            }
}

static void f64(void **state) { (void)state; every_shape(COT_TILE_F64, false); every_shape(COT_TILE_F64, true); }
static void f32(void **state) { (void)state; every_shape(COT_TILE_F32, false); every_shape(COT_TILE_F32, true); }
static void bf16(void **state) { (void)state; every_shape(COT_TILE_BF16, false); every_shape(COT_TILE_BF16, true); }
static void bf16_narrow(void **state)
{
    (void)state;
    every_shape(COT_TILE_BF16_OUT, false);
    every_shape(COT_TILE_BF16_OUT, true);
}

/* Where LIBXSMM is built in and allowed, ordinary shapes are generated; never on the plain level. */
static void generated_where_it_may(void **state)
{
    (void)state;
    const cot_tile tile = cot_tile_find(
        (cot_tile_spec){.type = COT_TILE_F32, .m = 32, .n = 64, .k = 64, .lda = 64, .ldb = 64, .ldc = 64});
    if (cot_cpu() == COT_CPU_REF) assert_null(tile.generated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f64),
        cmocka_unit_test(f32),
        cmocka_unit_test(bf16),
        cmocka_unit_test(bf16_narrow),
        cmocka_unit_test(generated_where_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
