/* The public sparse layer: its forward against the formula worked out from its own parameters, its gradients against
 * differences, bad input, short memory, a steady state without allocations, the same bits on any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <coterie/runtime.h>
#include <coterie/sparse_layer.h>

#include "base/memory.h"
#include "base/rng.h"

enum { T = 13, D = 6, E = 3, F = 5, K = 2 };

static const char spec_text[] = "{kind: sparse, router: {kind: top_k, top_k: 2}, "
                                "experts: {kind: ffn, num_experts: 3, intermediate_size: 5}, "
                                "shared: {intermediate_size: 4, gate: sigmoid}, "
                                "balance: [{kind: aux, coef: 0.5}, {kind: z_loss, coef: 0.25}]}";

static cot_sparse_layer *make(const char *text, int64_t hidden_size)
{
    cot_config *spec;
    cot_sparse_layer *layer;
    assert_int_equal(cot_config_parse(text, "test", &spec), COT_OK);
    assert_int_equal(cot_sparse_layer_create(spec, hidden_size, 3, &layer), COT_OK);
    cot_config_destroy(spec);  /* it was copied */
    return layer;
}

static void fill(float *x, int count, uint32_t stream)
{
    const cot_rng_key key = {.seed = 5, .stream = COT_RNG_TEST + stream};
    for (int i = 0; i < count; i++) x[i] = (float)cot_rng_normal(key, (uint64_t)i);
}

static cot_sparse_layer_parameter parameter(cot_sparse_layer *layer, const char *name)
{
    cot_sparse_layer_parameter p;
    for (size_t i = 0; cot_sparse_layer_parameter_at(layer, i, &p); i++)
        if (strcmp(p.name, name) == 0) return p;
    fail_msg("no parameter '%s'", name);
    return p;
}

/* ---- the formula, in double ---- */

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* y += weight * W_down (silu(W_gate x) * (W_up x)) */
static void add_swiglu(const float *gate_up, const float *down, int width, double weight, const float *x, double *y)
{
    for (int f = 0; f < width; f++) {
        const double g = dot(gate_up + f * D, x, D), u = dot(gate_up + (width + f) * D, x, D);
        const double h = g / (1 + exp(-g)) * u;
        for (int i = 0; i < D; i++) y[i] += weight * (double)down[i * width + f] * h;
    }
}

/* One row; counts its choices. */
static void expected_row(cot_sparse_layer *layer, const float *x, double *y, int64_t *counts)
{
    const float *router = parameter(layer, "router.weight").value;
    const float *gate_up = parameter(layer, "experts.gate_up").value, *down = parameter(layer, "experts.down").value;
    double logit[E], sum = 0;
    int    worst = 0;
    for (int e = 0; e < E; e++) {
        logit[e] = dot(router + e * D, x, D);
        if (logit[e] < logit[worst]) worst = e;
    }
    memset(y, 0, D * sizeof *y);
    for (int e = 0; e < E; e++) sum += e == worst ? 0 : exp(logit[e]);
    for (int e = 0; e < E; e++) {
        if (e == worst) continue;  /* two of three are chosen */
        counts[e]++;
        add_swiglu(gate_up + e * 2 * F * D, down + e * D * F, F, exp(logit[e]) / sum, x, y);
    }
    const float *shared = parameter(layer, "shared.gate_up.weight").value;
    const float *back = parameter(layer, "shared.down.weight").value;
    const double open = 1 / (1 + exp(-dot(parameter(layer, "shared.gate.weight").value, x, D)));
    add_swiglu(shared, back, 4, open, x, y);
}

static void forward_follows_the_formula(void **state)
{
    (void)state;
    cot_sparse_layer *layer = make(spec_text, D);
    float x[T * D], y[T * D];
    int64_t counts[E], want_counts[E] = {0};
    fill(x, T * D, 1);
    assert_int_equal(cot_sparse_layer_experts(layer), E);
    assert_int_equal(cot_sparse_layer_forward(layer, false, x, T, y, counts), COT_OK);
    for (int t = 0; t < T; t++) {
        double want[D];
        expected_row(layer, x + t * D, want, want_counts);
        for (int i = 0; i < D; i++) assert_true(fabs((double)y[t * D + i] - want[i]) < 1e-5);  /* 30 terms of size 1 */
    }
    assert_memory_equal(counts, want_counts, sizeof counts);

    /* Changed values count at once, also where packed copies were made. */
    cot_sparse_layer_parameter p = parameter(layer, "experts.down");
    for (int64_t i = 0; i < p.count; i++) p.value[i] *= 2;
    p = parameter(layer, "shared.down.weight");
    for (int64_t i = 0; i < p.count; i++) p.value[i] *= 2;
    float twice[T * D];
    assert_int_equal(cot_sparse_layer_forward(layer, false, x, T, twice, NULL), COT_OK);
    for (int i = 0; i < T * D; i++) assert_true(fabsf(twice[i] - 2 * y[i]) < 1e-5f);
    cot_sparse_layer_destroy(layer);
}

