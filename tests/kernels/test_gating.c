/* Gating kernels of this machine against plain f64 loops, in every mode, around vector widths; ties, masks and what is
 * not a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/gating/gating.h"
#include "ops/values.h"

enum { ROWS = 9, WIDEST = 70 };

static const int64_t widths[] = {1, 2, 7, 8, 9, 15, 16, 17, 33, 64, 70};
enum { WIDTHS = sizeof widths / sizeof *widths };

typedef struct {
    cot_mode  mode;
    cot_dtype real;
    int64_t   e;
    double    h[ROWS * WIDEST];  /* exactly as the real type holds it */
    double    raw[ROWS * WIDEST];
} sample;

static sample make(cot_mode mode, int64_t e)
{
    sample s = {.mode = mode, .real = cot_mode_real(mode), .e = e};
    for (int64_t i = 0; i < ROWS * e; i++) {
        double v = 3 * cot_rng_normal((cot_rng_key){.seed = 3, .stream = COT_RNG_TEST}, (uint64_t)i);
        if (i % 11 == 5) v = -INFINITY;
        if (i / e == 3) v = 80 - (double)(i % e);  /* large logits */
        if (i / e == 4) v = -INFINITY;             /* no expert at all */
        cot_value_set(s.raw, s.real, i, v);
        s.h[i] = cot_value_at(s.raw, s.real, i);
    }
    return s;
}

static double row_lse(const double *h, int64_t e)
{
    double m = -INFINITY, sum = 0;
    for (int64_t i = 0; i < e; i++) m = fmax(m, h[i]);
    for (int64_t i = 0; i < e && m > -INFINITY; i++) sum += exp(h[i] - m);
    return m > -INFINITY ? m + log(sum) : -INFINITY;
}

static double want_p(const sample *s, int64_t r, int64_t i)
{
    const double lse = row_lse(s->h + r * s->e, s->e);
    return lse > -INFINITY ? exp(s->h[r * s->e + i] - lse) : 0;
}

/* exp within 4 ulp, sums of at most 70 positive terms, one division; in f64 the reference's own exp(h - lse) loses 80
 * ulp. */
static double allowed(const sample *s) { return s->real == COT_F64 ? 1e-13 : 2e-6; }

