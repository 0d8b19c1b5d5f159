/* Dialects: models go out under published names and come back bit for bit; broken folders are refused in one line. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/memory.h"
#include "base/rng.h"
#include "formats/dialects/card_json.h"
#include "formats/json.h"
#include "formats/model_folder.h"
#include "formats/scratch.h"

enum { V = 10, D = 8, HEADS = 4, KV_HEADS = 2, HEAD = 2, F = 6, E = 3 };

static void must(cot_status status)
{
    if (status != COT_OK) fail_msg("%s", cot_last_error());
}

/* ---- models of two layers ---- */

static void add(cot_params *params, const char *name, int32_t rank, int64_t a, int64_t b, int64_t c)
{
    cot_param_spec spec = {.name = name, .rank = rank, .shape = {a, b, c}, .init = {COT_INIT_NORMAL, 1}};
    if (strstr(name, "qkv.weight")) {
        spec.row_parts = 3;
        spec.row_part[0] = HEADS * HEAD;
        spec.row_part[1] = spec.row_part[2] = KV_HEADS * HEAD;
    }
    cot_param *param;
    must(cot_params_add(params, &spec, &param));
}

enum { TIED = 1, SPARSE = 2, EXTRAS = 4 };  /* EXTRAS: what only our own dialect has a place for */

static void add_layer(cot_params *params, int layer, int traits)
{
    char name[64];
#define ADD(text, ...) (snprintf(name, sizeof name, "layers.%d." text, layer), add(params, name, __VA_ARGS__))
    ADD("mixer_norm.weight", 1, D, 1, 1);
    ADD("mixer.qkv.weight", 2, (HEADS + 2 * KV_HEADS) * HEAD, D, 1);
    if (traits & EXTRAS) {
        ADD("mixer.qkv.bias", 1, (HEADS + 2 * KV_HEADS) * HEAD, 1, 1);
        ADD("mixer.q_norm.weight", 1, HEAD, 1, 1);
        ADD("mixer.k_norm.weight", 1, HEAD, 1, 1);
    }
    ADD("mixer.out.weight", 2, D, HEADS * HEAD, 1);
    ADD("ffn_norm.weight", 1, D, 1, 1);
    if (traits & SPARSE) {
        ADD("ffn.router.weight", 2, E, D, 1);
        ADD("ffn.experts.gate_up", 3, E, 2 * F, D);
        ADD("ffn.experts.down", 3, E, D, F);
    } else {
        ADD("ffn.gate_up.weight", 2, 2 * F, D, 1);
        ADD("ffn.down.weight", 2, D, F, 1);
    }
    if (traits & EXTRAS) {
        ADD("ffn.router.noise_weight", 2, E, D, 1);
        ADD("ffn.shared.gate_up.weight", 2, 2 * F, D, 1);
        ADD("ffn.shared.down.weight", 2, D, F, 1);
        ADD("ffn.shared.gate.weight", 2, 1, D, 1);
        ADD("ffn.1.threshold", 1, E, 1, 1);
    }
#undef ADD
}

static cot_params *make_params(int traits, cot_dtype real, uint64_t seed)
{
    cot_params *params;
    must(cot_params_create(real, &params));
    add(params, "embed.weight", 2, V, D, 1);
    if (!(traits & TIED)) add(params, "head.weight", 2, V, D, 1);
    for (int layer = 0; layer < 2; layer++) add_layer(params, layer, traits);
    add(params, "final_norm.weight", 1, D, 1, 1);
    must(seed ? cot_params_allocate(params, seed) : cot_params_allocate_raw(params));
    return params;
}

static cot_model_card make_card(int traits)
{
    cot_model_card card = cot_model_card_empty();
    card.vocab_size = V, card.hidden_size = D, card.num_layers = 2, card.max_position = 16;
    card.num_heads = HEADS, card.num_kv_heads = KV_HEADS, card.head_dim = HEAD;
    card.rope_theta = 10000, card.rms_norm_eps = 1e-5, card.initializer_range = 0.02;
    card.tie_word_embeddings = traits & TIED;
    card.ids.eos_token_id[0] = 7, card.ids.eos_count = 1;
    if (traits & SPARSE) {
        card.num_experts = E, card.top_k = 2, card.norm_topk_prob = true, card.moe_intermediate_size = F;
        card.router_aux_loss_coef = 0.01;
    } else {
        card.intermediate_size = F;
    }
    if (traits & EXTRAS) {
        card.qkv_bias = card.head_norms = card.shared_gate = true;
        card.shared_intermediate_size = F;
        card.beyond = "noisy gates";
    }
    return card;
}

static const float *values(const cot_params *params, const char *name)
{
    return cot_params_find(params, name)->value.data;
}

/* ---- names and places ---- */

#define ENDS "model.embed_tokens.weight model.norm.weight "
#define ATTENTION(i) \
    "model.layers." #i ".input_layernorm.weight model.layers." #i ".self_attn.q_proj.weight model.layers." #i \
    ".self_attn.k_proj.weight model.layers." #i ".self_attn.v_proj.weight model.layers." #i \
    ".self_attn.o_proj.weight " \
    "model.layers." #i ".post_attention_layernorm.weight "
