/* Balance rules: published and hand-worked values, what they
 * do without noise, tokens or balance. */
#include "ops/central_differences.h"

#include <stdio.h>
#include <string.h>

#include <coterie/config.h>

#include "balance/balance.h"
#include "ops/weighted_sum.h"
#include "routers/router.h"
#include "tensor/tape_fixture.h"

static cot_router *make_router(const char *text, int64_t experts)
{
    cot_config *spec;
    cot_router *r = NULL;
    const cot_build build = {.hidden_size = 1};
    if (cot_config_parse(text, "test", &spec) != COT_OK || cot_router_create(spec, experts, &build, &r) != COT_OK)
        fail_msg("%s", cot_last_error());
    cot_config_destroy(spec);
    return r;
}

static cot_balance *make_rule(const char *text)
{
    cot_config *spec;
    cot_balance *rule = NULL;
    if (cot_config_parse(text, "test", &spec) != COT_OK || cot_balance_create(spec, &rule) != COT_OK)
        fail_msg("%s", cot_last_error());
    cot_config_destroy(spec);
    return rule;
}

/* ---- one rule on one matrix ---- */

typedef struct {
    const char   *router, *rule;
    int64_t       tokens, experts;
    bool          training;
    const double *logits, *raw, *noise;
} situation;

typedef struct {
    double loss, dlogits[64], draw[64];
} outcome;

static outcome run(situation s)
{
    outcome out = {0};
    const int64_t shape[] = {s.tokens, s.experts};
    const size_t bytes = (size_t)(s.tokens * s.experts) * sizeof(double);
    cot_router *router = make_router(s.router, s.experts);
    cot_balance *rule = make_rule(s.rule);
    cot_tape_reset(tape, true, s.training, 1, 0);
    double *logits = cot_tape_alloc(tape, bytes), *raw = cot_tape_alloc(tape, bytes);
    memcpy(logits, s.logits, bytes);
    memset(raw, 0, bytes);
    if (s.raw) memcpy(raw, s.raw, bytes);
    const cot_scores scores = {.logits = cot_tape_wrap(tape, COT_F64, 2, shape, logits, true),
                               .raw_noise_std = cot_tape_wrap(tape, COT_F64, 2, shape, raw, true)};
    const cot_route_input in = {.tokens = s.tokens, .noise = s.noise};
    cot_routing routing;
    cot_router_select(router, tape, &in, &scores, &routing);
    cot_tensor *loss = cot_balance_loss(rule, tape, &routing);
    cot_tape_backward(tape, loss, 1);
    if (cot_tape_failed(tape)) fail_msg("%s", cot_last_error());
    out.loss = *(const double *)loss->data;
    if (scores.logits->grad) memcpy(out.dlogits, scores.logits->grad, bytes);
    if (scores.raw_noise_std->grad) memcpy(out.draw, scores.raw_noise_std->grad, bytes);
    cot_router_destroy(router);
    cot_balance_destroy(rule);
    return out;
}

static void near(double got, double want, double allowed, const char *what)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%s is %.9f, expected %.9f", what, got, want);
}

static void near_all(const double *got, const double *want, int count, double allowed, const char *what)
{
    for (int i = 0; i < count; i++) near(got[i], want[i], allowed, what);
}

static const double printed = 0.6e-6;  /* values below are known to six decimals */

/* ---- published values ---- */

static const double clean[] = {0.5, 0.2, -0.1, 0}, raw[] = {0, 0.5, -0.5, 1}, noise[] = {0.3, -1, 1.2, 0.4};

static void smooth_load_of_one_token(void **state)
{
    (void)state;
    situation s = {"{kind: noisy_top_k, top_k: 2}", "{kind: load, coef: 1}", 1, 4, true, clean, raw, noise};
    outcome o = run(s);
    near(o.loss, 0.200594, printed, "load");
    near_all(o.dlogits, (const double[]){0.280713, -0.054512, -0.709866, 0.483665}, 4, printed, "d load / d clean");
    near_all(o.draw, (const double[]){-0.003814, -0.011355, -0.339840, 0.142874}, 4, printed, "d load / d raw");
    s.rule = "{kind: load, coef: 1, threshold_grad: false}";
    o = run(s);
    near(o.loss, 0.200594, printed, "load");
    near_all(o.dlogits, (const double[]){0.280713, -0.054512, -0.482978, -0.053825}, 4, printed, "d load / d clean");
    near_all(o.draw, (const double[]){-0.003814, -0.011355, -0.237049, -0.014300}, 4, printed, "d load / d raw");
}

