/* Every listed router, driven by the traits that it states; then what single routers promise beyond them. */
#include "ops/central_differences.h"

#include <stdio.h>
#include <string.h>

#include <coterie/config.h>

#include "routers/router.h"
#include "routing/capacity.h"

enum { T = 24, E = 6 };

static cot_tape *tape;

static int set_up(void **state)
{
    (void)state;
    return cot_tape_create(COT_MODE_F64, &tape);
}
static int tear_down(void **state)
{
    (void)state;
    cot_tape_destroy(tape);
    return 0;
}

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

static cot_router *make_member(const cot_member *member, int64_t experts)
{
    char text[128];
    bool has_top_k = false;
    for (const cot_option *o = member->options; o && o->name; o++)
        has_top_k = has_top_k || strcmp(o->name, "top_k") == 0;
    snprintf(text, sizeof text, has_top_k && experts < 2 ? "{kind: %s, top_k: 1}" : "{kind: %s}", member->name);
    return make(text, experts, NULL);
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
    r->ops->select(r, tape, &in, &scores, &out);
    cot_capacity_apply(tape, NULL, 0, &out);
    return out;
}

static double gate(const cot_routing *r, int64_t a) { return ((const double *)r->gate->data)[a]; }

static void draw(double *values, int64_t count, uint64_t seed)
{
    for (int64_t i = 0; i < count; i++) values[i] = test_normal(seed, (uint64_t)i);
}

/* Calls `check` for every listed router that has the traits. */
static void each(uint32_t traits, void (*check)(cot_router *r, int64_t experts), int64_t experts)
{
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        if ((((const cot_router_ops *)member)->traits & traits) != traits) continue;
        cot_router *r = make_member(member, experts);
        check(r, experts);
        if (cot_tape_failed(tape)) fail_msg("%s: %s", member->name, cot_last_error());
        cot_router_destroy(r);
    }
}

/* ---- what holds for all ---- */

static void check_gates(cot_router *r, int64_t experts)
{
    double h[T * E];
    draw(h, T * experts, 1);
    surroundings around = {.training = true};
    draw(around.raw, T * experts, 2);
    draw(around.noise, T * experts, 3);
    for (int training = 0; training < 2; training++) {
        const cot_routing out = run(r, h, T, training ? &around : NULL);
        assert_int_equal(out.tokens, T);
        assert_int_equal(out.experts, experts);
        assert_int_equal(out.dropped, 0);
        for (int64_t a = 0; a < out.assignments; a++) {
            assert_true(gate(&out, a) >= 0 && gate(&out, a) <= 1);
            assert_true(out.token[a] >= 0 && out.token[a] < T && out.expert[a] >= 0 && out.expert[a] < experts);
            if (a > 0) assert_true(out.token[a] >= out.token[a - 1]);
        }
    }
}

static void gates_are_finite_and_in_token_order(void **state)
{
    (void)state;
    each(0, check_gates, E);
    each(0, check_gates, 2);
    each(0, check_gates, 1);
}

static void check_fixed_k(cot_router *r, int64_t experts)
{
    double h[T * E];
    draw(h, T * experts, 4);
    const cot_routing out = run(r, h, T, NULL);
    assert_int_equal(out.top_k, r->top_k);
    assert_int_equal(out.assignments, T * r->top_k);
    for (int64_t a = 0; a < out.assignments; a++) {
        assert_int_equal(out.token[a], a / r->top_k);
        for (int64_t b = a - a % r->top_k; b < a; b++) assert_true(out.expert[b] != out.expert[a]);
    }
}

static void fixed_k_means_k_different_experts(void **state)
{
    (void)state;
    each(COT_ROUTER_FIXED_K, check_fixed_k, E);
}

static void check_unit(cot_router *r, int64_t experts)
{
    double h[T * E];
    draw(h, T * experts, 5);
    for (int i = 0; i < T; i += 5) h[i * experts] = 700;  /* far apart: others underflow */
    const cot_routing out = run(r, h, T, NULL);
    double sum[T] = {0};
    for (int64_t a = 0; a < out.assignments; a++) sum[out.token[a]] += gate(&out, a);
    for (int t = 0; t < T; t++) assert_true(fabs(sum[t] - 1) < 1e-14);
}

static void unit_gates_sum_to_one(void **state)
{
    (void)state;
    each(COT_ROUTER_UNIT_GATES, check_unit, E);
    each(COT_ROUTER_UNIT_GATES, check_unit, 1);
}