#define DENSE(i)                                                                                       \
    "model.layers." #i ".mlp.gate_proj.weight model.layers." #i ".mlp.up_proj.weight model.layers." #i \
    ".mlp.down_proj.weight "
#define MIXTRAL_EXPERT(i, e) \
    "model.layers." #i ".block_sparse_moe.experts." #e ".w1.weight model.layers." #i ".block_sparse_moe.experts." #e \
    ".w2.weight model.layers." #i ".block_sparse_moe.experts." #e ".w3.weight "
#define MIXTRAL(i) \
    "model.layers." #i ".block_sparse_moe.gate.weight " MIXTRAL_EXPERT(i, 0) MIXTRAL_EXPERT(i, 1) MIXTRAL_EXPERT(i, 2)
#define OUR_EXPERT(i, e) \
    "model.layers." #i ".mlp.experts." #e ".gate_proj.weight model.layers." #i ".mlp.experts." #e \
    ".up_proj.weight model.layers." #i ".mlp.experts." #e ".down_proj.weight "
#define OURS(i) \
    "model.layers." #i ".self_attn.q_proj.bias model.layers." #i ".self_attn.k_proj.bias model.layers." #i \
    ".self_attn.v_proj.bias model.layers." #i ".self_attn.q_norm.weight model.layers." #i ".self_attn.k_norm.weight " \
    "model.layers." #i ".mlp.gate.weight model.layers." #i ".mlp.gate.noise_weight " OUR_EXPERT(i, 0) OUR_EXPERT(i, 1) \
    OUR_EXPERT(i, 2) "model.layers." #i ".mlp.shared_expert.gate_proj.weight model.layers." #i \
    ".mlp.shared_expert.up_proj.weight model.layers." #i ".mlp.shared_expert.down_proj.weight model.layers." #i \
    ".mlp.shared_expert_gate.weight layers." #i ".ffn.1.threshold "

static const struct {
    const char *model_type;
    int         traits;
    const char *names;  /* all of them, in any order */
} models[] = {
    {"llama", 0, ENDS "lm_head.weight " ATTENTION(0) DENSE(0) ATTENTION(1) DENSE(1)},
    {"llama", TIED, ENDS ATTENTION(0) DENSE(0) ATTENTION(1) DENSE(1)},
    {"mixtral", SPARSE, ENDS "lm_head.weight " ATTENTION(0) MIXTRAL(0) ATTENTION(1) MIXTRAL(1)},
    {"coterie", SPARSE | EXTRAS | TIED, ENDS ATTENTION(0) OURS(0) ATTENTION(1) OURS(1)},
};

enum { MODELS = sizeof models / sizeof *models };

static void has_exactly(const cot_safetensors *set, const char *names)
{
    size_t count = 0;
    char  *copy = strdup(names), *rest = copy;
    for (char *name; (name = strsep(&rest, " ")) && *name; count++)
        if (!cot_safetensors_find(set, name)) fail_msg("'%s' is missing", name);
    free(copy);
    assert_int_equal(cot_safetensors_count(set), count);
}

static void goes_out_and_comes_back(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        scratch s = scratch_make();
        const char *folder = scratch_path(&s, "new/model");
        cot_params *params = make_params(models[m].traits, COT_F32, 1),
                   *back = make_params(models[m].traits, COT_F32, 0);
        const cot_model_card card = make_card(models[m].traits);
        const cot_dialect *dialect = cot_dialect_for(&card, params);
        assert_string_equal(dialect->model_type, models[m].model_type);
        must(cot_model_folder_write_weights(folder, dialect, &card, params));

        cot_safetensors *set;
        must(cot_safetensors_open_folder(folder, &set));
        has_exactly(set, models[m].names);
        cot_safetensors_close(set);

        const cot_model_folder described = {.dialect = dialect, .card = card};
        const uint64_t version = cot_params_at(back, 0)->version;
        must(cot_model_folder_load_weights(folder, &described, back));
        for (size_t i = 0; i < cot_params_count(params); i++) {
            const cot_param *p = cot_params_at(params, i), *q = cot_params_at(back, i);
            assert_memory_equal(q->value.data, p->value.data, (size_t)cot_tensor_count(&p->value) * sizeof(float));
            assert_int_equal(q->version, version + 1);  /* packed copies are remade */
        }
        cot_params_destroy(params);
        cot_params_destroy(back);
        scratch_remove(&s);
    }
}

static void holds(const cot_safetensors *set, const char *name, int64_t rows, int64_t columns, const float *want)
{
    const cot_stored_tensor *t = cot_safetensors_find(set, name);
    if (!t) fail_msg("'%s' is missing", name);
    assert_int_equal(t->rank, columns ? 2 : 1);
    assert_int_equal(t->shape[0], rows);
    if (columns) assert_int_equal(t->shape[1], columns);
    if (memcmp(t->data, want, t->bytes) != 0) fail_msg("'%s' holds other rows", name);
}

