/* Whole models: what they cost by hand, the same logits after a round over the disk, layers that differ, one expert as
 * a dense layer, capacity without end, and memory that runs out anywhere. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>

#include "data/corpus_fixture.h"

#include <coterie/evaluate.h>
#include <coterie/runtime.h>
#include <jansson.h>

#include "base/memory.h"
#include "models/model_fixture.h"
#include "objectives/objective.h"

/* ---- costs ---- */

static void check_cost(const char *yaml, int64_t vocab, int64_t context, int64_t total, int64_t active, double flops)
{
    cot_model *model = declared_model(yaml, vocab, context, COT_F32);
    const cot_model_info info = cot_model_describe(model, 0);
    assert_int_equal(info.parameters_total, total);
    assert_int_equal(info.parameters_active, active);
    assert_true(info.flops_forward == flops);
    assert_true(info.flops_training == 3 * flops);
    assert_int_equal(info.bytes_training, 16 * total);
    assert_int_equal(info.context, context);
    cot_model_destroy(model);
}

/* D = 12, L = 3, V = 50, 3 heads of 4, F = 20, context 31: a token sees 16 on average. Matrices a x b cost 2ab FLOPs
 * per token. */
static void dense_costs(void **state)
{
    (void)state;
    const int64_t attention = 12 * 36 + 12 * 12, ffn = 3 * 12 * 20, norms = 2 * 12;
    const double flops = 2.0 * attention + 4 * 12 * 16 + 2.0 * ffn;
    check_cost("{kind: lm, hidden_size: 12, num_layers: 3, mixer: {kind: attention, num_heads: 3}, ffn: {kind: dense, "
               "intermediate_size: 20}}",
               50, 31, 50 * 12 + 3 * (attention + ffn + norms) + 12, 50 * 12 + 3 * (attention + ffn + norms) + 12,
               3 * flops + 2 * 12 * 50);
}

/* Separate output; 4 query heads of 6 over 2 key heads, with biases and norms of heads; a window of 5 tokens. */
static void grouped_queries_cost(void **state)
{
    (void)state;
    const int64_t attention = 12 * (24 + 12 + 12) + 24 * 12, extra = (24 + 12 + 12) + 6 + 6, ffn = 3 * 12 * 20,
                  norms = 2 * 12;
    const double flops = 2.0 * attention + 4 * 24 * 5 + 2.0 * ffn;
    const int64_t total = 2 * 50 * 12 + 2 * (attention + extra + ffn + norms) + 12;
    check_cost("{kind: lm, hidden_size: 12, num_layers: 2, tie_word_embeddings: false, mixer: {kind: attention, "
               "num_heads: 4, num_kv_heads: 2, head_dim: 6,"
               " bias: true, qk_norm: true, sliding_window: 5}, ffn: {kind: dense, intermediate_size: 20}}",
               50, 31, total, total, 2 * flops + 2 * 12 * 50);
}

/* 8 experts of 10, 2 per token, a shared one of 14 with a gate; all of the router is active. */
static void sparse_costs(void **state)
{
    (void)state;
    const int64_t attention = 4 * 12 * 12, expert = 3 * 12 * 10, shared = 3 * 12 * 14 + 12, router = 12 * 8,
                  rest = attention + router + shared + 2 * 12;
    const int64_t ends = 50 * 12 + 12;
    const double flops = 2.0 * attention + 4 * 12 * 16 + 2.0 * (2 * expert + router + shared);
    check_cost("{kind: lm, hidden_size: 12, num_layers: 2, mixer: {kind: attention, num_heads: 2}, ffn: {kind: sparse, "
               "router: {kind: top_k, top_k: 2},"
               " experts: {kind: ffn, num_experts: 8, intermediate_size: 10}, shared: {intermediate_size: 14, gate: "
               "sigmoid}}}",
               50, 31, ends + 2 * (rest + 8 * expert), ends + 2 * (rest + 2 * expert), 2 * flops + 2 * 12 * 50);
    /* Noise has a matrix of its own; a dense layer below. */
    const int64_t dense = 3 * 12 * 20, plain = attention + 2 * 12;
    check_cost("{kind: lm, hidden_size: 12, num_layers: 2, mixer: {kind: attention, num_heads: 2}, ffn: {kind: dense, "
               "intermediate_size: 20}, layers: [{at: 1,"
               " ffn: {kind: sparse, router: {kind: noisy_top_k, top_k: 1}, experts: {kind: ffn, num_experts: 8, "
               "intermediate_size: 10}}}]}",
               50, 31, ends + 2 * plain + dense + 2 * router + 8 * expert,
               ends + 2 * plain + dense + 2 * router + expert,
               2 * (2.0 * attention + 4 * 12 * 16) + 2.0 * dense + 2.0 * expert + 4.0 * router + 2 * 12 * 50);
}