static void auxiliary_loss_of_switch(void **state)
{
    (void)state;
    const double h[] = {2, 1, 0, 0, 1, 3, 0, -1, 0.5, 0, 0, 0, 0, 0, 2, 1};
    const outcome o = run((situation){"{kind: switch}", "{kind: aux, coef: 1}", 4, 4, true, h, NULL, NULL});
    near(o.loss, 1.155642, printed, "aux");
    near_all(o.dlogits, (const double[]){0.072060, -0.029619, -0.010896, -0.031545}, 4, printed, "d aux / d logits");
}

static void z_loss_of_one_two_three(void **state)
{
    (void)state;
    const double h[] = {1, 2, 3};
    const outcome o = run((situation){"{kind: top_k}", "{kind: z_loss, coef: 1}", 1, 3, false, h, NULL, NULL});
    near(o.loss, 11.611778, printed, "z");
    near_all(o.dlogits, (const double[]){0.613577, 1.667876, 4.533758}, 3, printed, "d z / d logits");
}

/* Gates (.545285, 0, 0, .454715): mean 1/4, CV^2 by hand. */
static void importance_by_hand(void **state)
{
    (void)state;
    const outcome o = run((situation){"{kind: noisy_top_k, top_k: 2}", "{kind: importance, coef: 2}", 1, 4, true, clean,
                                      raw, noise});
    const double g[] = {0.545285, 0, 0, 0.454715};
    double variance = 0;
    for (int i = 0; i < 4; i++) variance += (g[i] - 0.25) * (g[i] - 0.25) / 4;
    near(o.loss, 2 * variance / 0.0625, 2e-5, "importance");
    /* rows of G sum to one, so dH = G_i (a_i - sum G a) with a = 2 w I / (E mu^2) */
    const double a0 = 2 * 2 * g[0] / (4 * 0.0625), a3 = 2 * 2 * g[3] / (4 * 0.0625), mean = g[0] * a0 + g[3] * a3;
    near_all(o.dlogits, (const double[]){g[0] * (a0 - mean), 0, 0, g[3] * (a3 - mean)}, 4, 1e-5,
             "d importance / d clean");
}

/* ---- conventions ---- */

static void aux_counts_as_told(void **state)
{
    (void)state;
    /* choices: token 0: 0 1, token 1: 0 2; probabilities by softmax */
    const double h[] = {2, 1, 0, 2, 0, 1}, e2 = exp(2), e1 = exp(1), z = e2 + e1 + 1;
    const double p[] = {2 * e2 / z / 2, (e1 + 1) / z / 2, (e1 + 1) / z / 2};
    situation s = {"{kind: top_k}", "{kind: aux, coef: 1}", 2, 3, false, h, NULL, NULL};
    near(run(s).loss, 3 * (0.5 * p[0] + 0.25 * p[1] + 0.25 * p[2]), 1e-12, "all, divided");
    s.rule = "{kind: aux, coef: 1, divide_by_k: false}";
    near(run(s).loss, 3 * (p[0] + 0.5 * p[1] + 0.5 * p[2]), 1e-12, "all");
    s.rule = "{kind: aux, coef: 1, choices: first}";
    near(run(s).loss, 3 * p[0], 1e-12, "first");
    s.rule = "{kind: aux, coef: 1, choices: first, divide_by_k: false}";
    near(run(s).loss, 3 * p[0], 1e-12, "first, undivided: the same");
}