/* Every published tensor is the part of ours that its family means by the name. */
static void parts_are_the_right_rows(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_params *params = make_params(SPARSE, COT_F32, 1);
    const cot_model_card card = make_card(SPARSE);
    must(cot_model_folder_write_weights(s.folder, cot_dialect_find("mixtral"), &card, params));
    cot_safetensors *set;
    must(cot_safetensors_open_folder(s.folder, &set));
    const float *qkv = values(params, "layers.1.mixer.qkv.weight"),
                *gate_up = values(params, "layers.1.ffn.experts.gate_up");
    holds(set, "model.layers.1.self_attn.q_proj.weight", 8, D, qkv);
    holds(set, "model.layers.1.self_attn.k_proj.weight", 4, D, qkv + 8 * D);
    holds(set, "model.layers.1.self_attn.v_proj.weight", 4, D, qkv + 12 * D);
    holds(set, "model.layers.1.self_attn.o_proj.weight", D, 8, values(params, "layers.1.mixer.out.weight"));
    holds(set, "model.layers.1.block_sparse_moe.experts.2.w1.weight", F, D, gate_up + 2 * 2 * F * D);
    holds(set, "model.layers.1.block_sparse_moe.experts.2.w3.weight", F, D, gate_up + (2 * 2 + 1) * F * D);
    holds(set, "model.layers.1.block_sparse_moe.experts.1.w2.weight", D, F,
          values(params, "layers.1.ffn.experts.down") + D * F);
    holds(set, "model.layers.0.block_sparse_moe.gate.weight", E, D, values(params, "layers.0.ffn.router.weight"));
    holds(set, "model.layers.0.input_layernorm.weight", D, 0, values(params, "layers.0.mixer_norm.weight"));
    holds(set, "model.layers.0.post_attention_layernorm.weight", D, 0, values(params, "layers.0.ffn_norm.weight"));
    holds(set, "model.norm.weight", D, 0, values(params, "final_norm.weight"));
    holds(set, "model.embed_tokens.weight", V, D, values(params, "embed.weight"));
    holds(set, "lm_head.weight", V, D, values(params, "head.weight"));
    cot_safetensors_close(set);
    cot_params_destroy(params);
    scratch_remove(&s);
}

/* Without row_part in the spec (a bias, say) the card's heads tell where q, k and v lie. */
static void biases_split_by_heads(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_params *params = make_params(SPARSE | EXTRAS, COT_F32, 1);
    const cot_model_card card = make_card(SPARSE | EXTRAS);
    must(cot_model_folder_write_weights(s.folder, cot_dialect_find("coterie"), &card, params));
    cot_safetensors *set;
    must(cot_safetensors_open_folder(s.folder, &set));
    const float *bias = values(params, "layers.0.mixer.qkv.bias"),
                *shared = values(params, "layers.0.ffn.shared.gate_up.weight");
    holds(set, "model.layers.0.self_attn.q_proj.bias", 8, 0, bias);
    holds(set, "model.layers.0.self_attn.k_proj.bias", 4, 0, bias + 8);
    holds(set, "model.layers.0.self_attn.v_proj.bias", 4, 0, bias + 12);
    holds(set, "model.layers.0.mlp.shared_expert.up_proj.weight", F, D, shared + F * D);
    holds(set, "model.layers.0.mlp.shared_expert_gate.weight", 1, D, values(params, "layers.0.ffn.shared.gate.weight"));
    cot_safetensors_close(set);
    cot_params_destroy(params);
    scratch_remove(&s);
}

static void stores_and_reads_other_types(void **state)
{
    (void)state;
    static const cot_dtype types[] = {COT_F64, COT_F32, COT_BF16, COT_F16};
    for (size_t t = 0; t < 4; t++) {
        scratch s = scratch_make();
        cot_params *params = make_params(0, COT_F64, 1), *back = make_params(0, COT_F32, 0);
        cot_model_card card = make_card(0);
        card.dtype = types[t];
        must(cot_model_folder_write(s.folder, &card, params, NULL));
        cot_model_folder folder;
        must(cot_model_folder_read(s.folder, &folder));
        assert_int_equal(folder.card.dtype, types[t]);
        must(cot_model_folder_load_weights(s.folder, &folder, back));
        const double *want = cot_params_find(params, "embed.weight")->value.data;
        const float  *got = values(back, "embed.weight");
        /* Half a unit in the last place of the narrower type: 2^-24, 2^-24, 2^-8, 2^-11 of the value; f64 to 16 bits
         * rounds twice. */
        const double tolerance = (const double[]){0x1.1p-24, 0x1.1p-24, 0x1.1p-8, 0x1.1p-11}[t];
        for (int i = 0; i < V * D; i++)
            assert_true((got[i] > want[i] ? got[i] - want[i] : want[i] - got[i]) <=
                        tolerance * (want[i] > 0 ? want[i] : -want[i]) + 0x1p-25);
        cot_model_folder_release(&folder);
        cot_params_destroy(params);
        cot_params_destroy(back);
        scratch_remove(&s);
    }
}

/* ---- which dialect ---- */