/* Experts of three sublayers of 10: two matrices, their biases, and a norm with one. */
static void stacks_cost(void **state)
{
    (void)state;
    const int64_t attention = 4 * 12 * 12, matrices = 3 * 2 * 12 * 10, expert = matrices + 3 * (10 + 12 + 2 * 12), router = 12 * 8,
                  rest = 50 * 12 + 12 + 2 * (attention + router + 2 * 12);
    check_cost("{kind: lm, hidden_size: 12, num_layers: 2, mixer: {kind: attention, num_heads: 2}, ffn: {kind: sparse, "
               "router: {kind: base}, experts: {kind: stack, num_experts: 8, num_sublayers: 3, intermediate_size: 10}}}",
               50, 31, rest + 2 * 8 * expert, rest + 2 * expert,
               2 * (2.0 * attention + 4 * 12 * 16 + 2.0 * (matrices + router)) + 2 * 12 * 50);
}

static void costs_follow_the_context(void **state)
{
    (void)state;
    cot_model *model = declared_model("{kind: lm, hidden_size: 12, num_layers: 2, mixer: {kind: attention, num_heads: "
                                      "2, num_kv_heads: 1}, ffn: {kind: dense}}",
                                      50, 31, COT_F32);
    const cot_model_info near = cot_model_describe(model, 31), far = cot_model_describe(model, 1031);
    assert_true(far.flops_forward - near.flops_forward == 2 * 4.0 * 12 * 500);  /* half of a thousand more to look at */
    assert_int_equal(near.bytes_serving, 4 * near.parameters_total + 2 * 2 * 31 * 6 * 4);  /* layers, k and v, tokens, width, bytes */
    assert_int_equal(far.bytes_serving - near.bytes_serving, 2 * 2 * 1000 * 6 * 4);
    assert_true(near.flops_recompute == near.flops_forward - 2 * 12 * 50);
    cot_model_destroy(model);
}

/* ---- models on disk ---- */

enum { V = 40, CONTEXT = 16 };

static const struct {
    const char *type, *yaml;
} kinds[] = {
    {"llama", "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, num_heads: 4, num_kv_heads: 2},"
              " ffn: {kind: dense, intermediate_size: 24}}"},
    {"llama", "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, tie_word_embeddings: false, rms_norm_eps: 1e-6,"
              " mixer: {kind: attention, num_heads: 2, rope_theta: 500}, ffn: {kind: dense, intermediate_size: 24}}"},
    {"mixtral", "{kind: lm, hidden_size: 16, num_layers: 3, init_std: 0.2, mixer: {kind: attention, num_heads: 4, num_kv_heads: 1, sliding_window: 7},"
                " ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, intermediate_size: 12},"
                " balance: [{kind: aux, coef: 0.02}]}}"},
    {"coterie", "{kind: lm, hidden_size: 16, num_layers: 3, init_std: 0.2, mixer: {kind: attention, num_heads: 2, qk_norm: true, bias: true},"
                " ffn: {kind: dense, intermediate_size: 24}, layers: [{at: '1::2', ffn: {kind: sparse, router: {kind: noisy_top_k, top_k: 2},"
                " experts: {kind: ffn, num_experts: 4, intermediate_size: 12}, capacity: {capacity_factor: 1},"
                " shared: {intermediate_size: 8, gate: sigmoid}}}]}"},
    {"coterie", "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, num_heads: 2},"
                " ffn: [{kind: dense, intermediate_size: 24}, {kind: sparse, router: {kind: switch}, experts: {kind: ffn, num_experts: 4, intermediate_size: 12}}]}"},
    {"coterie", "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, num_heads: 2},"
                " ffn: {kind: sparse, router: {kind: top_k, top_k: 2, norm_topk_prob: false}, experts: {kind: ffn, num_experts: 4, intermediate_size: 12}}}"},
    {"coterie", "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, num_heads: 2},"
                " ffn: {kind: sparse, router: {kind: base}, experts: {kind: stack, num_experts: 4, num_sublayers: 2, intermediate_size: 12}}}"},
};

