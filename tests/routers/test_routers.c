/* What single routers promise beyond what test_router_suite.c asks of all. */
#include "ops/central_differences.h"

#include <stdio.h>
#include <string.h>

#include <coterie/config.h>

#include "routers/router.h"
#include "routing/capacity.h"
#include "tensor/tape_fixture.h"

enum { T = 24, E = 6 };

/* ---- making and running ---- */

static cot_router *make(const char *text, int64_t experts, const cot_build *build)
{
    cot_config *spec;
    cot_router *r = NULL;
    const cot_build lab = {.hidden_size = 1, .num_layers = 1};
    if (cot_config_parse(text, "test", &spec) != COT_OK ||
        cot_router_create(spec, experts, build ? build : &lab, &r) != COT_OK)
        fail_msg("%s", cot_last_error());
    cot_config_destroy(spec);
    return r;
}

typedef struct {
    double raw[T * E], noise[T * E];
    bool   training;
} surroundings;

/* Routes logits [tokens, r->num_experts]; in evaluation unless `around` says otherwise. */
static cot_routing run(cot_router *r, double *logits, int64_t tokens, surroundings *around)
{
    const int64_t shape[] = {tokens, r->num_experts};
    cot_routing out;
    cot_tape_reset(tape, false, around && around->training, 1, 0);
    cot_scores scores = {.logits = cot_tape_wrap(tape, COT_F64, 2, shape, logits, true)};
    if (around) scores.raw_noise_std = cot_tape_wrap(tape, COT_F64, 2, shape, around->raw, true);
    const cot_route_input in = {.tokens = tokens, .noise = around ? around->noise : NULL};
    cot_router_select(r, tape, &in, &scores, &out);
    cot_capacity_apply(tape, NULL, 0, &out);
    return out;
}

static double gate(const cot_routing *r, int64_t a) { return ((const double *)r->gate->data)[a]; }

/* ---- from tokens: parameters, scores, threads ---- */

typedef struct {
    cot_params *params;
    cot_router *router;
} learned;

static learned learn(const char *text, cot_dtype real)
{
    learned l;
    assert_int_equal(cot_params_create(real, &l.params), COT_OK);
    const cot_build build = {.params = l.params, .prefix = "layers.1.ffn.router", .layer = 1, .num_layers = 2,
                             .hidden_size = 40,
                             .init = COT_INIT_NORMAL, .init_value = 0.3};
    l.router = make(text, E, &build);
    assert_int_equal(cot_params_allocate(l.params, 7), COT_OK);
    assert_int_equal(cot_params_allocate_grads(l.params), COT_OK);
    return l;
}

static void forget(learned *l)
{
    cot_router_destroy(l->router);
    cot_params_destroy(l->params);
}

static cot_routing route_tokens(cot_tape *t, learned *l, int64_t tokens, bool training)
{
    cot_tape_reset(t, true, training, 3, 17);
    cot_params_clear_grads(l->params);
    cot_tensor *x = cot_tape_matrix(t, cot_tape_act(t), tokens, 40, true);
    for (int64_t i = 0; i < tokens * 40; i++) cot_value_set(x->data, x->dtype, i, test_normal(20, (uint64_t)i));
    cot_routing out;
    const cot_route_input in = {.tokens = tokens, .x = x};
    cot_router_run(l->router, t, &in, &out);
    assert_int_equal(cot_tape_status(t), COT_OK);
    return out;
}

static void scores_are_the_linear_map_of_tokens(void **state)
{
    (void)state;
    learned l = learn("{kind: top_k}", COT_F64);
    assert_int_equal(cot_params_count(l.params), 1);
    const cot_param *w = cot_params_find(l.params, "layers.1.ffn.router.weight");
    assert_non_null(w);
    const cot_routing out = route_tokens(tape, &l, 5, true);
    for (int t = 0; t < 5; t++)
        for (int e = 0; e < E; e++) {
            double want = 0;
            for (int d = 0; d < 40; d++)
                want += test_normal(20, (uint64_t)(t * 40 + d)) * ((const double *)w->value.data)[e * 40 + d];
            assert_true(fabs(((const double *)out.clean_logits->data)[t * E + e] - want) < 1e-12);
        }
    cot_tape_backward(tape, probe(tape, out.gate), 1);
    double sum = 0;
    for (int i = 0; i < E * 40; i++) sum += fabs(((const double *)w->value.grad)[i]);
    assert_true(sum > 0);
    forget(&l);
}

/* Zero weights: nobody is preferred, and over many tokens noise sends k / E of them to each expert. */
static void noisy_gating_starts_even(void **state)
{
    (void)state;
    enum { MANY = 6000 };
    learned l = learn("{kind: noisy_top_k, top_k: 2}", COT_F64);
    assert_non_null(cot_params_find(l.params, "layers.1.ffn.router.noise_weight"));
    const cot_routing out = route_tokens(tape, &l, MANY, true);
    int64_t counts[E];
    cot_routing_counts(&out, counts);
    const double p = 2.0 / E, spread = sqrt(MANY * p * (1 - p));
    for (int e = 0; e < E; e++) assert_true(fabs((double)counts[e] - MANY * p) < 4 * spread);
    for (int i = 0; i < MANY * E; i++)
        assert_true(fabs(((const double *)out.noise_std->data)[i] - (log(2) + 0.01)) < 1e-12);
    const cot_routing calm = route_tokens(tape, &l, 10, false);  /* evaluation draws nothing */
    assert_true(!calm.noise && !calm.noise_std && calm.expert[0] == 0 && calm.expert[1] == 1);
    forget(&l);
}