static const char *published_as(int traits, void (*change)(cot_model_card *card))
{
    cot_model_card card = make_card(traits);
    if (change) change(&card);
    return cot_dialect_for(&card, NULL)->model_type;
}

static void with_bias(cot_model_card *card) { card->qkv_bias = true; }
static void with_output_bias(cot_model_card *card) { card->output_bias = true; }
static void with_both_norms(cot_model_card *card) { card->head_norms = card->vector_norms = true; }
static void with_window(cot_model_card *card) { card->sliding_window = 8; }
static void without_positions(cot_model_card *card) { card->rope_theta = 0; }
static void with_raw_gates(cot_model_card *card) { card->norm_topk_prob = false; }
static void with_shared(cot_model_card *card) { card->shared_intermediate_size = 6; }
static void with_dense_layers(cot_model_card *card) { cot_layer_add(&card->dense, 0); }
static void with_capacity(cot_model_card *card) { card->beyond = "capacity"; }

static void picks_the_family(void **state)
{
    (void)state;
    void (*const unknown[])(cot_model_card *) = {with_bias, with_output_bias, with_both_norms, without_positions,
                                                 with_capacity};
    for (int i = 0; i < 5; i++) {
        assert_string_equal(published_as(0, unknown[i]), "coterie");
        assert_string_equal(published_as(SPARSE, unknown[i]), "coterie");
    }
    void (*const not_mixtral[])(cot_model_card *) = {with_raw_gates, with_shared, with_dense_layers};
    for (int i = 0; i < 3; i++) assert_string_equal(published_as(SPARSE, not_mixtral[i]), "coterie");
    assert_string_equal(published_as(0, with_window), "coterie");
    assert_string_equal(published_as(SPARSE, with_window), "mixtral");
    assert_string_equal(published_as(0, NULL), "llama");

    /* A parameter without a published name is enough, whatever the card says. */
    cot_params *params = make_params(SPARSE | EXTRAS, COT_F32, 0);
    const cot_model_card card = make_card(SPARSE);
    assert_string_equal(cot_dialect_for(&card, params)->model_type, "coterie");
    scratch s = scratch_make();
    assert_int_equal(cot_model_folder_write_weights(s.folder, cot_dialect_find("mixtral"), &card, params),
                     COT_NOT_FOUND);
    assert_string_equal(cot_last_error(), "'layers.0.mixer.qkv.bias' has no name in files of type 'mixtral'");
    assert_int_equal(scratch_count(&s), 0);
    scratch_remove(&s);
    cot_params_destroy(params);
}

static void patterns(void **state)
{
    (void)state;
    int64_t i = -1, e = -1;
    assert_true(cot_pattern_match("a.{i}.b.{e}", "a.12.b.0", &i, &e));
    assert_true(i == 12 && e == 0);
    static const char *const other[] = {"a.12.b",   "a.12.b.",          "a.12.b.0x", "a.012.b.0", "a..b.0",
                                        "a.-1.b.0", "a.1234567890.b.0", "b",         ""};
    for (size_t n = 0; n < sizeof other / sizeof *other; n++)
        assert_false(cot_pattern_match("a.{i}.b.{e}", other[n], &i, &e));
}

/* ---- config.json ---- */

static json_t *read_json(scratch *s, const char *name)
{
    json_t *root;
    must(cot_json_read(scratch_path(s, name), 1 << 20, &root));
    return root;
}

#define KEY_IS(root, key, text)                                                                                \
    do {                                                                                                       \
        char *got_ = json_dumps(json_object_get(root, key), JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);   \
        if (!got_ || strcmp(got_, text) != 0) fail_msg("%s is %s, expected %s", key, got_ ? got_ : "absent", text); \
        free(got_);                                                                                            \
    } while (0)