static void logits_of(cot_model *model, float logits[CONTEXT * V])
{
    int32_t ids[CONTEXT];
    for (int i = 0; i < CONTEXT; i++) ids[i] = (i * i * 7 + 3 * i + 5) % V;
    CHECK_OK(cot_model_logits_of(model, ids, CONTEXT, logits));
}

static void models_come_back_from_disk(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        static float before[CONTEXT * V], after[CONTEXT * V];
        scratch s = scratch_make();
        cot_tokenizer *tokenizer;
        cot_model *model = made_model(kinds[i].yaml, V, CONTEXT, 3), *back;
        assert_string_equal(cot_model_describe(model, 0).published_as, kinds[i].type);
        logits_of(model, before);
        CHECK_OK(cot_model_save(model, NULL, scratch_path(&s, "model")));
        CHECK_OK(cot_model_load(s.path, &back, &tokenizer));
        assert_null(tokenizer);
        logits_of(back, after);
        assert_memory_equal(before, after, sizeof before);  /* the same bits */
        const cot_model_info a = cot_model_describe(model, 0), b = cot_model_describe(back, 0);
        assert_string_equal(b.published_as, kinds[i].type);
        assert_int_equal(a.parameters_active, b.parameters_active);
        assert_int_equal(b.context, CONTEXT);
        assert_true(a.flops_forward == b.flops_forward);
        cot_model_destroy(model);
        cot_model_destroy(back);
        scratch_remove(&s);
    }
}

static void tokenizers_come_along(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer(), *back_tokenizer;
    cot_model *model = made_model(kinds[0].yaml, 257, CONTEXT, 3), *back;
    CHECK_OK(cot_model_save(model, tokenizer, scratch_path(&s, "model")));
    CHECK_OK(cot_model_load(s.path, &back, &back_tokenizer));
    assert_int_equal(cot_tokenizer_fingerprint(back_tokenizer), cot_tokenizer_fingerprint(tokenizer));
    cot_tokenizer_destroy(back_tokenizer);
    cot_model_destroy(back);
    cot_model_destroy(model);
    /* A model with fewer symbols than its tokenizer is none. */
    model = made_model(kinds[0].yaml, 256, CONTEXT, 3);
    CHECK_OK(cot_model_save(model, NULL, s.path));
    CHECK_FAILS(cot_model_load(s.path, &back, &back_tokenizer), COT_FORMAT,
                "tokenizer.json has 257 symbols, the model beside it 256");
    assert_null(back);
    cot_model_destroy(model);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

static double coef_on_disk(const char *yaml)
{
    scratch s = scratch_make();
    cot_model *model = made_model(yaml, V, CONTEXT, 3);
    CHECK_OK(cot_model_save(model, NULL, scratch_path(&s, "model")));
    json_t *root = json_load_file(scratch_path(&s, "model/config.json"), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(root, "model_type")), "mixtral");
    const double coef = json_number_value(json_object_get(root, "router_aux_loss_coef"));
    json_decref(root);
    cot_model_destroy(model);
    scratch_remove(&s);
    return coef;
}

/* The published loss is a mean over layers with fractions that add up to top_k; ours a sum over layers, with fractions
 * that add up to 1 unless divide_by_k is off. */
static void the_balance_coefficient_is_published_in_published_units(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        double      want;
    } cases[] = {{"{kind: aux, coef: 0.02}", 0.03},
                 {"{kind: aux, coef: 0.02, divide_by_k: false}", 0.06},
                 {"{kind: aux, coef: 0.02, choices: first, divide_by_k: false}", 0.03},
                 {"{kind: z_loss, coef: 0.1}", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char yaml[512];
        snprintf(yaml, sizeof yaml,
                 "{kind: lm, hidden_size: 16, num_layers: 3, mixer: {kind: attention}, ffn: {kind: sparse, router: "
                 "{kind: top_k, top_k: 2},"
                 " experts: {kind: ffn, num_experts: 4, intermediate_size: 12}, balance: [%s]}}",
                 cases[i].rule);
        assert_true(fabs(coef_on_disk(yaml) - cases[i].want) < 1e-12);
    }
}

/* ---- layers ---- */

