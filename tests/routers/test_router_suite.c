/* What every listed router promises, driven by the traits that it states. A router that is added to routers.def is tested by
 * this file without a line here. */
#include "routers/scene.h"

#include "balance/balance.h"
#include "tensor/tape_fixture.h"

enum { T = 24, E = 16, BIG = 48 };

/* Calls `check` for every listed router that has the traits, with the number of columns that its logits have. */
static void each(uint32_t traits, void (*check)(cot_router *r, int64_t columns), int64_t experts)
{
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        if ((((const cot_router_ops *)member)->traits & traits) != traits) continue;
        cot_router *r = make_member(member, experts);
        check(r, r->columns);
        if (cot_tape_failed(tape)) fail_msg("%s: %s", member->name, cot_last_error());
        cot_router_destroy(r);
    }
}

#define NAMED(r, condition) \
    do { \
        if (!(condition)) fail_msg("%s: %s (line %d)", (r)->ops->member.name, #condition, __LINE__); \
    } while (0)

/* ---- what holds for all ---- */

static void check_form(cot_router *r, const scene *s, const cot_routing *out)
{
    int64_t skipped = 0;
    NAMED(r, out->tokens == s->tokens && out->experts == r->num_experts && out->dropped == 0);
    for (int64_t a = 0; a < out->assignments; a++) {
        NAMED(r, isfinite(gate_at(out, a)) && gate_at(out, a) >= 0);
        NAMED(r, out->token[a] >= 0 && out->token[a] < s->tokens && out->expert[a] >= 0 && out->expert[a] < out->experts);
        if (a > 0) NAMED(r, out->token[a] >= out->token[a - 1]);
        for (int64_t b = a; b-- > 0 && out->token[b] == out->token[a];) NAMED(r, out->expert[b] != out->expert[a]);
        skipped += out->slot[a] == COT_SLOT_SKIPPED;
        NAMED(r, out->slot[a] != COT_SLOT_SKIPPED || gate_at(out, a) == 0);
    }
    NAMED(r, out->skipped == skipped);
    if (cot_router_is(r, COT_ROUTER_FIXED_K)) NAMED(r, out->top_k > 0 && out->assignments == s->tokens * out->top_k);
}

static void check_all_forms(cot_router *r, int64_t columns)
{
    const int64_t sizes[] = {T, 1, 0, 7};
    for (int i = 0; i < 4; i++)
        for (int training = 0; training < 2; training++)
            for (int flat = 0; flat < 2; flat++) {
                static scene s;
                draw_scene(&s, sizes[i], columns, 1);
                s.training = training;
                for (int64_t j = 0; flat && j < s.tokens * s.columns; j++) s.logits[j] = s.primary[j] = 0.25;
                const cot_routing out = route_scene(tape, r, &s);
                if (cot_tape_failed(tape)) fail_msg("%s: %s", r->ops->member.name, cot_last_error());
                check_form(r, &s, &out);
            }
}

static void gates_are_finite_and_in_token_order(void **state)
{
    (void)state;
    each(0, check_all_forms, E);
    each(0, check_all_forms, 2);
    each(0, check_all_forms, 1);
}

/* Every expert for every token, where that can be asked for. */
static void top_k_may_be_all(void **state)
{
    (void)state;
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[128];
        if (!has_option(member, "top_k") || !(((const cot_router_ops *)member)->traits & COT_ROUTER_SCORES)) continue;
        snprintf(text, sizeof text, "{kind: %s, top_k: %d}", member->name, E);
        cot_router *r = make_router(text, E, NULL);
        check_all_forms(r, E);
        cot_router_destroy(r);
    }
}

/* ---- by trait ---- */

static void check_unit(cot_router *r, int64_t columns)
{
    static scene s;
    double sum[T] = {0};
    draw_scene(&s, T, columns, 5);
    for (int i = 0; i < T; i += 5) s.logits[i * columns] = 700;  /* far apart: others underflow */
    const cot_routing out = route_scene(tape, r, &s);
    for (int64_t a = 0; a < out.assignments; a++) sum[out.token[a]] += gate_at(&out, a);
    for (int t = 0; t < T; t++) NAMED(r, fabs(sum[t] - 1) < 1e-13);
}

static void unit_gates_sum_to_one(void **state)
{
    (void)state;
    each(COT_ROUTER_UNIT_GATES, check_unit, E);
    each(COT_ROUTER_UNIT_GATES, check_unit, 1);
}

