/* Folders that transformers saved (tests/data/models, made by tests/peers/make_model_data.py): the same logits from a
 * whole sequence and token by token, and again after we saved them; what describes a model; hostile changes to them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/generate.h>

#include "models/model_fixture.h"

#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/scratch.h"
#include "tensor/tape.h"

static const struct {
    const char *name, *family, *saved_as;
} folders[] = {
    {"llama", "llama", "llama"},
    {"llama-dynamic", "llama", "llama"},
    {"mixtral", "mixtral", "mixtral"},
    {"mixtral-joined", "mixtral", "mixtral"},
    {"qwen2_moe", "qwen2_moe", "coterie"},  /* a sliding window in some layers */
    {"qwen3_moe", "qwen3_moe", "qwen3_moe"},
    {"olmoe", "olmoe", "olmoe"},
};

enum { FOLDERS = sizeof folders / sizeof *folders };

static void must(cot_status status)
{
    if (status != COT_OK) fail_msg("%s", cot_last_error());
}

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/models/%s", COT_TEST_DATA, name);
    return path;
}

/* ---- what transformers computed ---- */

typedef struct {
    int32_t ids[32];
    float  *logits;  /* [tokens, vocabulary] */
    int64_t tokens, vocabulary;
} expected;

static expected read_expected(const char *name)
{
    char path[600];
    expected e = {.logits = NULL};
    cot_safetensors *set;
    snprintf(path, sizeof path, "%s/expected.safetensors", path_of(name));
    must(cot_safetensors_open(path, &set));
    const cot_stored_tensor *ids = cot_safetensors_find(set, "ids"), *logits = cot_safetensors_find(set, "logits");
    e.tokens = ids->count;
    e.vocabulary = logits->shape[1];
    assert_true(e.tokens <= 32);
    e.logits = malloc((size_t)logits->count * sizeof *e.logits);
    must(cot_safetensors_read(set, ids, COT_I32, e.ids));
    must(cot_safetensors_read(set, logits, COT_F32, e.logits));
    cot_safetensors_close(set);
    return e;
}

/* Sums of at most a hundred products of numbers of size 1, in f32 on both sides: some 1e-6; the issue asks for 1e-4. */
static void are_close(const char *what, const char *name, const float *got, const float *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(got[i] - want[i] <= 2e-5f && want[i] - got[i] <= 2e-5f))
            fail_msg("%s, %s: logit %lld is %g, expected %g", name, what, (long long)i, (double)got[i],
                     (double)want[i]);
}

static void check_logits(cot_model *model, const char *name, const expected *e)
{
    int32_t   first[32] = {0};
    cot_tape *tape;
    must(cot_tape_create(COT_MODE_F32, &tape));
    cot_tape_reset(tape, false, false, 0, 0);
    const cot_pass pass = {.ids = e->ids, .first = first, .tokens = e->tokens};
    const cot_tensor *logits = cot_model_logits(model, tape, model->ops->hidden(model, tape, &pass, NULL, false));
    must(cot_tape_status(tape));
    are_close("whole", name, logits->data, e->logits, e->tokens * e->vocabulary);
    cot_tape_destroy(tape);
}

/* By a session: the first half at once, then token by token. Dynamic positions differ there, as they do elsewhere:
 * stored keys keep the angles of a shorter sequence. */
static void check_session(cot_model *model, const char *name, const expected *e)
{
    cot_session *session;
    const float *logits;
    must(cot_session_create(model, e->tokens, false, &session));
    for (int64_t from = 0, to = e->tokens / 2; from < e->tokens; from = to, to++) {
        must(cot_session_feed(session, e->ids + from, to - from, &logits));
        are_close("token by token", name, logits, e->logits + (to - 1) * e->vocabulary, e->vocabulary);
    }
    cot_session_destroy(session);
}

static void logits_are_transformers(void **state)
{
    (void)state;
    for (int i = 0; i < FOLDERS; i++) {
        const char *name = folders[i].name;
        cot_model *model, *again;
        cot_tokenizer *tokenizer;
        scratch s = scratch_make();
        expected e = read_expected(name);
        must(cot_model_load(path_of(name), &model, &tokenizer));
        assert_null(tokenizer);
        check_logits(model, name, &e);
        if (strcmp(name, "llama-dynamic") != 0) check_session(model, name, &e);
        const cot_model_info info = cot_model_describe(model, 0);
        assert_string_equal(info.stored_as, folders[i].family);
        assert_string_equal(info.published_as, folders[i].saved_as);
        assert_int_equal(model->ids.eos_token_id[0], 2);
        must(cot_model_save(model, NULL, s.folder));
        must(cot_model_load(s.folder, &again, NULL));
        check_logits(again, name, &e);
        assert_string_equal(cot_model_describe(again, 0).stored_as, folders[i].saved_as);
        assert_int_equal(again->ids.eos_token_id[0], 2);
        cot_model_destroy(again);
        cot_model_destroy(model);
        free(e.logits);
        scratch_remove(&s);
    }
}

/* ---- which format, and why not another ---- */