/* Experts of each of six layers, as a text. */
static void check_layers(const char *layers, const char *want)
{
    char yaml[1024], got[64] = "";
    snprintf(yaml, sizeof yaml,
             "{kind: lm, hidden_size: 8, num_layers: 6, mixer: {kind: attention, num_heads: 2}, ffn: {kind: dense, "
             "intermediate_size: 8}, layers: %s}",
             layers);
    cot_model *model = declared_model(yaml, V, CONTEXT, COT_F32);
    for (int64_t i = 0; i < 6; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d", i ? " " : "",
                 (int)cot_model_layer_experts(model, i));
    assert_string_equal(got, want);
    cot_model_destroy(model);
}

#define SPARSE(at, experts) \
    "{at: " at ", ffn: {kind: sparse, router: {kind: top_k, top_k: 1}, experts: {kind: ffn, num_experts: " #experts ", intermediate_size: 4}}}"

static void slices_pick_layers(void **state)
{
    (void)state;
    check_layers("[" SPARSE("2", 4) "]", "0 0 4 0 0 0");
    check_layers("[" SPARSE("-1", 4) "]", "0 0 0 0 0 4");
    check_layers("[" SPARSE("'::'", 4) "]", "4 4 4 4 4 4");
    check_layers("[" SPARSE("'1::2'", 4) "]", "0 4 0 4 0 4");
    check_layers("[" SPARSE("'2:'", 4) "]", "0 0 4 4 4 4");
    check_layers("[" SPARSE("':2'", 4) "]", "4 4 0 0 0 0");
    check_layers("[" SPARSE("'1:-1'", 4) "]", "0 4 4 4 4 0");
    check_layers("[" SPARSE("'-3::2'", 4) "]", "0 0 0 4 0 4");
    check_layers("[" SPARSE("'1:100:3'", 4) "]", "0 4 0 0 4 0");
    check_layers("[" SPARSE("'4:2'", 4) "]", "0 0 0 0 0 0");
    /* The last match wins; what it does not name, earlier matches or the model say. */
    check_layers("[" SPARSE("'::'", 4) ", " SPARSE("'3:'", 8) ", " SPARSE("5", 2) "]", "4 4 4 8 8 2");
    check_layers("[" SPARSE("5", 2) ", " SPARSE("'::'", 4) "]", "4 4 4 4 4 4");
    check_layers("[" SPARSE("'::2'", 4) ", {at: '::', mixer: {kind: attention, num_heads: 4}}]", "4 0 4 0 4 0");
    check_layers("[" SPARSE("'::'", 4) ", {at: 1, ffn: {kind: dense, intermediate_size: 4}}]", "4 0 4 4 4 4");
}

static void layers_say_what_they_are(void **state)
{
    (void)state;
    char text[128], small[24];
    cot_model *model = declared_model("{kind: lm, hidden_size: 8, num_layers: 2, mixer: {kind: attention, num_heads: "
                                      "4, num_kv_heads: 2}, ffn: {kind: dense, intermediate_size: 8},"
                                      " layers: [{at: 1, mixer: {kind: attention, num_heads: 2}, ffn: {kind: sparse, "
                                      "router: {kind: noisy_top_k, top_k: 2},"
                                      " experts: {kind: ffn, num_experts: 4, intermediate_size: 6}, shared: "
                                      "{intermediate_size: 5, gate: sigmoid}}}]}",
                                      V, CONTEXT, COT_F32);
    cot_model_layer_text(model, 0, text, sizeof text);
    assert_string_equal(text, "attention with 4 heads of 2 over 2 key heads; dense SwiGLU of 8");
    cot_model_layer_text(model, 1, text, sizeof text);
    assert_string_equal(text, "attention with 2 heads of 4; 4 experts of 6, 2 per token (noisy_top_k router), shared "
                              "expert of 5 with a gate");
    cot_model_layer_text(model, 1, small, sizeof small);
    assert_int_equal(strlen(small), sizeof small - 1);
    cot_model_destroy(model);
}

