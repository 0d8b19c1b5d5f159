/* Operations under routers and balance rules: gradients against central differences (f64, 1e-6), hand-worked values,
 * masks, other modes, and the same bits for one and two threads. */
#include "ops/central_differences.h"

#include <string.h>

#include <coterie/runtime.h>

#include "ops/cv_squared.h"
#include "ops/expert_sum.h"
#include "ops/fraction_probability.h"
#include "ops/gate.h"
#include "ops/jitter.h"
#include "ops/noise.h"
#include "ops/round_bf16.h"
#include "ops/router_linear.h"
#include "ops/smooth_load.h"
#include "ops/softmax.h"
#include "ops/square_lse.h"
#include "ops/top_k_rows.h"
#include "ops/weighted_sum.h"

static const double tolerance = 1e-6;

/* ---- gradients ---- */

static cot_tensor *build_softmax(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_softmax(tape, in[0]));
}

static void softmax_gradient(void **state)
{
    (void)state;
    difference_case c = {0};
    add_input(&c, 70, 5, 1);
    check_gradients("softmax", &c, build_softmax, NULL, tolerance);
    for (int t = 0; t < 70; t++) c.value[0][5 * t + t % 5] = -INFINITY;
    check_gradients("softmax, masked", &c, build_softmax, NULL, tolerance);
}

/* chosen [2]: k and whether the gate is the raw probability. */
static cot_tensor *build_gate(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    const int64_t k = ((const int64_t *)context)[0];
    const bool raw = ((const int64_t *)context)[1];
    int32_t *chosen = cot_tape_alloc(tape, (size_t)(cot_tensor_rows(in[0]) * k) * sizeof *chosen);
    cot_top_k_rows(tape, in[0], k, chosen);
    cot_tensor *gate = raw ? cot_gate_gather(tape, cot_softmax(tape, in[0]), chosen, k)
                           : cot_gate_softmax(tape, in[0], chosen, k);
    return probe(tape, gate);
}

/* Moves logits so that neighbours in rank are at least 0.05 apart: no choice changes under a step. */
static void keep_apart(double *h, int64_t rows, int64_t columns)
{
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < columns; i++) h[t * columns + i] = round(h[t * columns + i] * 8) / 8 + 0.01 * (double)i;
}

static void gate_gradients(void **state)
{
    (void)state;
    const int64_t variants[][2] = {{1, 0}, {2, 0}, {6, 0}, {1, 1}, {2, 1}, {6, 1}};
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        difference_case c = {0};
        add_input(&c, 67, 6, 2 + v);
        keep_apart(c.value[0], 67, 6);
        check_gradients("gate", &c, build_gate, variants[v], tolerance);
    }
}

static cot_tensor *build_noise(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    return probe(tape, cot_add_noise(tape, in[0], cot_softplus(tape, in[1], 0.01), context));
}

static void noise_gradient(void **state)
{
    (void)state;
    difference_case c = {0};
    double noise[21];
    add_input(&c, 7, 3, 10);
    add_input(&c, 7, 3, 11);
    c.value[1][0] = 40, c.value[1][1] = -40;
    for (int i = 0; i < 21; i++) noise[i] = test_normal(12, (uint64_t)i);
    check_gradients("noise", &c, build_noise, noise, tolerance);
}

static cot_tensor *build_importance(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    return cot_cv_squared(tape, cot_expert_sum(tape, in[0], context, 4), 0.7);
}

static void importance_gradient(void **state)
{
    (void)state;
    const int32_t expert[] = {0, 1, 1, 3, 0, 2, 2, 2, 1};
    difference_case c = {0};
    add_input(&c, 9, 1, 13);
    for (int i = 0; i < 9; i++) c.value[0][i] = fabs(c.value[0][i]) + 0.1;
    check_gradients("importance", &c, build_importance, expert, tolerance);
}