static void check_ties(cot_router *r, int64_t columns)
{
    static scene s;
    draw_scene(&s, T, columns, 1);
    for (int64_t i = 0; i < T * columns; i++) s.logits[i] = s.primary[i] = 0.25;
    const cot_routing out = route_scene(tape, r, &s);
    for (int64_t a = 1; a < out.assignments; a++)
        if (out.token[a] == out.token[a - 1]) NAMED(r, out.expert[a] > out.expert[a - 1]);
    NAMED(r, out.expert[0] == 0);
}

static void ties_go_to_the_lower_index(void **state)
{
    (void)state;
    each(COT_ROUTER_FIXED_K | COT_ROUTER_SCORES, check_ties, E);
}

/* Where token t goes to under the permutation. */
static int64_t token_to(int64_t t) { return (t * 5 + 2) % T; }

static void move_row(double *to, const double *from, int64_t columns)
{
    for (int64_t t = 0; t < T; t++)
        memcpy(to + token_to(t) * columns, from + t * columns, (size_t)columns * sizeof *to);
}

static void check_tokens(cot_router *r, int64_t columns)
{
    static scene s, moved;
    double before[T * E] = {0}, after[T * E] = {0};
    draw_scene(&s, T, columns, 6);
    moved = s;
    move_row(moved.logits, s.logits, columns);
    move_row(moved.primary, s.primary, s.groups);
    for (int t = 0; t < T; t++) {
        moved.ids[token_to(t)] = s.ids[t], moved.previous[token_to(t)] = s.previous[t];
        moved.position[token_to(t)] = s.position[t], moved.labels[token_to(t)] = s.labels[t];
        moved.targets[token_to(t)] = s.targets[t];
    }
    cot_routing out = route_scene(tape, r, &s);
    scatter_gates(&out, before);
    out = route_scene(tape, r, &moved);
    scatter_gates(&out, after);
    for (int t = 0; t < T; t++)
        for (int e = 0; e < E; e++) NAMED(r, fabs(after[token_to(t) * E + e] - before[t * E + e]) < 1e-12);
}

static void permuting_tokens_permutes_the_outcome(void **state)
{
    (void)state;
    each(COT_ROUTER_TOKEN_EQUIVARIANT, check_tokens, E);
}

static void check_experts(cot_router *r, int64_t columns)
{
    static scene s, moved;
    double before[T * E] = {0}, after[T * E] = {0};
    draw_scene(&s, T, columns, 7);
    moved = s;
    for (int t = 0; t < T; t++)
        for (int e = 0; e < E; e++) moved.logits[t * E + (e * 5 + 1) % E] = s.logits[t * E + e];
    cot_routing out = route_scene(tape, r, &s);
    scatter_gates(&out, before);
    out = route_scene(tape, r, &moved);
    scatter_gates(&out, after);
    for (int t = 0; t < T; t++)
        for (int e = 0; e < E; e++) NAMED(r, fabs(after[t * E + (e * 5 + 1) % E] - before[t * E + e]) < 1e-12);
}

static void permuting_experts_permutes_the_outcome(void **state)
{
    (void)state;
    each(COT_ROUTER_EXPERT_EQUIVARIANT | COT_ROUTER_SCORES, check_experts, E);
}

static void check_causal(cot_router *r, int64_t columns)
{
    static scene s;
    double all[T * E] = {0};
    draw_scene(&s, T, columns, 8);
    cot_routing out = route_scene(tape, r, &s);
    scatter_gates(&out, all);
    for (int64_t t = 0; t <= T; t += 8) {  /* also no token at all */
        double some[T * E] = {0};
        s.tokens = t;
        out = route_scene(tape, r, &s);
        scatter_gates(&out, some);
        for (int i = 0; i < t * E; i++) NAMED(r, some[i] == all[i]);
    }
}

static void causal_routers_do_not_look_ahead(void **state)
{
    (void)state;
    each(COT_ROUTER_CAUSAL, check_causal, E);
}