static void impossible_models_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *says;
    } cases[] = {
        {"{hidden_size: 8}", "kind"},
        {"{kind: lm}", "mixer"},
        {"{kind: lm, mixer: {kind: attention}}", "ffn"},
        {"{kind: lm, mixer: {kind: atention}, ffn: {kind: dense}}", "did you mean 'attention'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: []}", "ffn has 0 members"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: sparse}}", "ffn has no router"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: sparse, router: {kind: top_k}}}", "ffn has no experts"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: sparse, router: {kind: top_k, top_k: 9}, experts: {kind: ffn, num_experts: 8}}}", "9"},
        {"{kind: lm, mixer: {kind: attention, num_heads: 3}, ffn: {kind: dense}}", "num_heads asks for 3 heads, expected a divisor of hidden_size, 256"},
        {"{kind: lm, mixer: {kind: attention, num_kv_heads: 3}, ffn: {kind: dense}}", "num_kv_heads asks for 3 key heads, expected a divisor of num_heads, 4"},
        {"{kind: lm, mixer: {kind: attention, head_dim: 7}, ffn: {kind: dense}}", "case:1: mixer.head_dim makes heads of 7, expected an even width"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: 4, ffn: {kind: dense}}]}", "at is '4'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: -5, ffn: {kind: dense}}]}", "at is '-5'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: '1:2:0', ffn: {kind: dense}}]}", "at is '1:2:0'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: '1:2:3:4', ffn: {kind: dense}}]}", "at is '1:2:3:4'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: one, ffn: {kind: dense}}]}", "at is 'one'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{ffn: {kind: dense}}]}", "layers.0 has no 'at'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: ~, ffn: {kind: dense}}]}", "layers.0 has no 'at'"},
        {"{kind: lm, mixer: {kind: attention}, ffn: {kind: dense}, layers: [{at: 1, fnn: {kind: dense}}]}", "did you mean 'ffn'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *section;
        cot_model *model;
        CHECK_OK(cot_config_parse(cases[i].yaml, "case", &section));
        const cot_status status = cot_model_create(section, V, CONTEXT, &model);
        if (status == COT_OK || model) fail_msg("'%s' was accepted", cases[i].yaml);
        if (!strstr(cot_last_error(), cases[i].says))
            fail_msg("'%s' gave '%s', expected it to say '%s'", cases[i].yaml, cot_last_error(), cases[i].says);
        cot_config_destroy(section);
    }
    cot_config *section;
    cot_model *model;
    CHECK_OK(cot_config_parse(kinds[0].yaml, "case", &section));
    CHECK_FAILS(cot_model_create(section, 0, CONTEXT, &model), COT_INVALID, "vocab_size is 0");
    CHECK_FAILS(cot_model_create(section, V, 0, &model), COT_INVALID, "context is 0");
    cot_config_destroy(section);
}

/* ---- one step ---- */

typedef struct {
    int32_t ids[2 * CONTEXT], targets[2 * CONTEXT], first[2 * CONTEXT], source[2 * CONTEXT];
} batch_memory;

static cot_batch some_batch(batch_memory *m)
{
    for (int i = 0; i < 2 * CONTEXT; i++) {
        m->ids[i] = (i * i * 7 + 3 * i + 5) % V;
        m->targets[i] = i % 9 == 8 ? -1 : (i * 11 + 2) % V;
        m->first[i] = i / CONTEXT * CONTEXT;
        m->source[i] = 0;
    }
    return (cot_batch){.rows = 2,
                       .context = CONTEXT,
                       .used_rows = 2,
                       .ids = m->ids,
                       .targets = m->targets,
                       .first = m->first,
                       .source = m->source};
}

/* Forward and backward once; gradients end in the parameters. */
static cot_status one_step(cot_model *model, cot_mode mode, double *loss)
{
    cot_tape *tape = NULL;
    cot_objective *objective = NULL;
    batch_memory memory;
    const cot_batch batch = some_batch(&memory);
    cot_losses *losses = cot_calloc(sizeof *losses);
    const cot_objective_input in = {.batch = &batch, .token_weight = 1.0 / 29, .balance_weight = 1, .losses = losses};
    cot_status status = losses ? cot_tape_create(mode, &tape) : COT_OUT_OF_MEMORY;
    if (status == COT_OK) status = cot_objective_create(NULL, &objective);
    if (status == COT_OK) status = cot_params_allocate_grads(model->params);
    if (status == COT_OK) {
        cot_tensor *nll;
        cot_params_clear_grads(model->params);
        cot_tape_reset(tape, true, true, 1, 1);
        cot_tensor *scalar = objective->ops->loss(objective->state, tape, model, &in, &nll);
        cot_tape_backward(tape, scalar, 1);
        status = cot_tape_status(tape);
        if (status == COT_OK) *loss = mode == COT_MODE_F64 ? *(double *)scalar->data : (double)*(float *)scalar->data;
        cot_params_settle_grads(model->params);
    }
    cot_objective_destroy(objective);
    cot_tape_destroy(tape);
    cot_free(losses);
    return status;
}