static cot_tensor *build_load(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    const cot_smooth_load_options *options = context;
    const int64_t count = cot_tensor_count(in[0]);
    double *noise = cot_tape_alloc(tape, (size_t)count * sizeof *noise);
    for (int64_t i = 0; i < count; i++) noise[i] = test_normal(14, (uint64_t)i);
    cot_tensor *std = cot_softplus(tape, in[1], 0.01), *noisy = cot_add_noise(tape, in[0], std, noise);
    return cot_cv_squared(tape, cot_smooth_load(tape, in[0], noisy, std, options), 1);
}

/* Without a gradient through the threshold differences see another function: A2 in the router tests holds that
 * variant. */
static void load_gradient(void **state)
{
    (void)state;
    const cot_threshold thresholds[] = {COT_THRESHOLD_EXCLUDING, COT_THRESHOLD_KTH};
    for (int64_t k = 1; k <= 5; k++)
        for (int v = 0; v < 2; v++) {
            const cot_smooth_load_options options = {k, thresholds[v], true};
            difference_case c = {0};
            add_input(&c, 130, 5, 15);
            add_input(&c, 130, 5, 16);
            for (int t = 0; t < 130; t += 7) c.value[0][5 * t + t % 5] = -INFINITY;
            check_gradients(v ? "load, kth" : "load, excluding", &c, build_load, &options, tolerance);
        }
}

static cot_tensor *build_aux(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    return cot_fraction_probability(tape, cot_softmax(tape, in[0]), 0, NULL, context, 4);
}

static void aux_gradient(void **state)
{
    (void)state;
    const double fraction[] = {0.5, 0.25, 0.25, 0};
    difference_case c = {0};
    add_input(&c, 133, 4, 17);
    check_gradients("fraction x probability", &c, build_aux, fraction, tolerance);
}

static cot_tensor *build_square(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return cot_square_lse(tape, in[0], 0.3);
}

static void square_lse_gradient(void **state)
{
    (void)state;
    difference_case c = {0};
    add_input(&c, 66, 3, 18);
    for (int i = 0; i < 3; i++) c.value[0][i] = -INFINITY;  /* a token without experts adds nothing */
    c.value[0][4] = -INFINITY;
    check_gradients("square lse", &c, build_square, NULL, tolerance);
}

static cot_tensor *build_sum(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    cot_tensor *const terms[] = {probe(tape, in[0]), cot_cv_squared(tape, in[0], 1), probe(tape, in[0])};
    return cot_weighted_sum(tape, terms, (const double[]){0.5, 2, -3}, 3);
}

static void weighted_sum_gradient(void **state)
{
    (void)state;
    difference_case c = {0};
    add_input(&c, 5, 1, 19);
    check_gradients("weighted sum", &c, build_sum, NULL, tolerance);
}

static cot_tensor *build_jitter(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_jitter(tape, in[0], 0.2, COT_RNG_JITTER + 3));
}

static void jitter_gradient(void **state)
{
    (void)state;
    difference_case c = {.training = true};
    add_input(&c, 37, 3, 20);
    check_gradients("jitter", &c, build_jitter, NULL, tolerance);
}

static cot_tensor *build_linear(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_router_linear(tape, in[0], in[1]));
}

static void router_linear_gradient(void **state)
{
    (void)state;
    const int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 2}, {130, 7, 3}, {64, 64, 8}, {65, 63, 5}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        difference_case c = {0};
        if (sizes[i][0] * sizes[i][1] > DIFFERENCE_ELEMENTS) continue;
        add_input(&c, sizes[i][0], sizes[i][1], 21);
        add_input(&c, sizes[i][2], sizes[i][1], 22);
        check_gradients("router linear", &c, build_linear, NULL, tolerance);
    }
}

/* ---- hand-worked values ---- */

static cot_tape *f64_tape(bool training)
{
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, true, training, 1, 0);
    return tape;
}

static cot_tensor *wrap(cot_tape *tape, double *data, int64_t rows, int64_t columns)
{
    return cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){rows, columns}, data, true);
}

static void near_all(const void *got, const double *want, int64_t count, double allowed)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(((const double *)got)[i] - want[i]) <= allowed))
            fail_msg("[%lld] is %.9f, expected %.9f", (long long)i, ((const double *)got)[i], want[i]);
}