static void check_ties(cot_router *r, int64_t experts)
{
    double h[T * E];
    for (int64_t i = 0; i < T * experts; i++) h[i] = 0.25;
    const cot_routing out = run(r, h, T, NULL);
    for (int64_t a = 0; a < out.assignments; a++) assert_int_equal(out.expert[a], a % r->top_k);
}

static void ties_go_to_the_lower_index(void **state)
{
    (void)state;
    each(COT_ROUTER_FIXED_K, check_ties, E);
}

static void check_tokens(cot_router *r, int64_t experts)
{
    double h[T * E], moved[T * E], gates[T * E] = {0};
    draw(h, T * experts, 6);
    for (int t = 0; t < T; t++)
        memcpy(moved + ((t * 5 + 2) % T) * experts, h + t * experts, (size_t)experts * sizeof *h);
    const cot_routing before = run(r, h, T, NULL);
    for (int64_t a = 0; a < before.assignments; a++)
        gates[before.token[a] * experts + before.expert[a]] = gate(&before, a);
    const cot_routing after = run(r, moved, T, NULL);
    for (int t = 0; t < T; t++)
        for (int64_t a = 0; a < after.assignments; a++)
            if (after.token[a] == (t * 5 + 2) % T) assert_true(gates[t * experts + after.expert[a]] == gate(&after, a));
}

static void permuting_tokens_permutes_the_outcome(void **state)
{
    (void)state;
    each(COT_ROUTER_TOKEN_EQUIVARIANT, check_tokens, E);
}

static void check_experts(cot_router *r, int64_t experts)
{
    double h[T * E], moved[T * E], gates[T * E] = {0};
    draw(h, T * experts, 7);
    for (int t = 0; t < T; t++)
        for (int64_t e = 0; e < experts; e++) moved[t * experts + (e * 5 + 1) % experts] = h[t * experts + e];
    const cot_routing before = run(r, h, T, NULL);
    for (int64_t a = 0; a < before.assignments; a++)
        gates[before.token[a] * experts + (before.expert[a] * 5 + 1) % experts] = gate(&before, a);
    const cot_routing after = run(r, moved, T, NULL);
    for (int64_t a = 0; a < after.assignments; a++)
        assert_true(fabs(gates[after.token[a] * experts + after.expert[a]] - gate(&after, a)) < 1e-15);
}

static void permuting_experts_permutes_the_outcome(void **state)
{
    (void)state;
    each(COT_ROUTER_EXPERT_EQUIVARIANT, check_experts, E);
}

static void check_causal(cot_router *r, int64_t experts)
{
    double h[T * E], gates[T * E];
    int32_t chosen[T * E];
    draw(h, T * experts, 8);
    const cot_routing all = run(r, h, T, NULL);
    memcpy(gates, all.gate->data, (size_t)all.assignments * sizeof *gates);
    memcpy(chosen, all.expert, (size_t)all.assignments * sizeof *chosen);
    for (int64_t t = 0; t <= T; t += 8) {  /* also no token at all */
        const cot_routing some = run(r, h, t, NULL);
        assert_memory_equal(some.expert, chosen, (size_t)some.assignments * sizeof *chosen);
        assert_memory_equal(some.gate->data, gates, (size_t)some.assignments * sizeof *gates);
    }
}

static void causal_routers_do_not_look_ahead(void **state)
{
    (void)state;
    each(COT_ROUTER_CAUSAL, check_causal, E);
}

static void check_masks(cot_router *r, int64_t experts)
{
    double h[T * E];
    draw(h, T * experts, 9);
    for (int t = 0; t < T; t++)
        for (int i = 0; i < 3; i++) h[t * experts + (t + i) % experts] = -INFINITY;
    const cot_routing out = run(r, h, T, NULL);
    for (int64_t a = 0; a < out.assignments; a++) {
        const bool masked = !(h[out.token[a] * experts + out.expert[a]] > -INFINITY);
        assert_true(masked ? gate(&out, a) == 0 : gate(&out, a) > 0);
        if (r->top_k <= experts - 3) assert_false(masked);  /* enough others are left */
    }
    for (int i = 0; i < T * experts; i++)
        assert_true((((const double *)out.probs->data)[i] == 0) == !(h[i] > -INFINITY));
    for (int i = 0; i < T * experts; i++) h[i] = -INFINITY;  /* nobody left: lowest indices, no weight, no NaN */
    const cot_routing none = run(r, h, T, NULL);
    for (int64_t a = 0; a < none.assignments; a++) assert_true(gate(&none, a) == 0);
}

static void masked_experts_get_nothing(void **state)
{
    (void)state;
    each(0, check_masks, E);
}