static void is_format(const cot_model *model, const char *model_type, const char *misfit)
{
    cot_model_format format;
    for (size_t i = 0; cot_model_format_at(model, i, &format); i++)
        if (strcmp(format.model_type, model_type) == 0) {
            assert_string_equal(format.misfit, misfit);
            return;
        }
    fail_msg("no format '%s'", model_type);
}

static void says_why_not(void **state)
{
    (void)state;
    cot_model *model;
    must(cot_model_load(path_of("qwen2_moe"), &model, NULL));
    is_format(model, "llama", "it has experts");
    is_format(model, "mixtral", "it has dense layers between sparse ones");
    is_format(model, "qwen2_moe", "it has a sliding window in some layers");
    is_format(model, "qwen3_moe", "it has a shared expert with a sigmoid gate");
    is_format(model, "olmoe", "it has dense layers between sparse ones");
    is_format(model, "coterie", "");
    cot_model_destroy(model);
    model =
        declared_model("{kind: lm, hidden_size: 8, num_layers: 3, mixer: {kind: attention, num_heads: 2, bias: true},"
                       " ffn: {kind: sparse, router: {kind: top_k, top_k: 2, norm_topk_prob: false},"
                       " experts: {kind: ffn, num_experts: 3, intermediate_size: 4},"
                       " shared: {intermediate_size: 6, gate: sigmoid}},"
                       " layers: [{at: 1, ffn: {kind: dense, intermediate_size: 7}}]}",
                       9, 8, COT_F32);
    is_format(model, "qwen2_moe", "");
    assert_string_equal(cot_model_describe(model, 0).published_as, "qwen2_moe");
    cot_model_destroy(model);
    model = declared_model("{kind: lm, hidden_size: 8, num_layers: 1, mixer: {kind: attention, num_heads: 2},"
                           " ffn: {kind: sparse, router: {kind: noisy_top_k, top_k: 2},"
                           " experts: {kind: ffn, num_experts: 3, intermediate_size: 4}}}",
                           9, 8, COT_F32);
    cot_model_format format;
    assert_true(cot_model_format_at(model, 1, &format));
    assert_non_null(strstr(format.misfit, "it has "));
    assert_string_equal(cot_model_describe(model, 0).published_as, "coterie");
    assert_null(cot_model_describe(model, 0).stored_as);
    cot_model_destroy(model);
}

/* ---- folders that others changed ---- */

static void put_json(scratch *s, const char *name, const json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(1));
    scratch_put(s, name, text, strlen(text));
    free(text);
}

static json_t *read_config(const char *folder)
{
    char    path[600];
    json_t *root;
    snprintf(path, sizeof path, "%s/config.json", folder);
    must(cot_json_read(path, 1 << 20, &root));
    return root;
}

/* Our own description is older than the family's keys: those count. generation_config.json says what ends a text. */
static void published_keys_count(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_model *model;
    must(cot_model_load(path_of("olmoe"), &model, NULL));
    must(cot_model_save(model, NULL, s.folder));
    cot_model_destroy(model);
    json_t *root = read_config(s.folder);
    assert_non_null(json_object_get(root, "coterie"));
    json_object_set_new(json_object_get(root, "rope_parameters"), "rope_theta", json_real(77));
    put_json(&s, "config.json", root);
    json_decref(root);
    static const char two[] = "{\"eos_token_id\": [3, 5]}", text[] = "{\"eos_token_id\": \"x\"}";
    scratch_put(&s, "generation_config.json", two, strlen(two));
    must(cot_model_load(s.folder, &model, NULL));
    double theta = 0;
    must(cot_config_double(cot_config_get(cot_model_section(model), "mixer.rope_theta"), &theta));
    assert_true(theta == 77);
    assert_true(model->ids.eos_count == 2 && cot_text_ids_end(&model->ids, 5) && !cot_text_ids_end(&model->ids, 2));
    cot_model_destroy(model);
    scratch_put(&s, "generation_config.json", text, strlen(text));
    assert_int_equal(cot_model_load(s.folder, &model, NULL), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "generation_config.json': eos_token_id is a string"));
    scratch_remove(&s);
}

/* A configuration of a giant beside small weights: refused before its memory is taken. */
static void giants_take_no_memory(void **state)
{
    (void)state;
    scratch s = scratch_make();
    cot_model *model;
    must(cot_model_load(path_of("llama"), &model, NULL));
    must(cot_model_save(model, NULL, s.folder));
    cot_model_destroy(model);
    json_t *root = read_config(s.folder);
    json_object_del(root, "coterie");
    json_object_set_new(root, "intermediate_size", json_integer(9999999));
    json_object_set_new(root, "vocab_size", json_integer(2000000000));
    put_json(&s, "config.json", root);
    json_decref(root);
    assert_int_equal(cot_model_load(s.folder, &model, NULL), COT_FORMAT);
    assert_null(model);
    assert_non_null(
        strstr(cot_last_error(), "tensor 'model.embed_tokens.weight' is [16, 16], expected [2000000000, 16]"));
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_transformers),
        cmocka_unit_test(says_why_not),
        cmocka_unit_test(published_keys_count),
        cmocka_unit_test(giants_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