static void cv_of_four_one_one(void **state)
{
    (void)state;
    cot_tape *tape = f64_tape(false);
    double v[] = {4, 2, 1, 1}, equal[] = {3, 3, 3}, none[] = {0, 0, 0}, one[] = {5};
    cot_tensor *x = wrap(tape, v, 4, 1), *cv = cot_cv_squared(tape, x, 1);
    cot_tape_backward(tape, cv, 1);
    near_all(cv->data, (const double[]){0.375}, 1, 1e-9);
    near_all(x->grad, (const double[]){0.15625, -0.09375, -0.21875, -0.21875}, 4, 1e-9);
    double scale_invariance = 0;
    for (int i = 0; i < 4; i++) scale_invariance += v[i] * ((const double *)x->grad)[i];
    assert_true(fabs(scale_invariance) < 1e-9);
    double *const cases[] = {equal, none, one};
    for (int i = 0; i < 3; i++) {
        cot_tensor *y = wrap(tape, cases[i], i == 2 ? 1 : 3, 1), *zero = cot_cv_squared(tape, y, 1);
        cot_tape_backward(tape, zero, 1);
        near_all(zero->data, (const double[]){0}, 1, 0);
        near_all(y->grad, (const double[]){0, 0, 0}, i == 2 ? 1 : 3, 0);
    }
    cot_tape_destroy(tape);
}

/* Logits (1, .2, -.5, .7), top 2 = {0, 3}, gate gradients (.3, -.1). */
static void gates_of_two_out_of_four(void **state)
{
    (void)state;
    const double want[2][2] = {{0.574443, 0.425557}, {0.414374, 0.306976}};
    const double slope[2][4] = {{0.097783, 0, 0, -0.097783}, {0.085521, -0.017430, -0.008656, -0.059435}};
    for (int raw = 0; raw < 2; raw++) {
        cot_tape *tape = f64_tape(false);
        double h[] = {1, 0.2, -0.5, 0.7};
        int32_t chosen[2];
        cot_tensor *x = wrap(tape, h, 1, 4);
        cot_top_k_rows(tape, x, 2, chosen);
        assert_int_equal(chosen[0], 0);
        assert_int_equal(chosen[1], 3);
        cot_tensor *gate = raw ? cot_gate_gather(tape, cot_softmax(tape, x), chosen, 2)
                               : cot_gate_softmax(tape, x, chosen, 2);
        near_all(gate->data, want[raw], 2, 1e-6);
        bool add = false;
        double *dgate = cot_tape_grad(tape, gate, &add);
        dgate[0] = 0.3, dgate[1] = -0.1;  /* as if it had come from a loss */
        double zero[] = {0};
        cot_tensor *nothing = cot_weighted_sum(tape, (cot_tensor *[]){wrap(tape, zero, 1, 1)}, NULL, 1);
        cot_tape_backward(tape, nothing, 1);
        near_all(x->grad, slope[raw], 4, 1e-6);
        cot_tape_destroy(tape);
    }
}

static void square_lse_of_one_two_three(void **state)
{
    (void)state;
    cot_tape *tape = f64_tape(false);
    double h[] = {1, 2, 3};
    cot_tensor *x = wrap(tape, h, 1, 3), *loss = cot_square_lse(tape, x, 1);
    cot_tape_backward(tape, loss, 1);
    near_all(loss->data, (const double[]){11.611778}, 1, 1e-6);
    near_all(x->grad, (const double[]){0.613577, 1.667876, 4.533758}, 3, 1e-6);
    cot_tape_destroy(tape);
}

