/* The operations that every layer uses: gradients by central differences in f64, and the f32 and bf16 modes against f64. */
#include "central_differences.h"

#include <string.h>

#include "ops/dropout.h"
#include "ops/embed.h"
#include "ops/gated_linear.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/output_loss.h"
#include "ops/residual.h"
#include "ops/weighted_sum.h"

enum { T = 5, D = 12, V = 7, F = 6 };

static const int32_t ids[T] = {3, 0, 6, 3, 1};
static const int32_t targets[T] = {1, -1, 6, 0, 3};

static cot_tensor *build_norm(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_rmsnorm(tape, in[0], in[1], 1e-5));
}

static cot_tensor *build_linear(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_linear(tape, in[0], in[1], in[2]));
}

static cot_tensor *build_linear_add(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_linear_add(tape, in[0], in[1], in[2]));
}

static cot_tensor *build_linear_real(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_linear_real(tape, in[0], in[1]));
}

static cot_tensor *build_embed(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_embed(tape, in[0], ids, T));
}

static cot_tensor *build_swiglu(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_swiglu(tape, in[0]));
}

static cot_tensor *build_dropout(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_dropout(tape, in[0], 0.3, COT_RNG_DROPOUT + 1));
}

static cot_tensor *build_add(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_add(tape, in[0], in[1]));
}

static cot_tensor *build_gated_add(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_gated_add(tape, in[0], in[1], in[2]));
}

static cot_tensor *build_loss(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return cot_output_loss(tape, in[0], in[1], targets, 0.25, NULL);
}

/* x + W2 swiglu(W1 norm(x)): x is used twice, its gradient comes along the residual and through the branch. */
static cot_tensor *build_block(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    cot_tensor *normed = cot_rmsnorm(tape, in[0], in[1], 1e-5);
    return probe(tape, cot_linear_add(tape, cot_swiglu(tape, cot_linear(tape, normed, in[2], NULL)), in[3], in[0]));
}

static void block_segment(cot_tape *tape, void *context, bool again, cot_tensor *in, cot_tensor *out[2])
{
    (void)again;
    cot_tensor *const *inputs = context;
    cot_tensor *normed = cot_rmsnorm(tape, in, inputs[1], 1e-5);
    out[0] = cot_linear_add(tape, cot_swiglu(tape, cot_linear(tape, normed, inputs[2], NULL)), inputs[3], in);
    out[1] = probe(tape, cot_dropout(tape, normed, 0.5, COT_RNG_DROPOUT));
}

static cot_tensor *build_recomputed(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    cot_tensor *out[2], **inputs = cot_tape_alloc(tape, 4 * sizeof *inputs);
    memcpy(inputs, in, 4 * sizeof *inputs);
    cot_tape_recompute(tape, block_segment, inputs, in[0], out);
    return cot_weighted_sum(tape, (cot_tensor *const[]){probe(tape, out[0]), out[1]}, (const double[]){1, 0.5}, 2);
}