static void copy_values(const cot_param *from, cot_param *to)
{
    assert_int_equal(cot_tensor_count(&from->value), cot_tensor_count(&to->value));
    memcpy(to->value.data, from->value.data,
           (size_t)cot_tensor_count(&from->value) * cot_dtype_size(from->value.dtype));
    to->version++;
}

/* A parameter of the dense model under the sparse one's name: layers.0.ffn.down.weight -> layers.0.ffn.experts.down. */
static const cot_param *twin_of(const cot_param *dense, const cot_model *sparse)
{
    char name[128];
    const char *ffn = strstr(dense->name, ".ffn.");
    if (!ffn) return parameter_of(sparse, dense->name);
    snprintf(name, sizeof name, "%.*s.ffn.experts.%.*s", (int)(ffn - dense->name), dense->name,
             (int)(strrchr(dense->name, '.') - ffn - 5), ffn + 5);
    return parameter_of(sparse, name);
}

/* One expert that every token goes to with gate 1 is a dense layer, in loss and in every gradient (in f64, to
 * rounding). */
static void one_expert_is_dense(void **state)
{
    (void)state;
    static const char *const routers[] = {"top_k, top_k: 1", "top_k, top_k: 1, softmax: chosen",
                                          "top_k, top_k: 1, norm_topk_prob: false", "noisy_top_k, top_k: 1"};
    for (size_t r = 0; r < sizeof routers / sizeof *routers; r++) {
        char yaml[512];
        double loss_dense, loss_sparse;
        snprintf(yaml, sizeof yaml,
                 "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, num_heads: 2}, "
                 "ffn: {kind: sparse,"
                 " router: {kind: %s}, experts: {kind: ffn, num_experts: 1, intermediate_size: 24}}}",
                 routers[r]);
        cot_model *sparse = declared_model(yaml, V, CONTEXT, COT_F64);
        cot_model *dense = declared_model("{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: "
                                          "attention, num_heads: 2}, ffn: {kind: dense, intermediate_size: 24}}",
                                          V, CONTEXT, COT_F64);
        CHECK_OK(cot_model_initialise(dense, 5));
        CHECK_OK(cot_model_initialise(sparse, 6));
        for (size_t i = 0; i < cot_params_count(dense->params); i++)
            copy_values(cot_params_at(dense->params, i), (cot_param *)twin_of(cot_params_at(dense->params, i), sparse));
        CHECK_OK(one_step(dense, COT_MODE_F64, &loss_dense));
        CHECK_OK(one_step(sparse, COT_MODE_F64, &loss_sparse));
        assert_true(fabs(loss_dense - loss_sparse) < 1e-12);
        for (size_t i = 0; i < cot_params_count(dense->params); i++) {
            const cot_param *param = cot_params_at(dense->params, i);
            const double *want = param->value.grad, *got = twin_of(param, sparse)->value.grad;
            double largest = 0;
            for (int64_t j = 0; j < cot_tensor_count(&param->value); j++) {
                largest = fmax(largest, fabs(want[j]));
                if (!(fabs(want[j] - got[j]) < 1e-12))
                    fail_msg("%s: gradient %d of %s is %g, expected %g", routers[r], (int)j, param->name, got[j],
                             want[j]);
            }
            assert_true(largest > 1e-6);
        }
        const double *router = parameter_of(sparse, "layers.0.ffn.router.weight")->value.grad;
        for (int i = 0; i < 16; i++) assert_true(router[i] == 0);  /* nothing to choose */
        cot_model_destroy(dense);
        cot_model_destroy(sparse);
    }
}

