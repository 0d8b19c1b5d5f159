/* Soft mixtures as a layer: against the formula worked out with other loops, gradients, padding, sequences that do not mix. */
#include "layers/layer_fixture.h"

enum { T = FIXTURE_TOKENS, D = FIXTURE_WIDTH, E = 2, EACH = 2, S = E * EACH, F = 3 };

static const char spec[] = "{kind: sparse, router: {kind: soft_moe, slots: 2}, experts: {kind: ffn, num_experts: 2, intermediate_size: 3}}";

static const double *parameter(const layer_fixture *f, const char *name)
{
    for (size_t i = 0; i < cot_params_count(f->params); i++)
        if (strstr(cot_params_at(f->params, i)->name, name)) return cot_params_at(f->params, i)->value.data;
    fail_msg("no parameter '%s'", name);
    return NULL;
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* out = expert e of x */
static void work(const layer_fixture *f, int e, const double *x, double *out)
{
    const double *gate_up = parameter(f, "gate_up") + e * 2 * F * D, *down = parameter(f, "down") + e * D * F;
    for (int i = 0; i < D; i++) out[i] = 0;
    for (int h = 0; h < F; h++) {
        const double g = dot(gate_up + h * D, x, D), u = dot(gate_up + (F + h) * D, x, D);
        for (int i = 0; i < D; i++) out[i] += down[i * F + h] * g / (1 + exp(-g)) * u;
    }
}

/* y of tokens from .. to - 1, by the definition. */
static void expected(const layer_fixture *f, const double *x, int from, int to, double *y)
{
    const double *phi = parameter(f, "router.weight");
    double weight[T][S], slot[S][D] = {{0}}, worked[S][D];
    for (int t = from; t < to; t++)
        for (int s = 0; s < S; s++)
            weight[t][s] = exp(dot(x + t * D, phi + s * D, D) / sqrt(dot(x + t * D, x + t * D, D) * dot(phi + s * D, phi + s * D, D)));
    for (int s = 0; s < S; s++) {
        double column = 0;
        for (int t = from; t < to; t++) column += weight[t][s];
        for (int t = from; t < to; t++)
            for (int i = 0; i < D; i++) slot[s][i] += weight[t][s] / column * x[t * D + i];
        work(f, s / EACH, slot[s], worked[s]);
    }
    for (int t = from; t < to; t++) {
        double row = 0;
        for (int s = 0; s < S; s++) row += weight[t][s];
        for (int i = 0; i < D; i++) {
            y[t * D + i] = 0;
            for (int s = 0; s < S; s++) y[t * D + i] += weight[t][s] / row * worked[s][i];
        }
    }
}

static void follows_the_formula_within_sequences(void **state)
{
    (void)state;
    static layer_fixture f;
    double want[T * D], x[T * D];
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    make_layer(&f, spec);
    cot_tape_reset(tape, false, true, 1, 0);
    cot_tensor *in = draw_tokens(tape, 4);
    memcpy(x, in->data, sizeof x);
    const cot_tensor *y = through_layer(tape, &f, in);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    for (int from = 0; from < T; from += FIXTURE_ROW) expected(&f, x, from, from + FIXTURE_ROW, want);
    for (int i = 0; i < T * D; i++) assert_true(fabs(((const double *)y->data)[i] - want[i]) < 1e-12);
    drop_layer(&f);
    cot_tape_destroy(tape);
}

/* Filling changes no token's result and gets none: the last two tokens of the second sequence. */
static void padding_takes_no_part(void **state)
{
    (void)state;
    static layer_fixture f;
    double want[T * D], x[T * D];
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    make_layer(&f, spec);
    f.source[T - 1] = f.source[T - 2] = -1;
    cot_tape_reset(tape, false, true, 1, 0);
    cot_tensor *in = draw_tokens(tape, 4);
    memcpy(x, in->data, sizeof x);
    const cot_tensor *y = through_layer(tape, &f, in);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    memset(want, 0, sizeof want);
    expected(&f, x, 0, FIXTURE_ROW, want);
    expected(&f, x, FIXTURE_ROW, T - 2, want);
    for (int i = 0; i < T * D; i++) assert_true(fabs(((const double *)y->data)[i] - want[i]) < 1e-12);
    drop_layer(&f);
    cot_tape_destroy(tape);
}

static void has_the_gradients_that_it_says(void **state)
{
    (void)state;
    check_layer(spec, true);
    check_layer("{kind: sparse, router: {kind: soft_moe}, experts: {kind: neuron, num_experts: 4}}", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_formula_within_sequences),
        cmocka_unit_test(padding_takes_no_part),
        cmocka_unit_test(has_the_gradients_that_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