static void aux_reads_clean_logits_under_noise(void **state)
{
    (void)state;
    situation noisy = {"{kind: noisy_top_k, top_k: 2}", "{kind: z_loss, coef: 1}", 1, 4, true, clean, raw, noise};
    situation calm = noisy;
    calm.training = false;
    assert_true(run(noisy).loss == run(calm).loss);
    noisy.rule = "{kind: aux, coef: 1}";
    double sum = 0, p0 = 0, p3 = 0;
    for (int i = 0; i < 4; i++) sum += exp(clean[i]);
    p0 = exp(clean[0]) / sum, p3 = exp(clean[3]) / sum;
    near(run(noisy).loss, 4 * (0.5 * p0 + 0.5 * p3), 1e-12, "aux");  /* chosen under noise: 0 and 3 */
}

static void without_noise_load_is_the_hard_count(void **state)
{
    (void)state;
    const double h[] = {2, 1, 0, 2, 0, 1, 2, 1, 0, 1, 2, 3};  /* choices 01 02 01 21: counts 3 3 2 */
    const char *const routers[] = {"{kind: noisy_top_k, top_k: 2}", "{kind: top_k, top_k: 2}"};
    for (int i = 0; i < 2; i++) {
        const outcome o = run((situation){routers[i], "{kind: load, coef: 1}", 4, 3, i == 1, h, NULL, NULL});
        near(o.loss, (2 * (1.0 / 9) + 4.0 / 9) / 3 / (64.0 / 9), 1e-12, "hard load");  /* mean 8/3 */
        near_all(o.dlogits, (const double[12]){0}, 12, 0, "no gradient");
    }
}

static void balance_is_worth_its_coefficient(void **state)
{
    (void)state;
    const double even[] = {1, 0, 0, 1}, flat[] = {0, 0, 0, 0};
    near(run((situation){"{kind: switch}", "{kind: aux, coef: 0.25}", 2, 2, false, even, NULL, NULL}).loss, 0.25, 1e-12,
         "aux at balance");
    near(run((situation){"{kind: switch}", "{kind: aux, coef: 0.25}", 2, 2, false, flat, NULL, NULL}).loss, 0.25, 1e-12,
         "aux of uniform probabilities");
    near(run((situation){"{kind: top_k}", "{kind: importance, coef: 1}", 2, 2, false, flat, NULL, NULL}).loss, 0, 0,
         "importance at balance");
    near(run((situation){"{kind: top_k}", "{kind: load, coef: 1}", 2, 2, false, flat, NULL, NULL}).loss, 0, 0,
         "load at balance");
}

static void no_tokens_no_loss(void **state)
{
    (void)state;
    const char *const rules[] = {"{kind: importance}", "{kind: load}", "{kind: aux}", "{kind: z_loss}"};
    const double none[1] = {0};
    for (int i = 0; i < 4; i++)
        near(run((situation){"{kind: noisy_top_k}", rules[i], 0, 3, true, none, none, none}).loss, 0, 0, rules[i]);
}

static void bad_specs_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{kind: auxx}", "no known balance rule; did you mean 'aux'?"},
        {"{kind: aux, choices: second}", "choices"},
        {"{kind: load, treshold: kth}", "did you mean 'threshold'"},
        {"{kind: z_loss, coef: -1}", "coef"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *spec;
        cot_balance *rule;
        assert_int_equal(cot_config_parse(cases[i][0], "test", &spec), COT_OK);
        assert_true(cot_balance_create(spec, &rule) != COT_OK);
        assert_null(rule);
        if (!strstr(cot_last_error(), cases[i][1])) fail_msg("%s: %s", cases[i][0], cot_last_error());
        cot_config_destroy(spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smooth_load_of_one_token),
        cmocka_unit_test(auxiliary_loss_of_switch),
        cmocka_unit_test(z_loss_of_one_two_three),
        cmocka_unit_test(importance_by_hand),
        cmocka_unit_test(aux_counts_as_told),
        cmocka_unit_test(aux_reads_clean_logits_under_noise),
        cmocka_unit_test(without_noise_load_is_the_hard_count),
        cmocka_unit_test(balance_is_worth_its_coefficient),
        cmocka_unit_test(no_tokens_no_loss),
        cmocka_unit_test(bad_specs_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