static void not_a_number_is_an_error(void **state)
{
    (void)state;
    const cot_member *member;
    const double bad[] = {NAN, INFINITY};
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++)
        for (int b = 0; b < 2; b++) {
            cot_router *r = make_member(member, E);
            double h[E] = {0, 1, bad[b], 3, 4, 5};
            run(r, h, 1, NULL);
            assert_int_equal(cot_tape_status(tape), COT_NOT_FINITE);
            cot_router_destroy(r);
        }
    cot_tape_reset(tape, false, false, 1, 0);
}

/* ---- gradients of gates ---- */

typedef struct {
    cot_router *router;
    double      noise[T * E];
} gate_case;

static cot_tensor *build_gates(cot_tape *t, cot_tensor *const *in, const void *context)
{
    const gate_case *c = context;
    const cot_scores scores = {.logits = in[0], .raw_noise_std = in[1]};
    const cot_route_input input = {.tokens = T, .noise = c->noise};
    cot_routing out;
    c->router->ops->select(c->router, t, &input, &scores, &out);
    return probe(t, out.gate);
}

static void check_gradient(cot_router *r, int64_t experts)
{
    for (int training = 0; training < 2; training++) {
        difference_case c = {.training = training};
        gate_case g = {.router = r};
        add_input(&c, T, experts, 10);
        add_input(&c, T, experts, 11);
        draw(g.noise, T * experts, 12);
        check_gradients(r->ops->member.name, &c, build_gates, &g, 1e-6);
    }
}

static void gates_have_the_gradients_that_they_say(void **state)
{
    (void)state;
    each(0, check_gradient, E);
}

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

static void same_seed_same_routing_on_one_and_two_threads(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    const cot_member *member;
    static float gates[2][MANY * E];
    static int32_t chosen[2][MANY * E];
    cot_tape *t;
    assert_int_equal(cot_tape_create(COT_MODE_BF16, &t), COT_OK);
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[64];
        snprintf(text, sizeof text, "{kind: %s}", member->name);
        learned l = learn(text, COT_F32);
        size_t count = 0;
        for (int threads = 1; threads <= 2; threads++) {
            assert_int_equal(cot_set_threads(threads), COT_OK);
            const cot_routing out = route_tokens(t, &l, MANY, true);
            count = (size_t)out.assignments;
            memcpy(gates[threads - 1], out.gate->data, count * sizeof(float));
            memcpy(chosen[threads - 1], out.expert, count * sizeof(int32_t));
        }
        assert_memory_equal(gates[0], gates[1], count * sizeof(float));
        assert_memory_equal(chosen[0], chosen[1], count * sizeof(int32_t));
        forget(&l);
    }
    cot_tape_destroy(t);
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

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    const cot_build build = {.hidden_size = 1};
    cot_config *spec;
    cot_router *r = NULL;
    assert_int_equal(cot_config_parse("{kind: top_k}", "test", &spec), COT_OK);
    const int64_t blocks = cot_memory_blocks();
    for (int n = 1; !r; n++) {
        cot_memory_fail_after(n);
        const cot_status status = cot_router_create(spec, 4, &build, &r);
        cot_memory_fail_after(0);
        if (status == COT_OK) break;
        assert_int_equal(status, COT_OUT_OF_MEMORY);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    cot_router_destroy(r);
    assert_int_equal(cot_memory_blocks(), blocks);
    cot_config_destroy(spec);
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
        cmocka_unit_test(gates_are_finite_and_in_token_order),
        cmocka_unit_test(fixed_k_means_k_different_experts),
        cmocka_unit_test(unit_gates_sum_to_one),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(permuting_tokens_permutes_the_outcome),
        cmocka_unit_test(permuting_experts_permutes_the_outcome),
        cmocka_unit_test(causal_routers_do_not_look_ahead),
        cmocka_unit_test(masked_experts_get_nothing),
        cmocka_unit_test(not_a_number_is_an_error),
        cmocka_unit_test(gates_have_the_gradients_that_they_say),
        cmocka_unit_test(scores_are_the_linear_map_of_tokens),
        cmocka_unit_test(noisy_gating_starts_even),
        cmocka_unit_test(same_seed_same_routing_on_one_and_two_threads),
        cmocka_unit_test(bf16_router_rounds_its_logits),
        cmocka_unit_test(ranking_is_by_logits),
        cmocka_unit_test(top_k_conventions),
        cmocka_unit_test(bad_specs_are_named),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(routers_can_come_from_outside),  /* last: it adds to the list */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
