/* Pools of experts beyond the plain one: gradients, values by hand, what they are at the start, 1 and 2 threads. */
#include "layers/layer_fixture.h"

static void residual_experts_have_the_gradients_that_they_say(void **state)
{
    (void)state;
    check_layer("{kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: residual, num_experts: 4, intermediate_size: 3, rank: 2}}", true);
}

/* Equal experts are the dense layer: gates sum to one, so the router does not matter. */
static void residual_experts_start_as_their_base(void **state)
{
    (void)state;
    static layer_fixture f;
    cot_tape *tape;
    double kept[2][FIXTURE_TOKENS * FIXTURE_WIDTH];
    const char *routers[] = {"top_k: 1", "top_k: 3"};
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text, "{kind: sparse, router: {kind: top_k, %s}, experts: {kind: residual, num_experts: 4, intermediate_size: 3, rank: 2}}", routers[i]);
        make_layer(&f, text);
        cot_tape_reset(tape, false, true, 1, 0);
        const cot_tensor *y = through_layer(tape, &f, draw_tokens(tape, 4));
        assert_int_equal(cot_tape_status(tape), COT_OK);
        memcpy(kept[i], y->data, sizeof kept[i]);
        drop_layer(&f);
    }
    for (int i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) assert_true(fabs(kept[0][i] - kept[1][i]) < 1e-14);
    cot_tape_destroy(tape);
}

/* Three sublayers deep, with tokens dropped for lack of capacity; and BASE's own router, whose gates do not sum to one. */
static void stacks_have_the_gradients_that_they_say(void **state)
{
    (void)state;
    check_layer("{kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: stack, num_experts: 4, num_sublayers: 3, intermediate_size: 5}, "
                "capacity: {capacity_factor: 0.75}}", true);
    check_layer("{kind: sparse, router: {kind: base}, experts: {kind: stack, num_experts: 3, num_sublayers: 2, intermediate_size: 4}}", true);
    check_layer("{kind: sparse, router: {kind: base}, experts: {kind: stack, num_experts: 3, num_sublayers: 1, intermediate_size: 4}}", false);
}

static const double *values_of(const layer_fixture *f, int sublayer, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "layers.0.ffn.experts.sublayers.%d.%s", sublayer, name);
    const cot_param *param = cot_params_find(f->params, full);
    if (!param) fail_msg("no parameter '%s'", full);
    return param->value.data;
}

static void draw_parameters(const layer_fixture *f)
{
    for (size_t p = 0; p < cot_params_count(f->params); p++) {
        cot_param *param = cot_params_at(f->params, p);
        for (int64_t i = 0; i < cot_tensor_count(&param->value); i++) ((double *)param->value.data)[i] = test_normal(40 + p, (uint64_t)i);
        param->version++;
    }
}

/* h + W_down relu(W_up LayerNorm(h) + b_up) + b_down of the only expert, in loops. */
static void sublayer_by_hand(const layer_fixture *f, int sublayer, int width, double h[FIXTURE_WIDTH])
{
    const double *gamma = values_of(f, sublayer, "norm"), *beta = values_of(f, sublayer, "norm_bias"), *up = values_of(f, sublayer, "up"),
                 *up_bias = values_of(f, sublayer, "up_bias"), *down = values_of(f, sublayer, "down"), *down_bias = values_of(f, sublayer, "down_bias");
    double normed[FIXTURE_WIDTH], mean = 0, variance = 0;
    for (int c = 0; c < FIXTURE_WIDTH; c++) mean += h[c] / FIXTURE_WIDTH;
    for (int c = 0; c < FIXTURE_WIDTH; c++) variance += (h[c] - mean) * (h[c] - mean) / FIXTURE_WIDTH;
    for (int c = 0; c < FIXTURE_WIDTH; c++) normed[c] = gamma[c] * (h[c] - mean) / sqrt(variance + 1e-5) + beta[c];
    for (int c = 0; c < FIXTURE_WIDTH; c++) h[c] += down_bias[c];
    for (int j = 0; j < width; j++) {
        double a = up_bias[j];
        for (int c = 0; c < FIXTURE_WIDTH; c++) a += up[j * FIXTURE_WIDTH + c] * normed[c];
        for (int c = 0; c < FIXTURE_WIDTH && a > 0; c++) h[c] += down[c * width + j] * a;
    }
}

