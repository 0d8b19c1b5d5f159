/* Rotary frequencies against published numbers and against their formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base/rope.h"

static void near(double got, double want, double relative)
{
    if (!(fabs(got - want) <= relative * fabs(want))) fail_msg("%.12g, expected %.12g", got, want);
}

static void plain_and_linear(void **state)
{
    (void)state;
    const cot_rope_scaling none = {.rope_type = COT_ROPE_DEFAULT}, half = {.rope_type = COT_ROPE_LINEAR, .factor = 2};
    double f[4];
    near(cot_rope_frequencies(&none, 10000, 8, 5, f), 1, 0);
    for (int j = 0; j < 4; j++) near(f[j], (const double[]){1, 0.1, 0.01, 0.001}[j], 1e-15);
    near(cot_rope_frequencies(&half, 10000, 8, 5, f), 1, 0);
    for (int j = 0; j < 4; j++) near(f[j], (const double[]){0.5, 0.05, 0.005, 0.0005}[j], 1e-15);
}

/* Up to the trained length nothing changes; at L = 3 M with s = 2 the base is 10000 (2 * 3 - 1)^(8 / 6). */
static void dynamic(void **state)
{
    (void)state;
    const cot_rope_scaling s = {
        .rope_type = COT_ROPE_DYNAMIC, .factor = 2, .original_max_position_embeddings = 100};
    double f[4];
    near(cot_rope_frequencies(&s, 10000, 8, 100, f), 1, 0);
    near(f[3], 0.001, 1e-15);
    near(cot_rope_frequencies(&s, 10000, 8, 300, f), 1, 0);
    near(f[0], 1, 0);
    near(f[2], 1 / sqrt(10000 * pow(5, 8.0 / 6)), 1e-14);
}

/* DeepSeek-V2's setting: width 64, M 4096, factor 40. The ramp goes from pair 10 to pair 23. */
static void yarn(void **state)
{
    (void)state;
    cot_rope_scaling s = {.rope_type = COT_ROPE_YARN, .factor = 40, .original_max_position_embeddings = 4096,
                          .beta_fast = 32, .beta_slow = 1, .truncate = true};
    static const struct {
        int    pair;
        double want;
    } known[] = {{0, 1}, {1, 0.7498942093}, {9, 0.0749894209}, {10, 0.0562341325}, {11, 0.0390069266}, {16, 0.0055},
                 {22, 1.778279410e-4}, {23, 3.333803580e-5}, {31, 3.333803580e-6}};
    double f[32];
    near(cot_rope_frequencies(&s, 10000, 64, 1, f), 0.1 * log(40) + 1, 1e-15);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) near(f[known[i].pair], known[i].want, 1e-9);
    s.mscale = s.mscale_all_dim = 0.707;
    near(cot_rope_frequencies(&s, 10000, 64, 1, f), 1, 1e-15);
    s.mscale_all_dim = 1;
    near(cot_rope_frequencies(&s, 10000, 64, 1, f), (0.0707 * log(40) + 1) / (0.1 * log(40) + 1), 1e-14);
    s.attention_factor = 1.5;
    near(cot_rope_frequencies(&s, 10000, 64, 1, f), 1.5, 0);
    s.truncate = false;  /* borders at 10.47224 and 22.51344 */
    cot_rope_frequencies(&s, 10000, 64, 1, f);
    near(f[10], pow(10000, -20.0 / 64), 1e-15);
    const double ramp = (11 - 10.47224) / (22.51344 - 10.47224);
    near(f[11], pow(10000, -22.0 / 64) * (1 - ramp + ramp / 40), 1e-6);
}

/* Llama 3.1's setting: width 128, theta 500000, M 8192, factor 8, borders at wavelengths of 2048 and 8192. */
static void llama3(void **state)
{
    (void)state;
    const cot_rope_scaling s = {.rope_type = COT_ROPE_LLAMA3, .factor = 8, .original_max_position_embeddings = 8192,
                                .low_freq_factor = 1, .high_freq_factor = 4};
    double f[64];
    int    kinds[3] = {0, 0, 0};
    near(cot_rope_frequencies(&s, 500000, 128, 1, f), 1, 0);
    for (int j = 0; j < 64; j++) {
        const double before = pow(500000, -2.0 * j / 128), wavelength = 6.283185307179586 / before;
        const double r = (8192 / wavelength - 1) / 3;
        if (wavelength < 2048) near(f[j], before, 1e-14), kinds[0]++;
        else if (wavelength > 8192) near(f[j], before / 8, 1e-14), kinds[1]++;
        else near(f[j], (1 - r) * before / 8 + r * before, 1e-14), kinds[2]++;
    }
    assert_true(kinds[0] > 20 && kinds[1] > 20 && kinds[2] > 3);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const char *const faults[] = {"heads of 4 or wider for dynamic rotary positions",
                                         "beta_fast to be beta_slow or more, and both above 0",
                                         "high_freq_factor to be more than low_freq_factor, and both above 0"};
    cot_rope_scaling s = {.rope_type = COT_ROPE_DEFAULT};
    assert_null(cot_rope_fault(&s, 0, 2));
    s.rope_type = COT_ROPE_LINEAR;
    assert_string_equal(cot_rope_fault(&s, 10000, 8), "a factor from 1 on");
    s.factor = 2;
    assert_null(cot_rope_fault(&s, 10000, 8));
    assert_string_equal(cot_rope_fault(&s, 1, 8), "a rope_theta above 1 where rotary positions are scaled");
    for (int type = COT_ROPE_DYNAMIC; type < COT_ROPE_TYPES; type++) {
        s.rope_type = type;
        s.original_max_position_embeddings = 0;
        assert_string_equal(cot_rope_fault(&s, 10000, 8), "original_max_position_embeddings from 1 on");
        s.original_max_position_embeddings = 64;
        const char *fault = cot_rope_fault(&s, 10000, 2);
        assert_string_equal(fault, faults[type - COT_ROPE_DYNAMIC]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_linear), cmocka_unit_test(dynamic), cmocka_unit_test(yarn),
        cmocka_unit_test(llama3),           cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
