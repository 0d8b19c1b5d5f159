/* Every listed router with every listed balance rule in a layer: either the recipe is refused before anything runs, saying what
 * the router lacks, or a training step works. */
#include "layers/layer_fixture.h"

#include "balance/balance.h"
#include "tensor/tape_fixture.h"

/* Does a step with the losses of the rule, if the recipe is taken. */
static bool trains(const char *text)
{
    static layer_fixture f;
    if (try_layer(&f, text) != COT_OK) return false;
    cot_tape_reset(tape, true, true, 1, 0);
    cot_feed_forward_begin_step(f.ffn);
    cot_tensor *y = through_layer(tape, &f, draw_tokens(tape, 1));
    if (f.losses.count) cot_tape_backward(tape, cot_weighted_sum(tape, f.losses.loss, NULL, f.losses.count), 1);
    if (cot_tape_failed(tape)) fail_msg("%s: %s", text, cot_last_error());
    for (int64_t i = 0; i < cot_tensor_count(y); i++)
        if (!isfinite(((const double *)y->data)[i])) fail_msg("%s: not finite", text);
    cot_feed_forward_end_step(f.ffn);
    drop_layer(&f);
    return true;
}

static void a_pair_is_refused_or_trains(void **state)
{
    (void)state;
    const cot_member *router, *rule;
    int trained = 0;
    for (size_t i = 0; (router = cot_router_at(i)) != NULL; i++)
        for (size_t j = 0; (rule = cot_balance_at(j)) != NULL; j++) {
            char who[128], text[512];
            member_text(router, 16, who, sizeof who);
            snprintf(text, sizeof text, "{kind: sparse, router: %s, experts: {kind: ffn, num_experts: 16, intermediate_size: 3}, balance: [{kind: %s}]}",
                     who, rule->name);
            if (trains(text)) trained++;
            else if (!strstr(cot_last_error(), router->name) || strstr(cot_last_error(), "memory"))
                fail_msg("%s: %s", text, cot_last_error());
        }
    assert_true(trained > 150);
}

static void rules_on_gates_fit_product_keys(void **state)
{
    (void)state;
    const char *form = "{kind: sparse, router: {kind: product_key, heads: 2, top_k: 2, query_dim: 4}, experts: {kind: value, num_experts: 16}, "
                       "balance: [{kind: %s}]}";
    const char *rules[] = {"importance", "load", "aux", "z_loss"};
    for (int i = 0; i < 4; i++) {
        char text[512];
        snprintf(text, sizeof text, form, rules[i]);
        assert_int_equal(trains(text), i < 2);
    }
    assert_non_null(strstr(cot_last_error(), "reads a logit of every expert: router 'product_key' forms none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_refused_or_trains),
        cmocka_unit_test(rules_on_gates_fit_product_keys),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