/* Slots without end drop nothing: the same bits as without any. */
static void endless_capacity_is_dropless(void **state)
{
    (void)state;
    static const char *const policies[] = {"position", "probability", "random"};
    char yaml[640];
    static const char plain[] = "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.2, mixer: {kind: attention, "
                                "num_heads: 2}, ffn: {kind: sparse,"
                                " router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, "
                                "intermediate_size: 12}, balance: [{kind: aux}, {kind: z_loss}]";
    for (size_t p = 0; p < 3; p++)
        for (int m = 0; m < 2; m++) {
            const cot_mode mode = m ? COT_MODE_BF16 : COT_MODE_F32;
            double loss, loss_limited;
            snprintf(yaml, sizeof yaml, "%s}}", plain);
            cot_model *model = made_model(yaml, V, CONTEXT, 4);
            snprintf(yaml, sizeof yaml, "%s, capacity: {capacity_factor: 1e6, policy: %s}}}", plain, policies[p]);
            cot_model *limited = made_model(yaml, V, CONTEXT, 4);
            CHECK_OK(one_step(model, mode, &loss));
            CHECK_OK(one_step(limited, mode, &loss_limited));
            assert_true(loss == loss_limited);
            for (size_t i = 0; i < cot_params_count(model->params); i++) {
                const cot_tensor *a = &cot_params_at(model->params, i)->value,
                                 *b = &cot_params_at(limited->params, i)->value;
                assert_memory_equal(a->grad, b->grad, (size_t)cot_tensor_count(a) * sizeof(float));
            }
            cot_model_destroy(model);
            cot_model_destroy(limited);
        }
}

/* ---- memory ---- */

static cot_status live_once(const char *yaml)
{
    cot_config *section = NULL;
    cot_model *model = NULL;
    double loss;
    cot_status status = cot_config_parse(yaml, "model", &section);
    if (status == COT_OK) status = cot_model_create(section, V, CONTEXT, &model);
    if (status == COT_OK) status = cot_model_initialise(model, 1);
    if (status == COT_OK) status = one_step(model, COT_MODE_BF16, &loss);
    cot_model_destroy(model);
    cot_config_destroy(section);
    return status;
}

/* Whichever allocation fails, from the description to the end of a step: an error, nothing left behind. */
static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        CHECK_OK(live_once(kinds[i].yaml));
        const int64_t blocks = cot_memory_blocks();
        cot_status status = COT_OUT_OF_MEMORY;
        int64_t n = 0;
        while (status != COT_OK) {
            cot_memory_fail_after(++n);
            status = live_once(kinds[i].yaml);
            cot_memory_fail_after(0);
            if (status != COT_OK && status != COT_OUT_OF_MEMORY)
                fail_msg("allocation %d of model %zu: '%s'", (int)n, i, cot_last_error());
            if (cot_memory_blocks() != blocks)
                fail_msg("allocation %d of model %zu leaves %d blocks behind", (int)n, i,
                         (int)(cot_memory_blocks() - blocks));
        }
        assert_true(n > 30);
    }
}

/* The same for what reads a folder. */
static void memory_may_run_out_while_loading(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    cot_model *model = made_model(kinds[2].yaml, 257, CONTEXT, 3), *back;
    CHECK_OK(cot_model_save(model, tokenizer, scratch_path(&s, "model")));
    const int64_t blocks = cot_memory_blocks();
    cot_status status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        cot_tokenizer *back_tokenizer;
        cot_memory_fail_after(n);
        status = cot_model_load(s.path, &back, &back_tokenizer);
        cot_memory_fail_after(0);
        if (status == COT_OK) cot_tokenizer_destroy(back_tokenizer);
        cot_model_destroy(back);
        if (status != COT_OK && status != COT_OUT_OF_MEMORY) fail_msg("allocation %d: '%s'", (int)n, cot_last_error());
        if (cot_memory_blocks() != blocks)
            fail_msg("allocation %d leaves %d blocks behind", (int)n, (int)(cot_memory_blocks() - blocks));
    }
    cot_model_destroy(model);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_costs),
        cmocka_unit_test(grouped_queries_cost),
        cmocka_unit_test(sparse_costs),
        cmocka_unit_test(stacks_cost),
        cmocka_unit_test(costs_follow_the_context),
        cmocka_unit_test(models_come_back_from_disk),
        cmocka_unit_test(tokenizers_come_along),
        cmocka_unit_test(the_balance_coefficient_is_published_in_published_units),
        cmocka_unit_test(slices_pick_layers),
        cmocka_unit_test(layers_say_what_they_are),
        cmocka_unit_test(impossible_models_are_named),
        cmocka_unit_test(one_expert_is_dense),
        cmocka_unit_test(endless_capacity_is_dropless),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(memory_may_run_out_while_loading),
    };
    (void)cot_set_threads(1);  /* models this small gain nothing from more */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