/* One expert takes all, and the only gate is 1. */
static void a_stack_is_what_loops_say(void **state)
{
    (void)state;
    static layer_fixture f;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    make_layer(&f, "{kind: sparse, router: {kind: top_k, top_k: 1}, experts: {kind: stack, num_experts: 1, num_sublayers: 3, intermediate_size: 5}}");
    draw_parameters(&f);
    cot_tape_reset(tape, false, true, 1, 0);
    const cot_tensor *x = draw_tokens(tape, 4), *y = through_layer(tape, &f, (cot_tensor *)(uintptr_t)x);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    for (int t = 0; t < FIXTURE_TOKENS; t++) {
        const double *from = (const double *)x->data + t * FIXTURE_WIDTH, *got = (const double *)y->data + t * FIXTURE_WIDTH;
        double h[FIXTURE_WIDTH];
        memcpy(h, from, sizeof h);
        for (int i = 0; i < 3; i++) sublayer_by_hand(&f, i, 5, h);
        for (int c = 0; c < FIXTURE_WIDTH; c++) assert_true(fabs(h[c] - from[c] - got[c]) < 1e-11 * fmax(1, fabs(h[c])));
    }
    drop_layer(&f);
    cot_tape_destroy(tape);
}

static const char *const base_layer = "{kind: sparse, router: {kind: base}, experts: {kind: stack, num_experts: 3, num_sublayers: 2, intermediate_size: 4}}";

static void a_stack_starts_as_the_identity(void **state)
{
    (void)state;
    static layer_fixture f;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    make_layer(&f, base_layer);
    cot_tape_reset(tape, false, true, 1, 0);
    const cot_tensor *y = through_layer(tape, &f, draw_tokens(tape, 4));
    assert_int_equal(cot_tape_status(tape), COT_OK);
    for (int i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) assert_true(((const double *)y->data)[i] == 0);
    drop_layer(&f);
    cot_tape_destroy(tape);
}

static void threads_change_no_bit_of_a_stack(void **state)
{
    (void)state;
    static layer_fixture f;
    cot_tape *tape;
    static double x[FIXTURE_TOKENS * FIXTURE_WIDTH], dx[2][FIXTURE_TOKENS * FIXTURE_WIDTH], grads[2][4096];
    size_t used[2] = {0, 0};
    for (int i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) x[i] = test_normal(8, (uint64_t)i);
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    make_layer(&f, base_layer);
    draw_parameters(&f);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(cot_set_threads(n + 1), COT_OK);
        cot_params_clear_grads(f.params);
        grads[n][used[n]++] = layer_value(tape, &f, true, true, x, dx[n]);
        cot_params_settle_grads(f.params);
        for (size_t p = 0; p < cot_params_count(f.params); p++) {
            const cot_tensor *v = &cot_params_at(f.params, p)->value;
            const size_t size = v->grad ? (size_t)cot_tensor_count(v) : 0;
            assert_true(used[n] + size <= sizeof grads[n] / sizeof *grads[n]);
            if (size) memcpy(grads[n] + used[n], v->grad, size * sizeof(double));
            used[n] += size;
        }
    }
    assert_true(used[0] == used[1] && used[0] > 300);
    assert_memory_equal(grads[0], grads[1], used[0] * sizeof(double));
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
    assert_int_equal(cot_set_threads(0), COT_OK);
    drop_layer(&f);
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residual_experts_have_the_gradients_that_they_say),
        cmocka_unit_test(residual_experts_start_as_their_base),
        cmocka_unit_test(stacks_have_the_gradients_that_they_say),
        cmocka_unit_test(a_stack_is_what_loops_say),
        cmocka_unit_test(a_stack_starts_as_the_identity),
        cmocka_unit_test(threads_change_no_bit_of_a_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