/* The mean over noise of the sum of P is k, whatever the logits: 4000 draws of the sum, whose spread is below 1. */
static void smooth_load_sums_to_k_on_average(void **state)
{
    (void)state;
    enum { DRAWS = 4000, E = 4 };
    cot_tape *tape = f64_tape(false);
    double *clean = cot_tape_alloc(tape, sizeof(double[DRAWS * E]));
    double *raw = cot_tape_alloc(tape, sizeof(double[DRAWS * E]));
    double *noise = cot_tape_alloc(tape, sizeof(double[DRAWS * E]));
    for (int i = 0; i < DRAWS * E; i++) {
        clean[i] = (const double[]){0.5, 0.2, -0.1, 0}[i % E];
        raw[i] = (const double[]){0, 0.5, -0.5, 1}[i % E];
        noise[i] = test_normal(31, (uint64_t)i);
    }
    cot_tensor *c = wrap(tape, clean, DRAWS, E), *std = cot_softplus(tape, wrap(tape, raw, DRAWS, E), 0.01);
    const cot_smooth_load_options options = {2, COT_THRESHOLD_EXCLUDING, true};
    cot_tensor *load = cot_smooth_load(tape, c, cot_add_noise(tape, c, std, noise), std, &options);
    double sum = 0;
    for (int i = 0; i < E; i++) sum += ((const double *)load->data)[i] / DRAWS;
    assert_true(fabs(sum - 2) < 4 / sqrt(DRAWS));
    cot_tape_destroy(tape);
}

static void everyone_chosen_is_a_hard_count(void **state)
{
    (void)state;
    cot_tape *tape = f64_tape(false);
    double h[] = {1, 2, 3, 4, 5, 6}, s[] = {1, 1, 1, 1, 1, 1};
    cot_tensor *x = wrap(tape, h, 2, 3), *std = wrap(tape, s, 2, 3);
    const cot_smooth_load_options options = {3, COT_THRESHOLD_KTH, true};
    cot_tensor *load = cot_smooth_load(tape, x, x, std, &options);
    near_all(load->data, (const double[]){2, 2, 2}, 3, 0);
    assert_false(load->needs_grad);
    cot_tape_destroy(tape);
}

static void jitter_stays_in_its_band(void **state)
{
    (void)state;
    enum { N = 10000 };
    double *ones = calloc(N, sizeof *ones), sum = 0;
    for (int i = 0; i < N; i++) ones[i] = 1;
    cot_tape *tape = f64_tape(true);
    cot_tensor *x = wrap(tape, ones, N, 1);
    const double *u = cot_jitter(tape, x, 0.1, COT_RNG_JITTER)->data;
    for (int i = 0; i < N; i++) {
        assert_true(u[i] >= 0.9 && u[i] <= 1.1);
        sum += u[i];
    }
    assert_true(fabs(sum / N - 1) < 4 * 0.1 / sqrt(3.0 * N));  /* four standard errors */
    assert_ptr_equal(cot_jitter(tape, x, 0, COT_RNG_JITTER), x);
    cot_tape_reset(tape, true, false, 1, 0);
    x = wrap(tape, ones, N, 1);
    assert_ptr_equal(cot_jitter(tape, x, 0.1, COT_RNG_JITTER), x);
    cot_tape_destroy(tape);
    free(ones);
}

static void rounding_passes_gradients(void **state)
{
    (void)state;
    cot_tape *tape = f64_tape(false);
    double v[] = {1.0, 1.00390625, 1.001};  /* bf16 has 8 bits: 1 + 2^-8 is a tie and goes to even */
    cot_tensor *x = wrap(tape, v, 3, 1), *y = cot_round_bf16(tape, x);
    near_all(y->data, (const double[]){1, 1, 1}, 3, 0);
    cot_tape_backward(tape, probe(tape, y), 1);
    near_all(x->grad, (const double[]){probe_weight(0), probe_weight(1), probe_weight(2)}, 3, 0);
    cot_tape_destroy(tape);
}

static void logits_that_are_not_finite_fail(void **state)
{
    (void)state;
    const double bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        cot_tape *tape = f64_tape(false);
        double h[] = {0, bad[i], 1};
        int32_t chosen[1];
        cot_tape_enter(tape, "layers.2.ffn");
        cot_top_k_rows(tape, wrap(tape, h, 1, 3), 1, chosen);
        assert_int_equal(cot_tape_status(tape), COT_NOT_FINITE);
        assert_string_equal(cot_last_error(), "layers.2.ffn: 1 of 3 router logits are NaN or infinite");
        cot_tape_destroy(tape);
    }
}