static void writes_configs(void **state)
{
    (void)state;
    static const char section[] =
        "{kind: lm, hidden_size: 8, mixer: {kind: attention, rope_theta: 1.0000000000000002e4}, layers: []}";
    scratch s = scratch_make();
    cot_config *model;
    must(cot_config_parse(section, "recipe.yaml", &model));
    cot_model_card card = make_card(SPARSE);
    card.model = model;
    card.rope_theta = 500000;
    must(cot_model_folder_write_config(s.folder, cot_dialect_find("mixtral"), &card));
    json_t *root = read_json(&s, "config.json");
    KEY_IS(root, "architectures", "[\"MixtralForCausalLM\"]");
    KEY_IS(root, "model_type", "\"mixtral\"");
    KEY_IS(root, "vocab_size", "10");
    KEY_IS(root, "hidden_size", "8");
    KEY_IS(root, "intermediate_size", "6");
    KEY_IS(root, "num_hidden_layers", "2");
    KEY_IS(root, "num_attention_heads", "4");
    KEY_IS(root, "num_key_value_heads", "2");
    KEY_IS(root, "head_dim", "2");
    KEY_IS(root, "num_local_experts", "3");
    KEY_IS(root, "num_experts_per_tok", "2");
    KEY_IS(root, "max_position_embeddings", "16");
    KEY_IS(root, "rope_theta", "500000.0");
    KEY_IS(root, "rope_parameters", "{\"rope_theta\":500000.0,\"rope_type\":\"default\"}");
    KEY_IS(root, "torch_dtype", "\"float32\"");
    KEY_IS(root, "dtype", "\"float32\"");
    KEY_IS(root, "tie_word_embeddings", "false");
    KEY_IS(root, "sliding_window", "null");
    KEY_IS(root, "bos_token_id", "null");
    KEY_IS(root, "eos_token_id", "7");
    KEY_IS(root, "pad_token_id", "null");
    KEY_IS(root, "hidden_act", "\"silu\"");
    json_decref(root);
    root = read_json(&s, "generation_config.json");
    KEY_IS(root, "eos_token_id", "7");
    assert_int_equal(json_object_size(root), 1);
    json_decref(root);

    /* Numbers stand as a person would write them, and our own section as it was, to the last digit and line by line. */
    char  *text;
    size_t bytes;
    FILE  *stream = fopen(scratch_path(&s, "config.json"), "r");
    text = calloc(1, 1 << 16);
    bytes = fread(text, 1, (1 << 16) - 1, stream);
    fclose(stream);
    assert_true(bytes > 0);
    assert_non_null(strstr(text, "\"rms_norm_eps\": 1e-5,"));
    assert_non_null(strstr(text, "\"router_aux_loss_coef\": 0.01,"));
    assert_non_null(strstr(text, "1.0000000000000002e4"));
    free(text);
    cot_model_folder folder;
    must(cot_model_folder_read(s.folder, &folder));
    assert_string_equal(cot_config_text(cot_config_get(folder.section, "mixer.rope_theta")), "1.0000000000000002e4");
    assert_true(cot_config_line(cot_config_get(folder.section, "mixer.rope_theta")) > 20);
    assert_int_equal(folder.card.num_experts, E);
    cot_model_folder_release(&folder);
    cot_config_destroy(model);
    scratch_remove(&s);
}

static void cards_come_back(void **state)
{
    (void)state;
    for (size_t m = 0; m < MODELS; m++) {
        scratch s = scratch_make();
        cot_config *model;
        must(cot_config_parse("{kind: lm}", "x", &model));
        cot_model_card card = make_card(models[m].traits);
        card.model = model;
        card.ids.bos_token_id = 3;
        card.ids.pad_token_id = 0;
        card.ids.eos_token_id[1] = 9, card.ids.eos_count = 2;
        must(cot_model_folder_write_config(s.folder, cot_dialect_find(models[m].model_type), &card));
        cot_model_folder folder;
        must(cot_model_folder_read(s.folder, &folder));
        assert_string_equal(folder.dialect->model_type, models[m].model_type);
        json_t *want = json_object(), *got = json_object();
        must(cot_card_to_json(folder.dialect, &card, want));
        must(cot_card_to_json(folder.dialect, &folder.card, got));
        assert_true(json_equal(want, got));
        json_decref(want);
        json_decref(got);
        assert_true(folder.card.norm_topk_prob == card.norm_topk_prob && folder.card.ids.eos_count == 2 &&
                    folder.card.ids.eos_token_id[1] == 9);
        assert_true(folder.card.ids.bos_token_id == 3 && folder.card.ids.pad_token_id == 0);
        cot_model_folder_release(&folder);
        cot_config_destroy(model);
        scratch_remove(&s);
    }
}

static void is_int(const cot_config *section, const char *path, int64_t want)
{
    int64_t got = -1;
    must(cot_config_int(cot_config_get(section, path), &got));
    if (got != want) fail_msg("%s is %lld, expected %lld", path, (long long)got, (long long)want);
}

static void is_text(const cot_config *section, const char *path, const char *want)
{
    const char *got = cot_config_text(cot_config_get(section, path));
    if (!got || strcmp(got, want) != 0) fail_msg("%s is %s, expected %s", path, got ? got : "absent", want);
}

