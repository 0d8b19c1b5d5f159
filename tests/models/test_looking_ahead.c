/* Whole language models: does what comes later change what was predicted before? With every listed router: never where
 * it says that it is causal, and measurably where it does not. And routing by label from the source of a text to its
 * experts. */
#include "routers/scene.h"

#include "models/model_fixture.h"
#include "tensor/tape_fixture.h"

enum { T = 16, V = 20, D = 16, E = 4 };

static cot_model *model_with(const char *router)
{
    char text[512];
    snprintf(text, sizeof text,
             "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.3, mixer: {kind: attention, num_heads: 2}, "
             "ffn: {kind: sparse, router: %s, experts: {kind: ffn, num_experts: 4, intermediate_size: 8}}}",
             router);
    cot_model *model = declared_model(text, V, T, COT_F64);
    assert_int_equal(cot_model_initialise(model, 3), COT_OK);
    return model;
}

/* Logits [T, V] of a pass in training. */
static void predict(cot_model *model, const int32_t *ids, const int32_t *source,
                    void (*observe)(void *, int32_t, const cot_routing *), void *context, double *logits)
{
    static const int32_t first[T];
    cot_tape_reset(tape, false, true, 1, 0);
    const cot_pass pass = {
        .ids = ids, .first = first, .source = source, .tokens = T, .row = T, .observe = observe, .context = context};
    const cot_tensor *out = cot_model_logits(model, tape, model->ops->hidden(model, tape, &pass, NULL, false));
    if (cot_tape_failed(tape)) fail_msg("%s", cot_last_error());
    memcpy(logits, out->data, (size_t)(T * V) * sizeof *logits);
}

/* By how much logits of the first half move when the second half becomes another text. */
static double leak(cot_model *model)
{
    static double before[T * V], after[T * V];
    int32_t ids[T], source[T] = {0};
    double most = 0;
    for (int t = 0; t < T; t++) ids[t] = (t * 7 + 3) % V;
    predict(model, ids, source, NULL, NULL, before);
    for (int t = T / 2; t < T; t++) ids[t] = (t * 11 + 5) % V;
    predict(model, ids, source, NULL, NULL, after);
    for (int i = 0; i < T / 2 * V; i++) most = fmax(most, fabs(before[i] - after[i]));
    return most;
}

static void only_what_says_so_looks_ahead(void **state)
{
    (void)state;
    const cot_member *member;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++) {
        char text[128];
        member_text(member, E, text, sizeof text);
        if (has_option(member, "query_norm"))
            snprintf(text, sizeof text, "{kind: %s, heads: 1, top_k: 2, query_norm: none}", member->name);
        cot_model *model = model_with(text);
        const double moved = leak(model);
        const bool causal = ((const cot_router_ops *)member)->traits & COT_ROUTER_CAUSAL;
        if (causal && moved != 0)
            fail_msg("%s says that it is causal, and earlier logits move by %g", member->name, moved);
        if (!causal && moved < 1e-6)
            fail_msg("%s says that it looks ahead, and earlier logits move by %g", member->name, moved);
        cot_model_destroy(model);
    }
}

/* Statistics of a training batch see all of it: product keys choose without looking ahead, their normalised queries do
 * look. */
static void statistics_of_a_batch_leak(void **state)
{
    (void)state;
    cot_model *model = model_with("{kind: product_key, heads: 1, top_k: 2, query_norm: batch}");
    assert_true(leak(model) > 0);
    cot_model_destroy(model);
}

/* ---- by label ---- */

typedef struct {
    int32_t expert[2][T];  /* of each layer's tokens */
} seen;

static void see(void *context, int32_t layer, const cot_routing *routing)
{
    seen *s = context;
    for (int64_t a = 0; a < routing->assignments; a++) s->expert[layer][routing->token[a]] = routing->expert[a];
}

static void labels_choose_experts(void **state)
{
    (void)state;
    static double logits[T * V];
    int32_t ids[T], source[T];
    seen language, task;
    for (int t = 0; t < T; t++) ids[t] = (t * 7 + 3) % V, source[t] = t * 6 / T;  /* six sources */
    cot_model *model = model_with("{kind: language}");
    predict(model, ids, source, see, &language, logits);
    for (int t = 0; t < T; t++) assert_int_equal(language.expert[0][t], source[t] % E);
    cot_model_destroy(model);

    model = model_with("{kind: task, top_k: 1, num_labels: 6}");
    predict(model, ids, source, see, &task, logits);
    const cot_param *weight = parameter_of(model, "layers.1.ffn.router.weight");  /* [6, E] */
    for (int t = 0; t < T; t++) {
        const double *row = (const double *)weight->value.data + source[t] * E;
        int best = 0;
        for (int e = 1; e < E; e++) best = row[e] > row[best] ? e : best;
        assert_int_equal(task.expert[1][t], best);
    }
    cot_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_says_so_looks_ahead),
        cmocka_unit_test(statistics_of_a_batch_leak),
        cmocka_unit_test(labels_choose_experts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