static void fully_masked_rows_are_zero(void **state)
{
    (void)state;
    cot_tape *tape = f64_tape(false);
    double h[] = {-INFINITY, -INFINITY, -INFINITY};
    int32_t chosen[2];
    cot_tensor *x = wrap(tape, h, 1, 3), *p = cot_softmax(tape, x);
    near_all(p->data, (const double[]){0, 0, 0}, 3, 0);
    cot_top_k_rows(tape, x, 2, chosen);
    assert_true(chosen[0] == 0 && chosen[1] == 1);
    cot_tensor *gate = cot_gate_softmax(tape, x, chosen, 2);
    near_all(gate->data, (const double[]){0, 0}, 2, 0);
    cot_tape_backward(tape, probe(tape, gate), 1);
    near_all(x->grad, (const double[]){0, 0, 0}, 3, 0);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    cot_tape_destroy(tape);
}

/* ---- the router's product in the other modes, and threads ---- */

enum { ROWS = 200, WIDTH = 96, EXPERTS = 6 };

typedef struct {
    float logits[ROWS * EXPERTS], dw[EXPERTS * WIDTH];
    double dx[ROWS * WIDTH];
} product;

/* Exact in bf16, so the same in both modes. */
static double product_input(int i)
{
    return (double)cot_bf16_to_f32(cot_f32_to_bf16((float)test_normal(40, (uint64_t)i)));
}

static void run_product(cot_mode mode, product *out)
{
    cot_tape *tape;
    const cot_dtype act = cot_mode_act(mode);
    assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
    cot_tape_reset(tape, true, true, 1, 0);
    cot_tensor *x = cot_tape_matrix(tape, act, ROWS, WIDTH, true);
    cot_tensor *w = cot_tape_matrix(tape, COT_F32, EXPERTS, WIDTH, true);
    for (int i = 0; i < ROWS * WIDTH; i++)
        cot_value_set(x->data, act, i, product_input(i));
    for (int i = 0; i < EXPERTS * WIDTH; i++) cot_value_set(w->data, COT_F32, i, test_normal(41, (uint64_t)i));
    cot_tensor *first = probe(tape, cot_router_linear(tape, x, w));  /* twice: gradients accumulate */
    cot_tensor *logits = cot_router_linear(tape, x, w);
    cot_tensor *total = cot_weighted_sum(tape, (cot_tensor *[]){first, probe(tape, logits)}, (const double[]){1, 2}, 2);
    memcpy(out->logits, logits->data, sizeof out->logits);
    cot_tape_backward(tape, total, 1);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    memcpy(out->dw, w->grad, sizeof out->dw);
    for (int i = 0; i < ROWS * WIDTH; i++) out->dx[i] = cot_value_at(x->grad, act, i);
    cot_tape_destroy(tape);
}

/* Sums of WIDTH, ROWS and EXPERTS products of normal numbers, f32 rounding each time; dx of the bf16 mode is stored in
 * bf16. */
static void router_linear_is_f32_even_in_bf16_mode(void **state)
{
    (void)state;
    static product narrow, wide;
    run_product(COT_MODE_BF16, &narrow);
    run_product(COT_MODE_F32, &wide);
    for (int i = 0; i < ROWS * EXPERTS; i++) {
        double exact = 0;
        const int r = i / EXPERTS, e = i % EXPERTS;
        for (int d = 0; d < WIDTH; d++)
            exact += product_input(r * WIDTH + d) * (double)(float)test_normal(41, (uint64_t)(e * WIDTH + d));
        assert_true(fabs((double)narrow.logits[i] - exact) < 1e-4);
        assert_true(fabs((double)wide.logits[i] - exact) < 1e-4);
    }
    for (int i = 0; i < EXPERTS * WIDTH; i++) assert_true(fabsf(narrow.dw[i] - wide.dw[i]) < 2e-4f);
    for (int i = 0; i < ROWS * WIDTH; i++)
        assert_true(fabs(narrow.dx[i] - wide.dx[i]) < 0.02 * fmax(1, fabs(wide.dx[i])));
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    static product one, two;
    const cot_mode modes[] = {COT_MODE_F32, COT_MODE_BF16};
    for (int m = 0; m < 2; m++) {
        assert_int_equal(cot_set_threads(1), COT_OK);
        run_product(modes[m], &one);
        assert_int_equal(cot_set_threads(2), COT_OK);
        run_product(modes[m], &two);
        assert_memory_equal(&one, &two, sizeof one);
    }
}