/* What others publish becomes a section that describes the same model; old and new spellings alike. */
static void reads_published_configs(void **state)
{
    (void)state;
    static const char mixtral[] =
        "{\"model_type\":\"mixtral\",\"vocab_size\":32000,\"num_local_experts\":4,\"hidden_size\":64,"
        "\"intermediate_size\":96,\"num_hidden_layers\":3,\"num_attention_heads\":8,\"num_key_value_heads\":null,"
        "\"sliding_window\":128,\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"default\"},\"dtype\":"
        "\"bfloat16\","
        "\"eos_token_id\":[2,5],\"tie_word_embeddings\":false,\"router_aux_loss_coef\":0.03,\"some_new_key\":{\"x\":[1]"
        "}}";
    static const char llama[] =
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"head_dim\":12,\"num_attention_heads\":4,\"num_key_value_"
        "heads\":2,"
        "\"tie_word_embeddings\":true,\"rope_theta\":20000.5,\"rope_scaling\":null,\"torch_dtype\":\"float16\"}";
    scratch s = scratch_make();
    cot_model_folder folder;
    scratch_put(&s, "config.json", mixtral, strlen(mixtral));
    must(cot_model_folder_read(s.folder, &folder));
    assert_true(folder.card.rope_theta == 5e5 && folder.card.dtype == COT_BF16 && folder.card.ids.eos_count == 2);
    assert_true(folder.card.vocab_size == 32000 && folder.card.max_position == 131072 &&
                folder.card.rms_norm_eps == 1e-5);
    is_text(folder.section, "kind", "lm");
    is_int(folder.section, "hidden_size", 64);
    is_int(folder.section, "num_layers", 3);
    is_text(folder.section, "tie_word_embeddings", "false");
    is_int(folder.section, "mixer.num_heads", 8);
    is_int(folder.section, "mixer.num_kv_heads", 8);
    is_int(folder.section, "mixer.head_dim", 8);
    is_int(folder.section, "mixer.sliding_window", 128);
    is_text(folder.section, "ffn.kind", "sparse");
    is_text(folder.section, "ffn.router.kind", "top_k");
    is_int(folder.section, "ffn.router.top_k", 2);
    is_text(folder.section, "ffn.router.norm_topk_prob", "true");
    is_int(folder.section, "ffn.experts.num_experts", 4);
    is_int(folder.section, "ffn.experts.intermediate_size", 96);
    is_text(folder.section, "ffn.balance.0.kind", "aux");
    double coef;
    must(cot_config_double(cot_config_get(folder.section, "ffn.balance.0.coef"), &coef));
    assert_true(coef == 0.03 / 3);
    cot_model_folder_release(&folder);

    scratch_put(&s, "config.json", llama, strlen(llama));
    must(cot_model_folder_read(s.folder, &folder));
    assert_true(folder.card.rope_theta == 20000.5 && folder.card.dtype == COT_F16 && folder.card.tie_word_embeddings);
    is_int(folder.section, "mixer.head_dim", 12);
    is_int(folder.section, "ffn.intermediate_size", 11008);
    is_text(folder.section, "ffn.kind", "dense");
    is_text(folder.section, "tie_word_embeddings", "true");
    cot_model_folder_release(&folder);
    scratch_remove(&s);
}

/* A number beyond 64 bits makes itself real, and no other. */
static void reads_numbers_beyond_64_bits(void **state)
{
    (void)state;
    static const char text[] = "{\"length\":1000000000000000019884624838656,\"whole\":[7,{\"id\":-3}],\"real\":0.25}";
    json_t *root;
    must(cot_json_parse(text, strlen(text), "x.json", &root));
    KEY_IS(root, "length", "1e30");
    KEY_IS(root, "whole", "[7,{\"id\":-3}]");
    assert_true(json_real_value(json_object_get(root, "real")) == 0.25);
    json_decref(root);
    static const char endless[] = "{\"length\":1e999}";
    assert_int_equal(cot_json_parse(endless, strlen(endless), "x.json", &root), COT_FORMAT);
}

#define TYPES "llama, mixtral, qwen2_moe, qwen3_moe, olmoe, coterie"