/* ---- gradients ---- */

/* <dy, y> + balance losses; leaves gradients behind. */
static double objective(cot_sparse_layer *layer, const float *x, const float *dy, float *dx)
{
    float y[T * D];
    double balance, sum = 0;
    assert_int_equal(cot_sparse_layer_forward(layer, true, x, T, y, NULL), COT_OK);
    for (int i = 0; i < T * D; i++) sum += (double)dy[i] * (double)y[i];
    assert_int_equal(cot_sparse_layer_backward(layer, dy, dx, &balance), COT_OK);
    return sum + balance;
}

/* Along the gradient g of what `at` holds: (f(at + h g) - f(at - h g)) / 2h = |g|^2, up to h^2 and rounding / h. */
static void check_along(cot_sparse_layer *layer, const char *what, float *at, const float *grad, int64_t count,
                        const float *x, const float *dy)
{
    float  start[256], g[256], unused[T * D];
    double squares = 0, f[2];
    assert_true(count <= 256);
    memcpy(start, at, (size_t)count * sizeof *at);
    memcpy(g, grad, (size_t)count * sizeof *g);
    for (int64_t i = 0; i < count; i++) squares += (double)g[i] * (double)g[i];
    assert_true(squares > 0);
    const double h = 2e-3 / sqrt(squares);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++) at[i] = start[i] + (float)((side ? -h : h) * (double)g[i]);
        f[side] = objective(layer, x, dy, unused);
    }
    memcpy(at, start, (size_t)count * sizeof *at);
    const double slope = (f[0] - f[1]) / (2 * h);
    if (fabs(slope - squares) > 5e-3 * squares) fail_msg("%s: slope %.6g, gradient %.6g", what, slope, squares);
}

static void gradients_agree_with_differences(void **state)
{
    (void)state;
    cot_sparse_layer *layer = make(spec_text, D);
    float x[T * D], dy[T * D], dx[T * D];
    fill(x, T * D, 1);
    fill(dy, T * D, 2);
    cot_sparse_layer_parameter p;
    size_t count = 0;
    for (; cot_sparse_layer_parameter_at(layer, count, &p); count++) {
        objective(layer, x, dy, NULL);
        assert_true(cot_sparse_layer_parameter_at(layer, count, &p));
        check_along(layer, p.name, p.value, p.grad, p.count, x, dy);
    }
    assert_int_equal(count, 6);
    objective(layer, x, dy, dx);
    check_along(layer, "x", x, dx, T * D, x, dy);
    cot_sparse_layer_destroy(layer);
}

/* ---- the rest ---- */

static void threads_give_the_same_bits(void **state)
{
    (void)state;
    static float x[700 * D], y[2][700 * D], dx[2][700 * D];
    const char *text = "{kind: sparse, router: {kind: noisy_top_k, top_k: 2}, experts: {kind: ffn, num_experts: 3, "
                       "intermediate_size: 5}, balance: [{kind: load}], capacity: {capacity_factor: 1}}";
    fill(x, 700 * D, 4);
    for (int n = 0; n < 2; n++) {
        cot_sparse_layer *layer = make(text, D);
        assert_int_equal(cot_set_threads(n + 1), COT_OK);
        assert_int_equal(cot_sparse_layer_forward(layer, true, x, 700, y[n], NULL), COT_OK);
        assert_int_equal(cot_sparse_layer_backward(layer, x, dx[n], NULL), COT_OK);
        cot_sparse_layer_destroy(layer);
    }
    assert_int_equal(cot_set_threads(0), COT_OK);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
}