static void gradients(void **state)
{
    (void)state;
    static const struct {
        const char      *name;
        difference_build build;
        int64_t          shape[4][2];
        bool             training;
    } cases[] = {
        {"rmsnorm", build_norm, {{T, D}, {1, D}}, false},
        {"linear with bias", build_linear, {{T, D}, {F, D}, {1, F}}, false},
        {"linear onto a residual", build_linear_add, {{T, D}, {F, D}, {T, F}}, false},
        {"linear in real", build_linear_real, {{T, D}, {F, D}}, false},
        {"embedding", build_embed, {{V, D}}, false},
        {"swiglu", build_swiglu, {{T, 2 * F}}, false},
        {"dropout", build_dropout, {{T, D}}, true},
        {"residual sum", build_add, {{T, D}, {T, D}}, false},
        {"gated sum", build_gated_add, {{T, D}, {T, 1}, {T, D}}, false},
        {"output loss", build_loss, {{T, D}, {V, D}}, false},
        {"feed-forward block", build_block, {{T, D}, {1, D}, {2 * F, D}, {D, F}}, false},
        {"recomputed block", build_recomputed, {{T, D}, {1, D}, {2 * F, D}, {D, F}}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static difference_case c;
        memset(&c, 0, sizeof c);
        c.training = cases[i].training;
        for (int n = 0; n < 4 && cases[i].shape[n][0]; n++) add_input(&c, cases[i].shape[n][0], cases[i].shape[n][1], 10 * i + (uint64_t)n);
        check_gradients(cases[i].name, &c, cases[i].build, NULL, 1e-6);
    }
}

/* The same block with and without recomputation, on an f32 and a bf16 tape: the same bits. */
static void recomputation_gives_the_same_bits(void **state)
{
    (void)state;
    for (cot_mode mode = COT_MODE_F32; mode <= COT_MODE_BF16; mode++) {
        static float input[T * D], weight[D], up[2 * F * D], down[D * F];
        for (int i = 0; i < T * D; i++) input[i] = (float)test_normal(1, (uint64_t)i);
        for (int i = 0; i < D; i++) weight[i] = (float)test_normal(2, (uint64_t)i);
        for (int i = 0; i < 2 * F * D; i++) up[i] = (float)test_normal(3, (uint64_t)i);
        for (int i = 0; i < D * F; i++) down[i] = (float)test_normal(4, (uint64_t)i);
        float gradient[2][T * D];
        for (int round = 0; round < 2; round++) {
            cot_tape *tape;
            assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
            cot_tape_reset(tape, true, true, 7, 3);
            cot_tensor *in[4] = {cot_tape_wrap(tape, COT_F32, 2, (const int64_t[]){T, D}, input, true), cot_tape_wrap(tape, COT_F32, 2, (const int64_t[]){1, D}, weight, true),
                                 cot_tape_wrap(tape, COT_F32, 2, (const int64_t[]){2 * F, D}, up, true), cot_tape_wrap(tape, COT_F32, 2, (const int64_t[]){D, F}, down, true)};
            cot_tensor *out[2] = {NULL, NULL};
            if (round == 0) block_segment(tape, in, false, in[0], out);
            else cot_tape_recompute(tape, block_segment, in, in[0], out);
            cot_tape_backward(tape, probe(tape, out[0]), 1);
            assert_int_equal(cot_tape_status(tape), COT_OK);
            memcpy(gradient[round], in[0]->grad, sizeof gradient[round]);
            cot_tape_destroy(tape);
        }
        assert_memory_equal(gradient[0], gradient[1], sizeof gradient[0]);
    }
}

/* Rounding: f32 keeps 24 bits and sums 12 terms of size about 1; bf16 keeps 8 bits of every operand. */
static void modes_agree(void **state)
{
    (void)state;
    static const double tolerance[COT_MODE_COUNT] = {0, 1e-5, 0.06};
    double want = 0;
    for (cot_mode mode = COT_MODE_F64; mode < COT_MODE_COUNT; mode++) {
        const cot_dtype real = cot_mode_real(mode);
        cot_tape *tape;
        assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
        cot_tape_reset(tape, false, false, 1, 1);
        cot_tensor *x = cot_tape_matrix(tape, real, T, D, false), *w = cot_tape_matrix(tape, real, 1, D, false), *head = cot_tape_matrix(tape, real, V, D, false);
        for (int64_t i = 0; i < T * D; i++) cot_value_set(x->data, real, i, test_normal(21, (uint64_t)i));
        for (int64_t i = 0; i < D; i++) cot_value_set(w->data, real, i, test_normal(22, (uint64_t)i));
        for (int64_t i = 0; i < V * D; i++) cot_value_set(head->data, real, i, test_normal(23, (uint64_t)i));
        const cot_tensor *loss = cot_output_loss(tape, cot_rmsnorm(tape, x, w, 1e-5), head, targets, 0.25, NULL);
        assert_int_equal(cot_tape_status(tape), COT_OK);
        const double got = cot_value_at(loss->data, loss->dtype, 0);
        if (mode == COT_MODE_F64) want = got;
        assert_true(fabs(got - want) <= tolerance[mode] * fabs(want));
        cot_tape_destroy(tape);
    }
}

/* -ln softmax by hand, a target of -1 counting for nothing; weights scale the sum. */
static void output_loss_by_hand(void **state)
{
    (void)state;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, false, false, 1, 1);
    double x[4] = {1, 0, 0, 1}, w[6] = {1, 0, 2, 0, 0, 3};
    const int32_t target[2] = {1, -1};
    cot_tensor *nll = NULL, *loss = cot_output_loss(tape, cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){2, 2}, x, false),
                                                    cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){3, 2}, w, false), target, 0.5, &nll);
    const double want = -(2 - log(exp(1) + exp(2) + 1));
    assert_true(fabs(*(double *)loss->data - 0.5 * want) < 1e-14);
    assert_true(fabs(((double *)nll->data)[0] - want) < 1e-14 && ((double *)nll->data)[1] == 0);
    cot_tape_destroy(tape);
}