static void bf16_router_rounds_its_logits(void **state)
{
    (void)state;
    cot_router *exact = make("{kind: top_k, top_k: 1}", 3, NULL);
    cot_router *coarse = make("{kind: top_k, top_k: 1, router_dtype: bf16}", 3, NULL);
    double h[] = {1.0, 1.001, 0.0};  /* in bf16 the first two are equal, and the tie goes to the lower index */
    assert_int_equal(run(exact, h, 1, NULL).expert[0], 1);
    assert_int_equal(run(coarse, h, 1, NULL).expert[0], 0);
    cot_router_destroy(exact);
    cot_router_destroy(coarse);
}

/* Ranking by probabilities would lose the order of what underflows. */
static void ranking_is_by_logits(void **state)
{
    (void)state;
    cot_router *r = make("{kind: top_k, top_k: 2, softmax: all, norm_topk_prob: false}", 3, NULL);
    double h[] = {900, -300, -200};
    const cot_routing out = run(r, h, 1, NULL);
    assert_true(out.expert[0] == 0 && out.expert[1] == 2);
    assert_true(gate(&out, 0) == 1 && gate(&out, 1) == 0);
    cot_router_destroy(r);
}

static void top_k_conventions(void **state)
{
    (void)state;
    const char *const texts[] = {"{kind: top_k, top_k: 2}", "{kind: top_k, top_k: 2, softmax: chosen}",
                                 "{kind: top_k, top_k: 2, norm_topk_prob: false}",
                                 "{kind: top_k, top_k: 2, softmax: chosen, norm_topk_prob: false}", "{kind: switch}"};
    const double want[][2] = {{0.574443, 0.425557}, {0.574443, 0.425557}, {0.414374, 0.306976}, {0.574443, 0.425557},
                              {0.414374}};
    for (int i = 0; i < 5; i++) {
        cot_router *r = make(texts[i], 4, NULL);
        double h[] = {1, 0.2, -0.5, 0.7};
        const cot_routing out = run(r, h, 1, NULL);
        for (int64_t a = 0; a < out.assignments; a++) assert_true(fabs(gate(&out, a) - want[i][a]) < 1e-6);
        cot_router_destroy(r);
    }
}

/* ---- specs and registration ---- */

static void bad_specs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{kind: topk}", "test:1: kind is 'topk', no known router; did you mean 'top_k'?"},
        {"{kind: top_k, top_k: 9}",
         "test:1: top_k asks router 'top_k' for 9 experts per token, expected at most num_experts = 8"},
        {"{kind: top_k, topk: 2}", "topk"},
        {"{kind: switch, top_k: 2}", "top_k"},
        {"{kind: noisy_top_k, noise_eps: -1}", "noise_eps"},
        {"{top_k: 2}", "names no router"},
    };
    const cot_build build = {.hidden_size = 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *spec;
        cot_router *r;
        assert_int_equal(cot_config_parse(cases[i].text, "test", &spec), COT_OK);
        assert_true(cot_router_create(spec, 8, &build, &r) != COT_OK);
        assert_null(r);
        if (!strstr(cot_last_error(), cases[i].message)) fail_msg("%s: %s", cases[i].text, cot_last_error());
        cot_config_destroy(spec);
    }
}

static cot_status first_setup(cot_router *r, const cot_build *build)
{
    (void)build;
    r->top_k = 1;
    return COT_OK;
}

/* A router from outside the tree: everything goes to expert 0. */
static void first_select(cot_router *r, cot_tape *t, const cot_route_input *in, const cot_scores *scores,
                         cot_routing *out)
{
    (void)in;
    cot_router_choose(r, t, scores->logits, scores->logits, out);
    for (int64_t a = 0; a < out->assignments; a++) out->expert[a] = 0;
    out->gate = cot_tape_tensor(t, cot_tape_real(t), 1, (const int64_t[]){out->assignments}, false);
    for (int64_t a = 0; a < out->assignments; a++) cot_value_set(out->gate->data, out->gate->dtype, a, 1);
}

static void routers_can_come_from_outside(void **state)
{
    (void)state;
    static const cot_option options[] = {COT_ROUTER_OPTIONS, COT_OPTION_END};
    static const cot_router_ops first = {.member = {"always_first", NULL, "a test", options},
                                         .state_size = sizeof(cot_router_common),
                                         .setup = first_setup, .select = first_select};
    assert_int_equal(cot_router_register(&first), COT_OK);
    assert_int_equal(cot_router_register(&first), COT_INVALID);
    assert_string_equal(cot_last_error(), "there is a router 'always_first' already");
    cot_router *r = make("{kind: always_first}", 3, NULL);
    double h[] = {0, 1, 2};
    assert_int_equal(run(r, h, 1, NULL).expert[0], 0);
    cot_router_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_the_linear_map_of_tokens),
        cmocka_unit_test(noisy_gating_starts_even),
        cmocka_unit_test(bf16_router_rounds_its_logits),
        cmocka_unit_test(ranking_is_by_logits),
        cmocka_unit_test(top_k_conventions),
        cmocka_unit_test(bad_specs_are_named),
        cmocka_unit_test(routers_can_come_from_outside),  /* last: it adds to the list */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