static void a_dense_one_works_too(void **state)
{
    (void)state;
    cot_sparse_layer *layer = make("{kind: dense, intermediate_size: 4}", D);
    float x[T * D], y[T * D], dx[T * D];
    double want[D] = {0}, balance = -1;
    fill(x, T * D, 1);
    assert_int_equal(cot_sparse_layer_experts(layer), 0);
    assert_int_equal(cot_sparse_layer_forward(layer, true, x, T, y, NULL), COT_OK);
    add_swiglu(parameter(layer, "gate_up.weight").value, parameter(layer, "down.weight").value, 4, 1, x, want);
    for (int i = 0; i < D; i++) assert_true(fabs((double)y[i] - want[i]) < 1e-5);
    assert_int_equal(cot_sparse_layer_backward(layer, y, dx, &balance), COT_OK);
    assert_true(balance == 0);
    cot_sparse_layer_destroy(layer);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    cot_config *spec;
    cot_sparse_layer *layer;
    float x[D] = {0}, y[D];
    assert_int_equal(cot_sparse_layer_create(NULL, D, 1, &layer), COT_INVALID);
    assert_null(layer);
    const char *text = "{kind: sparse, router: {kind: top_k, top_k: 9}, experts: {kind: ffn}}";
    assert_int_equal(cot_config_parse(text, "it", &spec), COT_OK);
    assert_int_equal(cot_sparse_layer_create(spec, 0, 1, &layer), COT_INVALID);
    assert_int_equal(cot_sparse_layer_create(spec, D, 1, &layer), COT_INVALID);
    assert_non_null(strstr(cot_last_error(), "expected at most num_experts = 8"));
    cot_config_destroy(spec);

    layer = make(spec_text, D);
    assert_int_equal(cot_sparse_layer_forward(layer, false, x, 0, y, NULL), COT_INVALID);
    assert_int_equal(cot_sparse_layer_forward(layer, false, x, 1, y, NULL), COT_OK);
    assert_int_equal(cot_sparse_layer_backward(layer, y, NULL, NULL), COT_INVALID);  /* it was no training forward */
    assert_int_equal(cot_sparse_layer_forward(layer, true, x, 1, y, NULL), COT_OK);
    assert_int_equal(cot_sparse_layer_backward(layer, y, NULL, NULL), COT_OK);
    assert_int_equal(cot_sparse_layer_backward(layer, y, NULL, NULL), COT_INVALID);  /* once */
    cot_sparse_layer_destroy(layer);
    cot_sparse_layer_destroy(NULL);
}

/* Makes a layer and trains it for a step. */
static cot_status one_step(const cot_config *spec, const float *x)
{
    cot_sparse_layer *layer;
    float y[T * D];
    cot_status status = cot_sparse_layer_create(spec, D, 1, &layer);
    if (status != COT_OK) return status;
    status = cot_sparse_layer_forward(layer, true, x, T, y, NULL);
    if (status == COT_OK) status = cot_sparse_layer_backward(layer, x, NULL, NULL);
    cot_sparse_layer_destroy(layer);
    return status;
}

static void survives_short_memory(void **state)
{
    (void)state;
    cot_config *spec;
    float x[T * D];
    fill(x, T * D, 1);
    assert_int_equal(cot_config_parse(spec_text, "test", &spec), COT_OK);
    const int64_t before = cot_memory_blocks();
    cot_status status = COT_OUT_OF_MEMORY;
    for (int n = 1; status == COT_OUT_OF_MEMORY; n++) {
        cot_memory_fail_after(n);
        status = one_step(spec, x);
        cot_memory_fail_after(0);
        assert_int_equal(cot_memory_blocks(), before);
        assert_true(n < 500);
    }
    assert_int_equal(status, COT_OK);
    cot_config_destroy(spec);
}

static void allocates_nothing_in_the_steady_state(void **state)
{
    (void)state;
    cot_sparse_layer *layer = make(spec_text, D);
    float x[T * D], y[T * D];
    fill(x, T * D, 1);
    for (int step = 0; step < 5; step++) {
        if (step == 3) cot_memory_fail_after(1);  /* arenas have merged their blocks by then */
        assert_int_equal(cot_sparse_layer_forward(layer, true, x, T, y, NULL), COT_OK);
        assert_int_equal(cot_sparse_layer_backward(layer, y, NULL, NULL), COT_OK);
    }
    cot_memory_fail_after(0);
    cot_sparse_layer_destroy(layer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_follows_the_formula),
        cmocka_unit_test(gradients_agree_with_differences),
        cmocka_unit_test(threads_give_the_same_bits),
        cmocka_unit_test(a_dense_one_works_too),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(survives_short_memory),
        cmocka_unit_test(allocates_nothing_in_the_steady_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
