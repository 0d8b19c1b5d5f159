/* Pools of experts whose weights are not their own alone: gradients, and what they are at the start. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residual_experts_have_the_gradients_that_they_say),
        cmocka_unit_test(residual_experts_start_as_their_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