/* A router that does not say that it is causal does look ahead: by how much, in one number. */
static void check_leak(cot_router *r, int64_t columns)
{
    static scene s;
    double all[T * E] = {0}, some[T * E] = {0}, mixed[T * E] = {0}, leak = 0;
    if (cot_router_is(r, COT_ROUTER_CAUSAL)) return;
    draw_scene(&s, T, columns, 8);
    s.training = true;
    cot_routing out = route_scene(tape, r, &s);
    scatter_gates(&out, all);
    if (out.dispatch) memcpy(mixed, out.dispatch->data, sizeof mixed);
    s.tokens = T / 2;
    out = route_scene(tape, r, &s);
    scatter_gates(&out, some);
    for (int i = 0; i < T / 2 * E; i++)
        leak += fabs(all[i] - some[i]) + (out.dispatch ? fabs(mixed[i] - ((const double *)out.dispatch->data)[i]) : 0);
    if (leak == 0) fail_msg("%s: does not look ahead here, but does not say that it is causal", r->ops->member.name);
}

static void others_do(void **state)
{
    (void)state;
    each(0, check_leak, E);
}

/* ---- masks and padding ---- */

static void check_masks(cot_router *r, int64_t columns)
{
    static scene s;
    draw_scene(&s, T, columns, 9);
    for (int t = 0; t < T; t++)
        for (int i = 0; i < 3; i++) s.logits[t * E + (t + i) % E] = -INFINITY;
    const cot_routing out = route_scene(tape, r, &s);
    check_form(r, &s, &out);
    for (int64_t a = 0; a < out.assignments; a++) {
        const bool masked = !(s.logits[out.token[a] * E + out.expert[a]] > -INFINITY);
        if (masked) NAMED(r, gate_at(&out, a) == 0);
    }
    for (int i = 0; out.probs && i < T * E; i++)
        if (!(s.logits[i] > -INFINITY)) NAMED(r, ((const double *)out.probs->data)[i] == 0);
    for (int i = 0; i < T * E; i++) s.logits[i] = -INFINITY;
    NAMED(r, route_scene(tape, r, &s).assignments == 0);
}

static void masked_experts_get_nothing(void **state)
{
    (void)state;
    each(COT_ROUTER_SCORES, check_masks, E);
}

/* Sums of what every balance rule makes of a routing, and of the router's own loss. */
static int rule_losses(const cot_routing *routing, double *loss)
{
    const cot_member *member;
    int count = 0;
    for (size_t i = 0; (member = cot_balance_at(i)) != NULL; i++) {
        char text[64];
        cot_config *spec;
        cot_balance *rule;
        if (!((const cot_balance_ops *)member)->loss) continue;
        snprintf(text, sizeof text, "{kind: %s, coef: 1}", member->name);
        assert_int_equal(cot_config_parse(text, "test", &spec), COT_OK);
        assert_int_equal(cot_balance_create(spec, &rule), COT_OK);
        loss[count++] = cot_balance_fits(rule, routing) ? *(const double *)cot_balance_loss(rule, tape, routing)->data : 0;
        cot_balance_destroy(rule);
        cot_config_destroy(spec);
    }
    loss[count++] = routing->own_loss ? *(const double *)routing->own_loss->data : 0;
    return count;
}

/* Every third token of `padded` is filling, marked so or with all experts masked; the others are those of `s`. */
static void add_padding(const scene *s, bool marked, scene *padded, int32_t *at)
{
    draw_scene(padded, s->tokens * 3 / 2, s->columns, 77);
    padded->training = s->training;
    padded->has_padding = marked;
    for (int64_t i = 0, t = 0; i < padded->tokens; i++) {
        if (i % 3 == 1) {
            padded->padding[i] = 1;
            for (int64_t c = 0; !marked && c < s->columns; c++) padded->logits[i * s->columns + c] = -INFINITY;
            continue;
        }
        const size_t row = (size_t)s->columns * sizeof(double);
        memcpy(padded->logits + i * s->columns, s->logits + t * s->columns, row);
        memcpy(padded->raw + i * s->columns, s->raw + t * s->columns, row);
        memcpy(padded->noise + i * s->columns, s->noise + t * s->columns, row);
        memcpy(padded->primary + i * s->groups, s->primary + t * s->groups, (size_t)s->groups * sizeof(double));
        padded->ids[i] = s->ids[t], padded->previous[i] = s->previous[t], padded->position[i] = s->position[t];
        padded->labels[i] = s->labels[t], padded->targets[i] = s->targets[t];
        at[t++] = (int32_t)i;
    }
}