static void dropout_keeps_the_mean(void **state)
{
    (void)state;
    enum { N = 200000 };
    static float ones[N];
    cot_tape *tape;
    double sum = 0;
    int64_t zeros = 0;
    for (int i = 0; i < N; i++) ones[i] = 1;
    assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
    cot_tape_reset(tape, false, true, 1, 1);
    cot_tensor *x = cot_tape_wrap(tape, COT_F32, 2, (const int64_t[]){N / 8, 8}, ones, false);
    const float *y = cot_dropout(tape, x, 0.25, COT_RNG_DROPOUT)->data;
    for (int i = 0; i < N; i++) sum += (double)y[i], zeros += y[i] == 0;
    assert_true(fabs(sum / N - 1) < 5 * sqrt(0.25 / 0.75 / N));     /* five standard errors */
    assert_true(fabs((double)zeros / N - 0.25) < 5 * sqrt(0.25 * 0.75 / N));
    cot_tape_reset(tape, false, false, 1, 1);
    assert_ptr_equal(cot_dropout(tape, x, 0.25, COT_RNG_DROPOUT), x);  /* nothing happens when not training */
    cot_tape_destroy(tape);
}

static void bad_input_fails_once(void **state)
{
    (void)state;
    cot_tape *tape;
    double table[4] = {1, 2, 3, 4}, wide[6] = {0};
    const int32_t bad[1] = {2};
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, true, false, 1, 1);
    cot_embed(tape, cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){2, 2}, table, true), bad, 1);
    assert_int_equal(cot_tape_status(tape), COT_INVALID);
    assert_non_null(strstr(cot_last_error(), "id 2, expected 0 to 1"));
    cot_tape_reset(tape, true, false, 1, 1);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    cot_linear(tape, cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){2, 3}, wide, true), cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){2, 2}, table, true), NULL);
    assert_int_equal(cot_tape_status(tape), COT_SHAPE_MISMATCH);
    cot_tape_destroy(tape);
}

/* A NaN is blamed on the place where it first appears. */
static void the_first_value_that_is_not_finite_is_named(void **state)
{
    (void)state;
    cot_tape *tape;
    double x[2] = {1, NAN}, w[2] = {1, 1};
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, true, false, 1, 1);
    cot_tape_check_finite(tape, true);
    cot_tape_enter(tape, "layers.3.ffn");
    cot_rmsnorm(tape, cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){1, 2}, x, true), cot_tape_wrap(tape, COT_F64, 1, (const int64_t[]){2}, w, true), 1e-5);
    assert_int_equal(cot_tape_status(tape), COT_NOT_FINITE);
    assert_non_null(strstr(cot_last_error(), "layers.3.ffn"));
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
        cmocka_unit_test(recomputation_gives_the_same_bits),
        cmocka_unit_test(modes_agree),
        cmocka_unit_test(output_loss_by_hand),
        cmocka_unit_test(dropout_keeps_the_mean),
        cmocka_unit_test(bad_input_fails_once),
        cmocka_unit_test(the_first_value_that_is_not_finite_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