static void refuses_configs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        cot_status  status;
        const char *message;
    } bad[] = {
        {"", COT_FORMAT, "not JSON"},
        {"[]", COT_FORMAT, "a list, expected a map"},
        {"{\"a\":1,\"a\":2}", COT_FORMAT, "duplicate object key"},
        {"{}", COT_NOT_FOUND, "model_type is absent, expected one of: " TYPES},
        {"{\"model_type\":3}", COT_NOT_FOUND, "model_type is a whole number, expected one of"},
        {"{\"model_type\":\"gpt2\"}", COT_NOT_FOUND, "model_type is 'gpt2', expected one of: " TYPES},
        {"{\"model_type\":\"llama\",\"quantization_config\":{\"bits\":4}}", COT_FORMAT, "the weights are quantised"},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"}", COT_FORMAT,
         "hidden_act is \"gelu\"; of type 'llama' only models with \"silu\""},
        {"{\"model_type\":\"olmoe\",\"clip_qkv\":8}", COT_FORMAT,
         "clip_qkv is a whole number; of type 'olmoe' only models with null"},
        {"{\"model_type\":\"llama\",\"hidden_size\":\"64\"}", COT_FORMAT,
         "hidden_size is a string, expected a whole number"},
        {"{\"model_type\":\"llama\",\"hidden_size\":64.5}", COT_FORMAT,
         "hidden_size is a number, expected a whole number"},
        {"{\"model_type\":\"llama\",\"hidden_size\":0}", COT_FORMAT, "hidden_size is 0, expected 1 to 2147483647"},
        {"{\"model_type\":\"llama\",\"vocab_size\":9223372036854775807}", COT_FORMAT, "expected 1 to 2147483647"},
        {"{\"model_type\":\"llama\",\"num_attention_heads\":3}", COT_FORMAT,
         "expected a divisor of hidden_size, 4096, or a head_dim"},
        {"{\"model_type\":\"llama\",\"num_key_value_heads\":5}", COT_FORMAT,
         "expected a divisor of num_attention_heads, 32"},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":\"tiny\"}", COT_FORMAT,
         "rms_norm_eps is a string, expected a number from 0"},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":1}", COT_FORMAT,
         "tie_word_embeddings is a whole number, expected true or false"},
        {"{\"model_type\":\"llama\",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}", COT_FORMAT,
         "its scaled rotary positions cannot work, expected a factor from 1 on"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"longrope\"}}", COT_FORMAT,
         "rotary positions of type 'longrope', expected one of default|linear|dynamic|yarn|llama3"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8}}", COT_FORMAT,
         "expected high_freq_factor to be more than low_freq_factor"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":\"2\"}}", COT_FORMAT,
         "factor is a string, expected a number from 0"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", COT_FORMAT,
         "rotary positions of their own for 'full_attention', expected the same everywhere"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":[1]}", COT_FORMAT, "rope_parameters is a list, expected a map"},
        {"{\"model_type\":\"llama\",\"rope_scaling\":3}", COT_FORMAT, "rope_scaling is a whole number, expected a map"},
        {"{\"model_type\":\"llama\",\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", COT_FORMAT,
         "partial_rotary_factor is 0.5, expected 1"},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":5000}", COT_FORMAT,
         "num_hidden_layers is 5000, expected 1 to 1024"},
        {"{\"model_type\":\"qwen2_moe\",\"mlp_only_layers\":[3,24]}", COT_FORMAT,
         "mlp_only_layers is 24, expected 0 to 23"},
        {"{\"model_type\":\"qwen2_moe\",\"mlp_only_layers\":3}", COT_FORMAT,
         "mlp_only_layers is a whole number, expected a list of layers"},
        {"{\"model_type\":\"qwen3_moe\",\"decoder_sparse_step\":0}", COT_FORMAT,
         "decoder_sparse_step is 0, expected 1 to 2147483647"},
        {"{\"model_type\":\"qwen2_moe\",\"use_sliding_window\":true}", COT_FORMAT,
         "a sliding window without layer_types, expected a kind for each layer"},
        {"{\"model_type\":\"qwen2_moe\",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\"]}", COT_FORMAT,
         "layer_types is a list of 1, expected a kind for each of 24 layers"},
        {"{\"model_type\":\"qwen2_moe\",\"num_hidden_layers\":1,\"use_sliding_window\":true,"
         "\"layer_types\":[\"linear_attention\"]}",
         COT_FORMAT, "layer_types[0] is 'linear_attention', expected full_attention or sliding_attention"},
        {"{\"model_type\":\"llama\",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}", COT_FORMAT, "eos_token_id lists 9 tokens"},
        {"{\"model_type\":\"llama\",\"eos_token_id\":\"</s>\"}", COT_FORMAT, "eos_token_id is a string"},
        {"{\"model_type\":\"mixtral\",\"num_experts_per_tok\":9}", COT_FORMAT,
         "num_experts_per_tok is 9, but there are only 8 experts"},
        {"{\"model_type\":\"llama\",\"coterie\":3}", COT_FORMAT, "expected a map 'coterie'"},
        {"{\"model_type\":\"coterie\"}", COT_FORMAT, "vocab_size is absent, expected a whole number"},
        {"{\"model_type\":\"coterie\",\"vocab_size\":8,\"hidden_size\":8,\"num_hidden_layers\":1,\"max_position_"
         "embeddings\":8}",
         COT_FORMAT, "expected a map 'coterie'"},
    };
    scratch s = scratch_make();
    cot_model_folder folder;
    assert_int_equal(cot_model_folder_read(scratch_path(&s, "nowhere"), &folder), COT_NOT_FOUND);
    assert_non_null(strstr(cot_last_error(), "nowhere': no such folder"));
    assert_int_equal(cot_model_folder_read(s.folder, &folder), COT_NOT_FOUND);
    assert_non_null(strstr(cot_last_error(), "is no model: it has no config.json"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_put(&s, "config.json", bad[i].text, strlen(bad[i].text));
        const cot_status status = cot_model_folder_read(s.folder, &folder);
        if (status != bad[i].status || !strstr(cot_last_error(), bad[i].message))
            fail_msg("%s: status %d, '%s'", bad[i].text, status, cot_last_error());
        assert_non_null(strstr(cot_last_error(), "config.json"));
        assert_null(folder.section);
    }
    scratch_remove(&s);
}

/* ---- broken weights ---- */

