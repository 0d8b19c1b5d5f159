/* Two passes, tied together: against the formula over both passes' logits; passes that agree; parameters' gradients. */
#include "routers/scene.h"

#include "models/model_fixture.h"
#include "objectives/objective.h"
#include "tensor/tape_fixture.h"

enum { T = 8, V = 11 };

static int32_t ids[T], first[T], targets[T], source[T];

static cot_model *model_with(const char *router)
{
    char text[512];
    snprintf(text, sizeof text, "{kind: lm, hidden_size: 8, num_layers: 2, init_std: 0.5, mixer: {kind: attention, num_heads: 2}, "
             "ffn: {kind: sparse, router: %s, experts: {kind: ffn, num_experts: 4, intermediate_size: 4}}}", router);
    cot_model *model = declared_model(text, V, T, COT_F64);
    assert_int_equal(cot_model_initialise(model, 3), COT_OK);
    assert_int_equal(cot_params_allocate_grads(model->params), COT_OK);
    for (int t = 0; t < T; t++) ids[t] = (t * 7 + 3) % V, targets[t] = t == 5 ? -1 : (t * 3 + 1) % V;
    return model;
}

static double run(cot_model *model, const char *text, bool record)
{
    cot_config *spec;
    cot_objective *objective;
    cot_tensor *nll;
    assert_int_equal(cot_config_parse(text, "objective", &spec), COT_OK);
    assert_int_equal(cot_objective_create(spec, &objective), COT_OK);
    const cot_batch batch = {.rows = 1, .context = T, .ids = ids, .first = first, .targets = targets, .source = source};
    const cot_objective_input in = {.batch = &batch, .token_weight = 1.0 / 7, .balance_weight = 1};
    cot_tape_reset(tape, record, true, 1, 4);
    cot_tensor *loss = objective->ops->loss(objective->state, tape, model, &in, &nll);
    if (record) cot_tape_backward(tape, loss, 1);
    if (cot_tape_failed(tape)) fail_msg("%s", cot_last_error());
    cot_objective_destroy(objective);
    cot_config_destroy(spec);
    return *(const double *)loss->data;
}

/* ln of probabilities [T, V] of one of the two passes. */
static void predict(cot_model *model, int32_t draw, double *out)
{
    cot_tape_reset(tape, false, true, 1, 4);
    const cot_pass pass = {.draw = draw, .ids = ids, .first = first, .targets = targets, .source = source, .tokens = T, .row = T};
    const cot_tensor *logits = cot_model_logits(model, tape, model->ops->hidden(model, tape, &pass, NULL, false));
    for (int t = 0; t < T; t++) {
        double sum = 0;
        for (int i = 0; i < V; i++) sum += exp(((const double *)logits->data)[t * V + i]);
        for (int i = 0; i < V; i++) out[t * V + i] = ((const double *)logits->data)[t * V + i] - log(sum);
    }
}

static void is_the_formula(void **state)
{
    (void)state;
    double p[T * V], q[T * V], want = 0, apart = 0;
    cot_model *model = model_with("{kind: thor}");
    predict(model, 0, p);
    predict(model, 1, q);
    for (int t = 0; t < T; t++) {
        if (targets[t] < 0) continue;
        want -= (p[t * V + targets[t]] + q[t * V + targets[t]]) / 7;
        for (int i = t * V; i < (t + 1) * V; i++) apart += (exp(p[i]) - exp(q[i])) * (p[i] - q[i]) / 2 / 7;
    }
    assert_true(apart > 0);  /* experts were drawn anew */
    assert_true(fabs(run(model, "{kind: consistency, coef: 3}", false) - want - 3 * apart) < 1e-12);
    cot_model_destroy(model);
}

static void passes_without_draws_agree(void **state)
{
    (void)state;
    cot_model *model = model_with("{kind: top_k, top_k: 2}");
    assert_true(fabs(run(model, "{kind: consistency, coef: 9}", false) - 2 * run(model, "{kind: next_token}", false)) < 1e-12);
    cot_model_destroy(model);
}

static void parameters_have_their_gradients(void **state)
{
    (void)state;
    cot_model *model = model_with("{kind: thor}");
    cot_params_clear_grads(model->params);
    run(model, "{kind: consistency, coef: 3}", true);
    cot_params_settle_grads(model->params);
    for (size_t i = 0; i < cot_params_count(model->params); i++) {
        cot_param *param = cot_params_at(model->params, i);
        double *at = (double *)param->value.data + cot_tensor_count(&param->value) / 2, middle = *at, side[2];
        for (int n = 0; n < 2; n++) {
            *at = middle + (n ? 1e-5 : -1e-5);
            param->version++;
            side[n] = run(model, "{kind: consistency, coef: 3}", false);
        }
        *at = middle;
        param->version++;
        const double slope = ((const double *)param->value.grad)[cot_tensor_count(&param->value) / 2], want = (side[1] - side[0]) / 2e-5;
        if (!(fabs(slope - want) < 1e-7 * fmax(1, fabs(want)))) fail_msg("%s: %.12g, central differences give %.12g", param->name, slope, want);
    }
    cot_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_formula),
        cmocka_unit_test(passes_without_draws_agree),
        cmocka_unit_test(parameters_have_their_gradients),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