static void compare_padded(cot_router *r, bool training, bool marked)
{
    static scene s, padded;
    static double gates[T * E];
    double want[64], got[64];
    int32_t at[BIG], token[T * E], expert[T * E], slot[T * E];
    draw_scene(&s, T, r->columns, 10);
    s.training = training;
    add_padding(&s, marked, &padded, at);
    const cot_routing plain = route_scene(tape, r, &s);
    const size_t count = (size_t)plain.assignments;
    memcpy(gates, plain.gate->data, count * sizeof *gates);
    memcpy(token, plain.token, count * sizeof *token);
    memcpy(expert, plain.expert, count * sizeof *expert);
    memcpy(slot, plain.slot, count * sizeof *slot);
    const int losses = rule_losses(&plain, want);
    cot_routing out = route_scene(tape, r, &padded);
    rule_losses(&out, got);
    cot_routing_expand(&out);
    NAMED(r, out.tokens == padded.tokens && (size_t)out.assignments == count);
    for (size_t a = 0; a < count; a++) {
        NAMED(r, out.token[a] == at[token[a]] && out.expert[a] == expert[a] && out.slot[a] == slot[a]);
        NAMED(r, gate_at(&out, (int64_t)a) == gates[a]);
    }
    for (int i = 0; i < losses; i++) NAMED(r, got[i] == want[i]);
}

static void check_padding(cot_router *r, int64_t columns)
{
    (void)columns;
    for (int training = 0; training < 2; training++) {
        compare_padded(r, training, true);
        if (cot_router_is(r, COT_ROUTER_SCORES)) compare_padded(r, training, false);
    }
}

static void padding_and_masked_tokens_change_nothing(void **state)
{
    (void)state;
    each(0, check_padding, E);
}

static void not_a_number_is_an_error(void **state)
{
    (void)state;
    const cot_member *member;
    const double bad[] = {NAN, INFINITY};
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++)
        for (int b = 0; b < 2; b++)
            for (int training = 0; training < 2; training++) {
                static scene s;
                cot_router *r = make_member(member, E);
                draw_scene(&s, 4, r->columns, 11);
                s.training = training;
                s.logits[2] = bad[b];
                route_scene(tape, r, &s);
                if (!cot_router_is(r, COT_ROUTER_NO_LOGITS)) NAMED(r, cot_tape_status(tape) == COT_NOT_FINITE);
                cot_router_destroy(r);
            }
    cot_tape_reset(tape, false, false, 1, 0);
}

/* ---- gradients of gates ---- */

typedef struct {
    cot_router *router;
    scene       s;
} gate_case;

static cot_tensor *build_gates(cot_tape *t, cot_tensor *const *in, const void *context)
{
    gate_case *c = (gate_case *)(uintptr_t)context;
    const cot_scores scores = scene_scores(&c->s, in);
    const cot_route_input input = scene_input(&c->s);
    cot_routing out;
    cot_router_select(c->router, t, &input, &scores, &out);
    return probe(t, out.gate);
}

static void check_gradient(cot_router *r, int64_t columns)
{
    for (int training = 0; training < 2; training++) {
        static difference_case c;
        static gate_case g;
        c = (difference_case){.training = training};
        g.router = r;
        draw_scene(&g.s, T, columns, 12);
        g.s.training = training;
        add_input(&c, T, columns, 12);
        add_input(&c, T, columns, 13);
        add_input(&c, T, g.s.groups, 14);
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
                             .hidden_size = 40, .vocab_size = 20, .init = COT_INIT_NORMAL, .init_value = 0.3};
    l.router = make_router(text, E, &build);
    assert_int_equal(cot_params_allocate(l.params, 7), COT_OK);
    assert_int_equal(cot_params_allocate_grads(l.params), COT_OK);
    return l;
}

static void forget(learned *l)
{
    cot_router_destroy(l->router);
    cot_params_destroy(l->params);
}

enum { MANY = 1000 };