static void losses_do_not_depend_on_threads(void **state)
{
    (void)state;
    double value[2], slope[2];
    for (int threads = 1; threads <= 2; threads++) {
        cot_tape *tape;
        assert_int_equal(cot_set_threads(threads), COT_OK);
        assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
        cot_tape_reset(tape, true, true, 1, 0);
        cot_tensor *h = cot_tape_matrix(tape, COT_F32, 1000, 7, true);
        cot_tensor *raw = cot_tape_matrix(tape, COT_F32, 1000, 7, true);
        float *noise = cot_tape_alloc(tape, sizeof(float[7000]));
        for (int i = 0; i < 7000; i++) {
            cot_value_set(h->data, COT_F32, i, test_normal(50, (uint64_t)i));
            cot_value_set(raw->data, COT_F32, i, test_normal(51, (uint64_t)i));
            noise[i] = (float)test_normal(52, (uint64_t)i);
        }
        cot_tensor *std = cot_softplus(tape, raw, 0.01), *noisy = cot_add_noise(tape, h, std, noise);
        const cot_smooth_load_options options = {2, COT_THRESHOLD_EXCLUDING, true};
        cot_tensor *terms[] = {cot_cv_squared(tape, cot_smooth_load(tape, h, noisy, std, &options), 1),
                               cot_square_lse(tape, h, 1),
                               cot_fraction_probability(tape, cot_softmax(tape, h), 0, NULL,
                                                        (const double[]){0.1, 0.2, 0.3, 0, 0, 0.1, 0.3}, 7)};
        cot_tensor *total = cot_weighted_sum(tape, terms, NULL, 3);
        value[threads - 1] = cot_value_at(total->data, COT_F32, 0);
        cot_tape_backward(tape, total, 1);
        double sum = 0;
        for (int i = 0; i < 7000; i++) sum = sum * 0.999 + cot_value_at(h->grad, COT_F32, i);
        slope[threads - 1] = sum;
        assert_int_equal(cot_tape_status(tape), COT_OK);
        cot_tape_destroy(tape);
    }
    assert_true(value[0] == value[1] && slope[0] == slope[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_gradient),
        cmocka_unit_test(gate_gradients),
        cmocka_unit_test(noise_gradient),
        cmocka_unit_test(importance_gradient),
        cmocka_unit_test(load_gradient),
        cmocka_unit_test(aux_gradient),
        cmocka_unit_test(square_lse_gradient),
        cmocka_unit_test(weighted_sum_gradient),
        cmocka_unit_test(jitter_gradient),
        cmocka_unit_test(router_linear_gradient),
        cmocka_unit_test(cv_of_four_one_one),
        cmocka_unit_test(gates_of_two_out_of_four),
        cmocka_unit_test(square_lse_of_one_two_three),
        cmocka_unit_test(smooth_load_sums_to_k_on_average),
        cmocka_unit_test(everyone_chosen_is_a_hard_count),
        cmocka_unit_test(jitter_stays_in_its_band),
        cmocka_unit_test(rounding_passes_gradients),
        cmocka_unit_test(logits_that_are_not_finite_fail),
        cmocka_unit_test(fully_masked_rows_are_zero),
        cmocka_unit_test(router_linear_is_f32_even_in_bf16_mode),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(losses_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
