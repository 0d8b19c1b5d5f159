/* Every listed balance rule with every listed router: gradients by central differences through both, no tokens, all equal,
 * and one expert. */
#include "routers/scene.h"

#include "balance/balance.h"

enum { T = 24, E = 6 };

static cot_balance *make_rule(const cot_member *member)
{
    char text[128];
    cot_config *spec;
    cot_balance *rule = NULL;
    snprintf(text, sizeof text, has_option(member, "coef") ? "{kind: %s, coef: 3}" : "{kind: %s}", member->name);
    if (cot_config_parse(text, "test", &spec) != COT_OK || cot_balance_create(spec, &rule) != COT_OK)
        fail_msg("%s", cot_last_error());
    cot_config_destroy(spec);
    return rule;
}

/* Does the router form what the rule reads, and do its traits say so? */
static bool fits(cot_router *r, const cot_balance *rule)
{
    static scene s;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    draw_scene(&s, 4, r->columns, 1);
    const cot_routing routing = route_scene(tape, r, &s);
    if (cot_tape_failed(tape)) fail_msg("%s: %s", r->ops->member.name, cot_last_error());
    const bool result = cot_balance_fits(rule, &routing);
    const uint32_t traits = r->ops->traits;
    const bool shares = !(traits & (COT_ROUTER_NO_SHARES | COT_ROUTER_NO_LOGITS)), logits = !(traits & (COT_ROUTER_NO_EXPERT_LOGITS | COT_ROUTER_NO_LOGITS));
    if (result != ((!rule->ops->reads_shares || shares) && (!rule->ops->reads_logits || logits)))
        fail_msg("%s: its traits do not say what %s needs", r->ops->member.name, rule->ops->member.name);
    cot_tape_destroy(tape);
    return result;
}

typedef void (*pair_check)(cot_router *r, cot_balance *rule, const char *what);

static void each_pair(int64_t experts, pair_check check)
{
    const cot_member *router, *rule;
    for (size_t i = 0; (router = cot_router_at(i)) != NULL; i++)
        for (size_t j = 0; (rule = cot_balance_at(j)) != NULL; j++) {
            if (!((const cot_balance_ops *)rule)->loss) continue;
            char what[128];
            snprintf(what, sizeof what, "%s with %s", router->name, rule->name);
            cot_router *r = make_member(router, experts);
            cot_balance *b = make_rule(rule);
            if (fits(r, b)) check(r, b, what);
            cot_router_destroy(r);
            cot_balance_destroy(b);
        }
}

/* ---- gradients ---- */

typedef struct {
    cot_router  *router;
    cot_balance *rule;
    scene        s;
} pair_case;

static cot_tensor *build(cot_tape *t, cot_tensor *const *in, const void *context)
{
    pair_case *c = (pair_case *)(uintptr_t)context;
    const cot_scores scores = scene_scores(&c->s, in);
    const cot_route_input input = scene_input(&c->s);
    cot_routing routing;
    cot_router_select(c->router, t, &input, &scores, &routing);
    return cot_balance_loss(c->rule, t, &routing);
}

static void check_pair_gradients(cot_router *r, cot_balance *rule, const char *what)
{
    for (int training = 0; training < 2; training++) {
        static difference_case c;
        static pair_case p;
        c = (difference_case){.training = training};
        p.router = r, p.rule = rule;
        draw_scene(&p.s, T, r->columns, 60);
        p.s.training = training;
        add_input(&c, T, r->columns, 60);
        add_input(&c, T, r->columns, 61);
        add_input(&c, T, p.s.groups, 62);
        for (int64_t t = 0; t < T && cot_router_is(r, COT_ROUTER_SCORES); t += 9)
            c.value[0][r->columns * t + t % r->columns] = -INFINITY;
        check_gradients(what, &c, build, &p, 1e-6);
    }
}

static void gradients_through_router_and_rule(void **state)
{
    (void)state;
    each_pair(E, check_pair_gradients);
}

/* ---- edges ---- */

static void check_edges(cot_router *r, cot_balance *rule, const char *what)
{
    const int64_t sizes[] = {0, 1, T};
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    for (int i = 0; i < 3; i++)
        for (int training = 0; training < 2; training++) {
            static scene s;
            draw_scene(&s, sizes[i], r->columns, 70);
            s.training = training;
            for (int64_t j = 0; j < SCENE_CELLS; j++) s.logits[j] = s.primary[j] = 0;
            const cot_routing routing = route_scene(tape, r, &s);
            const cot_tensor *loss = cot_balance_loss(rule, tape, &routing);
            if (cot_tape_failed(tape)) fail_msg("%s: %s", what, cot_last_error());
            const double value = *(const double *)loss->data;
            if (!isfinite(value) || (s.tokens == 0 && value != 0)) fail_msg("%s: %g for %lld tokens", what, value, (long long)s.tokens);
        }
    cot_tape_destroy(tape);
}

static void all_equal_one_token_no_token(void **state)
{
    (void)state;
    each_pair(E, check_edges);
    each_pair(1, check_edges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_through_router_and_rule),
        cmocka_unit_test(all_equal_one_token_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