static cot_routing route_tokens(cot_tape *t, learned *l, bool training)
{
    static int32_t ids[MANY], previous[MANY], position[MANY], labels[MANY], targets[MANY];
    cot_tape_reset(t, true, training, 3, 17);
    cot_params_clear_grads(l->params);
    cot_tensor *x = cot_tape_matrix(t, cot_tape_act(t), MANY, 40, true);
    for (int64_t i = 0; i < MANY * 40; i++) cot_value_set(x->data, x->dtype, i, test_normal(20, (uint64_t)i));
    for (int i = 0; i < MANY; i++) {
        ids[i] = (int32_t)(test_uniform(21, (uint64_t)i) * 20);
        previous[i] = i ? ids[i - 1] : -1;
        position[i] = i, labels[i] = i % 4, targets[i] = (ids[i] + 3) % 20;
    }
    cot_routing out;
    const cot_route_input in = {.tokens = MANY, .x = x, .ids = ids, .previous = previous, .position = position,
                                .labels = labels, .targets = targets};
    cot_router_run(l->router, t, &in, &out);
    if (cot_tape_failed(t)) fail_msg("%s: %s", l->router->ops->member.name, cot_last_error());
    return out;
}

static void same_seed_same_routing_on_one_and_two_threads(void **state)
{
    (void)state;
    const cot_member *member;
    static float gates[2][MANY * E];
    static int32_t chosen[2][MANY * E];
    cot_tape *t;
    assert_int_equal(cot_tape_create(COT_MODE_BF16, &t), COT_OK);
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[128];
        member_text(member, E, text, sizeof text);
        learned l = learn(text, COT_F32);
        size_t count[2] = {0, 0};
        for (int threads = 1; threads <= 2; threads++) {
            assert_int_equal(cot_set_threads(threads), COT_OK);
            const cot_routing out = route_tokens(t, &l, true);
            count[threads - 1] = (size_t)out.assignments;
            memcpy(gates[threads - 1], out.gate->data, (size_t)out.assignments * sizeof(float));
            memcpy(chosen[threads - 1], out.expert, (size_t)out.assignments * sizeof(int32_t));
        }
        assert_int_equal(count[0], count[1]);
        if (memcmp(gates[0], gates[1], count[0] * sizeof(float)) != 0 ||
            memcmp(chosen[0], chosen[1], count[0] * sizeof(int32_t)) != 0)
            fail_msg("%s: the number of threads matters", member->name);
        forget(&l);
    }
    cot_tape_destroy(t);
}

/* Evaluation changes no parameter and no buffer, and gives the same twice. */
static void evaluation_mutates_nothing(void **state)
{
    (void)state;
    const cot_member *member;
    cot_tape *t;
    static float gates[MANY * E];
    assert_int_equal(cot_tape_create(COT_MODE_F32, &t), COT_OK);
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[128];
        double before = 0, after = 0;
        member_text(member, E, text, sizeof text);
        learned l = learn(text, COT_F32);
        for (int round = 0; round < 2; round++) {
            double *sum = round ? &after : &before;
            for (size_t p = 0; p < cot_params_count(l.params); p++) {
                const cot_tensor *v = &cot_params_at(l.params, p)->value;
                for (int64_t j = 0; j < cot_tensor_count(v); j++)
                    *sum += (double)(j + 1) * cot_value_at(v->data, v->dtype, j);
            }
            const cot_routing out = route_tokens(t, &l, false);
            if (round && memcmp(gates, out.gate->data, (size_t)out.assignments * sizeof(float)) != 0)
                fail_msg("%s: evaluation differs the second time", member->name);
            memcpy(gates, out.gate->data, (size_t)out.assignments * sizeof(float));
        }
        if (before != after) fail_msg("%s: evaluation changes parameters or buffers", member->name);
        forget(&l);
    }
    cot_tape_destroy(t);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    const cot_build build = {.hidden_size = 1};
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[128];
        cot_config *spec;
        cot_router *r = NULL;
        member_text(member, 4, text, sizeof text);
        assert_int_equal(cot_config_parse(text, "test", &spec), COT_OK);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gates_are_finite_and_in_token_order),
        cmocka_unit_test(top_k_may_be_all),
        cmocka_unit_test(unit_gates_sum_to_one),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(permuting_tokens_permutes_the_outcome),
        cmocka_unit_test(permuting_experts_permutes_the_outcome),
        cmocka_unit_test(causal_routers_do_not_look_ahead),
        cmocka_unit_test(others_do),
        cmocka_unit_test(masked_experts_get_nothing),
        cmocka_unit_test(padding_and_masked_tokens_change_nothing),
        cmocka_unit_test(not_a_number_is_an_error),
        cmocka_unit_test(gates_have_the_gradients_that_they_say),
        cmocka_unit_test(same_seed_same_routing_on_one_and_two_threads),
        cmocka_unit_test(evaluation_mutates_nothing),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