/* A folder of a small Llama in which one tensor is another than it should be; "" leaves it out. */
static cot_status load_changed(scratch *s, const char *victim, const cot_tensor_entry *instead)
{
    cot_params *params = make_params(TIED, COT_F32, 1), *back = make_params(TIED, COT_F32, 2),
               *same = make_params(TIED, COT_F32, 2);
    const cot_model_card card = make_card(TIED);
    const cot_model_folder folder = {.dialect = cot_dialect_find("llama"), .card = card};
    must(cot_model_folder_write_weights(s->folder, folder.dialect, &card, params));
    cot_safetensors *set;
    must(cot_safetensors_open_folder(s->folder, &set));
    cot_tensor_entry entries[64];
    size_t count = 0;
    for (size_t i = 0; i < cot_safetensors_count(set); i++) {
        const cot_stored_tensor *t = cot_safetensors_at(set, i);
        if (strcmp(t->name, victim) == 0) continue;
        entries[count] = (cot_tensor_entry){
            .name = t->name, .dtype = COT_F32, .rank = t->rank, .data = t->data, .data_dtype = COT_F32};
        memcpy(entries[count++].shape, t->shape, sizeof t->shape);
    }
    if (instead) entries[count++] = *instead;
    must(cot_safetensors_write(scratch_path(s, "changed.safetensors"), entries, count));
    cot_safetensors_close(set);
    char target[512];
    snprintf(target, sizeof target, "%s/model.safetensors", s->folder);
    assert_int_equal(rename(s->path, target), 0);
    const cot_status status = cot_model_folder_load_weights(s->folder, &folder, back);
    for (size_t i = 0; status != COT_OK && i < cot_params_count(back); i++) {  /* a failure changes nothing */
        const cot_tensor *a = &cot_params_at(back, i)->value, *b = &cot_params_at(same, i)->value;
        assert_memory_equal(a->data, b->data, (size_t)cot_tensor_count(a) * sizeof(float));
    }
    cot_params_destroy(params);
    cot_params_destroy(back);
    cot_params_destroy(same);
    return status;
}

static void refuses_broken_weights(void **state)
{
    (void)state;
    static const float   data[V * D];
    static const int64_t ids[V * D];
#define NORM "model.norm.weight"
    const cot_tensor_entry wrong_shape = {
        .name = NORM, .dtype = COT_F32, .rank = 1, .shape = {D + 1}, .data = data, .data_dtype = COT_F32};
    const cot_tensor_entry wrong_rank = {
        .name = NORM, .dtype = COT_F32, .rank = 2, .shape = {1, D}, .data = data, .data_dtype = COT_F32};
    const cot_tensor_entry wrong_type = {
        .name = NORM, .dtype = COT_I64, .rank = 1, .shape = {D}, .data = ids, .data_dtype = COT_I64};
    const cot_tensor_entry surplus = {.name = "model.layers.2.mlp.up_proj.weight",
                                      .dtype = COT_F32,
                                      .rank = 1,
                                      .shape = {1},
                                      .data = data,
                                      .data_dtype = COT_F32};
    const cot_tensor_entry head = {
        .name = "lm_head.weight", .dtype = COT_F32, .rank = 2, .shape = {V, D}, .data = data, .data_dtype = COT_F32};
    scratch s = scratch_make();
    must(load_changed(&s, "", NULL));
    must(load_changed(&s, "", &head));  /* a tied model may carry its output matrix */
    assert_int_equal(load_changed(&s, NORM, NULL), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "tensor 'model.norm.weight' is missing from its weights"));
    assert_int_equal(load_changed(&s, NORM, &wrong_shape), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "model.safetensors': tensor 'model.norm.weight' is [9], expected [8]"));
    assert_int_equal(load_changed(&s, NORM, &wrong_rank), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "tensor 'model.norm.weight' is [1, 8], expected [8]"));
    assert_int_equal(load_changed(&s, NORM, &wrong_type), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "tensor 'model.norm.weight' is stored as I64, expected floating point"));
    assert_int_equal(load_changed(&s, "", &surplus), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "tensor 'model.layers.2.mlp.up_proj.weight' has no place in the model"));
    scratch_remove(&s);
}

static void survives_short_memory(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_params *params = make_params(SPARSE, COT_F32, 1);
    const cot_model_card card = make_card(SPARSE);
    const int64_t before = cot_memory_blocks();
    cot_status    status = COT_OUT_OF_MEMORY;
    int           failures = 0;
    for (int n = 1; status != COT_OK; n++) {
        cot_memory_fail_after(n);
        cot_model_folder folder = {.section = NULL};
        status = cot_model_folder_write(s.folder, &card, params, NULL);
        if (status == COT_OK) status = cot_model_folder_read(s.folder, &folder);
        if (status == COT_OK) status = cot_model_folder_load_weights(s.folder, &folder, params);
        cot_memory_fail_after(0);
        cot_model_folder_release(&folder);
        assert_int_equal(cot_memory_blocks(), before);
        failures += status != COT_OK;
    }
    assert_in_range(failures, 20, 200);
    assert_int_equal(scratch_count(&s), 3);
    cot_params_destroy(params);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_out_and_comes_back),
        cmocka_unit_test(parts_are_the_right_rows),
        cmocka_unit_test(biases_split_by_heads),
        cmocka_unit_test(stores_and_reads_other_types),
        cmocka_unit_test(picks_the_family),
        cmocka_unit_test(patterns),
        cmocka_unit_test(writes_configs),
        cmocka_unit_test(cards_come_back),
        cmocka_unit_test(reads_published_configs),
        cmocka_unit_test(reads_numbers_beyond_64_bits),
        cmocka_unit_test(refuses_configs),
        cmocka_unit_test(refuses_broken_weights),
        cmocka_unit_test(survives_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