static void near(double got, double want, double tolerance, const char *what)
{
    if (!(fabs(got - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s is %.10g, expected %.10g", what, got, want);
}

static void softmax_matches(const sample *s)
{
    const cot_gating_kernels *k = cot_gating_kernels_for(s->mode);
    double p[ROWS * WIDEST], sums[WIDEST] = {0}, want_sums[WIDEST] = {0}, entropy = 0;
    k->softmax(0, ROWS, s->e, s->raw, p);
    for (int64_t i = 0; i < ROWS * s->e; i++) {
        const double want = want_p(s, i / s->e, i % s->e), got = cot_value_at(p, s->real, i);
        near(got, want, allowed(s), "p");
        if (!(s->h[i] > -INFINITY)) assert_true(got == 0);
        want_sums[i % s->e] += got;
        entropy -= want > 0 ? want * log(want) : 0;
    }
    k->column_sum(0, ROWS, s->e, p, sums);
    for (int64_t i = 0; i < s->e; i++) near(sums[i], want_sums[i], 1e-12, "column sum");
    near(k->entropy(0, ROWS, s->e, s->raw, p), entropy, 10 * allowed(s), "entropy");
}

static void backward_matches(const sample *s, bool accumulate)
{
    const cot_gating_kernels *k = cot_gating_kernels_for(s->mode);
    double p[ROWS * WIDEST], dp[ROWS * WIDEST], dh[ROWS * WIDEST], lse[ROWS], dz[ROWS * WIDEST];
    k->softmax(0, ROWS, s->e, s->raw, p);
    k->log_sum_exp(0, ROWS, s->e, s->raw, lse);
    for (int64_t i = 0; i < ROWS * s->e; i++) {
        cot_value_set(dp, s->real, i, cot_rng_normal((cot_rng_key){.seed = 4, .stream = COT_RNG_TEST}, (uint64_t)i));
        cot_value_set(dh, s->real, i, accumulate ? 1 : NAN);
        cot_value_set(dz, s->real, i, accumulate ? 1 : NAN);
    }
    k->softmax_backward(0, ROWS, s->e, p, dp, dh, accumulate);
    k->z_backward(0, ROWS, s->e, 0.5, s->raw, lse, dz, accumulate);
    for (int64_t r = 0; r < ROWS; r++) {
        const double want_lse = row_lse(s->h + r * s->e, s->e), got_lse = cot_value_at(lse, s->real, r);
        if (want_lse > -INFINITY) near(got_lse, want_lse, allowed(s), "lse");
        else assert_true(got_lse == -INFINITY);
        double mean = 0;
        for (int64_t i = 0; i < s->e; i++) mean += want_p(s, r, i) * cot_value_at(dp, s->real, r * s->e + i);
        for (int64_t i = 0; i < s->e; i++) {
            const int64_t at = r * s->e + i;
            const double start = accumulate ? 1 : 0, pull = want_lse > -INFINITY ? 0.5 * want_lse * want_p(s, r, i) : 0;
            near(cot_value_at(dh, s->real, at), start + want_p(s, r, i) * (cot_value_at(dp, s->real, at) - mean),
                 10 * allowed(s), "dh");
            near(cot_value_at(dz, s->real, at), start + pull, 10 * allowed(s), "dz");
        }
    }
}

static void every_mode_and_width(void **state)
{
    (void)state;
    for (int mode = 0; mode < COT_MODE_COUNT; mode++)
        for (int w = 0; w < WIDTHS; w++) {
            const sample s = make((cot_mode)mode, widths[w]);
            softmax_matches(&s);
            backward_matches(&s, false);
            backward_matches(&s, true);
        }
}

/* The slow rule: value descending, then index ascending. */
static void best(const double *h, int64_t e, int64_t k, int32_t *out)
{
    bool taken[WIDEST] = {false};
    for (int64_t j = 0; j < k; j++) {
        int64_t top = -1;
        for (int64_t i = 0; i < e; i++)
            if (!taken[i] && (top < 0 || h[i] > h[top])) top = i;
        taken[top] = true;
        out[j] = (int32_t)top;
    }
}

static void top_k_ranks_by_value_then_index(void **state)
{
    (void)state;
    for (int mode = 0; mode < COT_MODE_COUNT; mode++)
        for (int w = 0; w < WIDTHS; w++)
            for (int64_t k = 1; k <= widths[w]; k += 1 + k / 3) {
                sample s = make((cot_mode)mode, widths[w]);
                for (int64_t i = 0; i < ROWS * s.e; i++) {  /* few values, many ties */
                    s.h[i] = i % 11 == 5 ? -INFINITY : floor(s.h[i] / 4);
                    cot_value_set(s.raw, s.real, i, s.h[i]);
                }
                int32_t got[ROWS * WIDEST], want[WIDEST];
                assert_int_equal(cot_gating_kernels_for(s.mode)->top_k(0, ROWS, s.e, k, s.raw, got), 0);
                for (int64_t r = 0; r < ROWS; r++) {
                    best(s.h + r * s.e, s.e, k, want);
                    assert_memory_equal(got + r * k, want, (size_t)k * sizeof *want);
                }
            }
}

static void top_k_counts_what_is_not_finite(void **state)
{
    (void)state;
    const double h[] = {NAN, 1, -INFINITY, NAN, INFINITY, 2};
    int32_t chosen[6];
    assert_int_equal(cot_gating_kernels_for(COT_MODE_F64)->top_k(0, 1, 6, 6, h, chosen), 3);
    const int32_t want[] = {4, 5, 1, 0, 2, 3};  /* NaN never wins: it ranks as minus infinity */
    assert_memory_equal(chosen, want, sizeof want);
}

/* Sums of at most 70 products of numbers near 1: an ulp of the sum of magnitudes for each. */
static void scores_of_one_token(void **state)
{
    (void)state;
    double w[ROWS * WIDEST], x[WIDEST], h[ROWS];
    for (int mode = 0; mode < COT_MODE_COUNT; mode++)
        for (size_t i = 0; i < WIDTHS; i++) {
            const cot_dtype real = cot_mode_real((cot_mode)mode);
            const int64_t d = widths[i];
            for (int64_t j = 0; j < ROWS * d; j++) cot_value_set(w, real, j, sin((double)j));
            for (int64_t j = 0; j < d; j++) cot_value_set(x, real, j, cos((double)j));
            cot_gating_kernels_for((cot_mode)mode)->score(1, ROWS, d, w, x, h);
            for (int64_t e = 1; e < ROWS; e++) {
                double sum = 0, size = 0;
                for (int64_t j = 0; j < d; j++) {
                    const double term = cot_value_at(w, real, e * d + j) * cot_value_at(x, real, j);
                    sum += term;
                    size += fabs(term);
                }
                const double ulp = real == COT_F64 ? 0x1p-52 : 0x1p-23;
                assert_true(fabs(cot_value_at(h, real, e) - sum) <= (double)d * ulp * size);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_and_width),
        cmocka_unit_test(top_k_ranks_by_value_then_index),
        cmocka_unit_test(top_k_counts_what_is_not_finite),
        cmocka_unit_test(scores_of_one_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
