/* tokenizer.json: what is written reads back the same, what other libraries write is understood, and files that are
 * broken or ask for what is not understood are refused with a line that says why. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/tokenizer_fixture.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/scratch.h"

static const cot_rng_key key = {.seed = 4, .stream = COT_RNG_TEST};

static const char text[] = "the other the then; one <|endoftext|> thing \xc3\xa9t\xc3\xa9 \xf0\x9f\x99\x82 the\n\n";

/* ---- there and back ---- */

static void what_is_saved_loads_the_same(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *saved = train_on(text, 280), *loaded;
    assert_non_null(saved);
    assert_int_equal(cot_tokenizer_save(saved, s.folder, 512), COT_OK);
    assert_int_equal(scratch_count(&s), 2);
    for (int as_file = 0; as_file < 2; as_file++) {
        assert_int_equal(cot_tokenizer_load(as_file ? scratch_path(&s, "tokenizer.json") : s.folder, &loaded), COT_OK);
        assert_true(cot_tokenizer_fingerprint(loaded) == cot_tokenizer_fingerprint(saved));
        assert_int_equal(cot_tokenizer_end_of_text(loaded), 0);
        cot_tokenizer_destroy(loaded);
    }
    json_t *config;
    assert_int_equal(cot_json_read(scratch_path(&s, "tokenizer_config.json"), 1 << 16, &config), COT_OK);
    assert_int_equal(json_integer_value(json_object_get(config, "model_max_length")), 512);
    assert_string_equal(json_string_value(json_object_get(config, "tokenizer_class")), "PreTrainedTokenizerFast");
    assert_string_equal(json_string_value(json_object_get(config, "eos_token")), "<|endoftext|>");
    json_decref(config);
    cot_tokenizer_destroy(saved);
    scratch_remove(&s);
}

static void fingerprints_tell_tokenizers_apart(void **state)
{
    (void)state;
    cot_tokenizer *a = train_on(text, 260), *b = train_on(text, 261), *c = train_on("bcd bcd bcd", 260);
    assert_true(cot_tokenizer_fingerprint(a) != cot_tokenizer_fingerprint(b));
    assert_true(cot_tokenizer_fingerprint(a) != cot_tokenizer_fingerprint(c));
    cot_tokenizer_destroy(a);
    cot_tokenizer_destroy(b);
    cot_tokenizer_destroy(c);
}

static void failed_saves_say_where(void **state)
{
    (void)state;
    cot_tokenizer *t = train_on("", 257);
    assert_int_equal(cot_tokenizer_save(t, "/nowhere/at/all", 0), COT_IO);
    assert_non_null(strstr(cot_last_error(), "/nowhere/at/all/tokenizer_config.json"));
    assert_int_equal(cot_tokenizer_save(t, "/tmp", -1), COT_INVALID);
    cot_tokenizer_destroy(t);
    assert_int_equal(cot_tokenizer_load("/nowhere/at/all", &t), COT_IO);
    assert_null(t);
}

/* ---- files that are changed in one place ---- */

/* The file of a small tokenizer, as a tree. */
static json_t *small_file(void)
{
    scratch        s = scratch_make();
    cot_tokenizer *t = train_on(text, 262);
    json_t        *root = NULL;
    if (cot_tokenizer_save(t, s.folder, 0) == COT_OK) cot_json_read(scratch_path(&s, "tokenizer.json"), 1 << 20, &root);
    cot_tokenizer_destroy(t);
    scratch_remove(&s);
    return root;
}

static cot_status parse_tree(const json_t *root, cot_tokenizer **out)
{
    char            *dump = json_dumps(root, JSON_COMPACT);
    const cot_status status = cot_tokenizer_parse(dump, strlen(dump), "t.json", out);
    free(dump);
    return status;
}

/* Replaces what stands at a dotted path (list places by number) by a value given as JSON; "" removes it. */
static void change(json_t *root, const char *path, const char *value)
{
    char step[64];
    for (const char *dot; (dot = strchr(path, '.')) && dot[1]; path = dot + 1) {
        snprintf(step, sizeof step, "%.*s", (int)(dot - path), path);
        root = json_is_array(root) ? json_array_get(root, strtoul(step, NULL, 10)) : json_object_get(root, step);
    }
    json_t *new_value = json_loads(value, JSON_DECODE_ANY, NULL);
    if (json_is_array(root)) assert_int_equal(json_array_set_new(root, strtoul(path, NULL, 10), new_value), 0);
    else if (new_value) assert_int_equal(json_object_set_new(root, path, new_value), 0);
    else assert_int_equal(json_object_del(root, path), 0);
}

static void broken_files_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"model", "7", "t.json: model.vocab is absent"},
        {"model.type", "\"WordPiece\"", "model.type is WordPiece, expected BPE"},
        {"model.dropout", "0.1", "model.dropout is a number, expected null"},
        {"model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix is </w>"},
        {"model.byte_fallback", "7", "model.byte_fallback is a whole number, expected true or false"},
        {"model.unk_token", "\"<unk>\"", "model.unk_token is <unk>, expected a token of the vocabulary"},
        {"model.unk_token", "7", "model.unk_token is a whole number, expected a token of the vocabulary"},
        {"normalizer", "7", "normalizer.type is absent, expected a text"},
        {"normalizer", "{\"type\": \"NFX\"}", "normalizer.type is NFX, expected NFC"},
        {"normalizer", "{\"type\": \"Replace\", \"pattern\": 3, \"content\": \"\"}",
         "t.json: normalizer.pattern is a whole number, expected {\"Regex\""},
        {"normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAB\"}",
         "a map of characters of 3 bytes"},
        {"pre_tokenizer", "null", "a ByteLevel decoder without the other"},
        {"pre_tokenizer", "{\"type\": \"BertPreTokenizer\"}", "pre_tokenizer.type is BertPreTokenizer, expected ByteLevel"},
        {"pre_tokenizer.use_regex", "\"no\"", "pre_tokenizer.use_regex is a string, expected true or false"},
        {"pre_tokenizer", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(?<=a)b\"}}",
         "t.json: pre_tokenizer.pattern: the pattern \"(?<=a)b\", byte 1: a kind of group"},
        {"pre_tokenizer", "{\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, \"behavior\": \"Kept\"}",
         "pre_tokenizer.behavior is Kept, expected Isolated"},
        {"pre_tokenizer", "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Digits\"}]}",
         "a step behind ByteLevel"},
        {"pre_tokenizer", "{\"type\": \"Metaspace\"}", "pre_tokenizer.replacement is absent, expected a character"},
        {"decoder.type", "\"WordPiece\"", "decoder.type is WordPiece, expected ByteLevel"},
        {"decoder", "{\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}", "a Strip that is not supported"},
        {"post_processor", "{\"type\": \"Other\"}", "post_processor.type is Other, expected ByteLevel"},
        {"post_processor", "{\"type\": \"TemplateProcessing\"}", "post_processor.single is absent, expected a list"},
        {"post_processor", "{\"type\": \"BertProcessing\", \"cls\": [\"a\", 900], \"sep\": [\"a\", 0]}",
         "post_processor has the token id 900 (a whole number), expected 0 to 261"},
        {"model.vocab", "[]", "model.vocab is empty"},
        {"model.vocab", "[[\"a\", 0], [\"b\"]]", "model.vocab, entry 1: expected [token, score]"},
        {"model.vocab", "[[\"a\", 0], [\"a\", 1]]", "token \"a\" is there twice"},
        {"model.vocab", "7", "model.vocab is a whole number"},
        {"model.vocab", "{}", "model.vocab is empty"},
        {"model.vocab.!", "2", "\"!\" and \"\"\" both have id 2"},
        {"model.vocab.!", "262", "\"!\" has id 262 (a whole number), expected each of 0 to 261 once"},
        {"model.vocab.!", "-1", "\"!\" has id -1"},
        {"model.vocab.!", "1.0", "\"!\" has id -1 (a number)"},
        {"model.vocab.!", "null", "\"!\" has id -1 (null)"},
        {"model.vocab.!", "", "expected each of 0 to 260 once"},
        {"model.vocab.the", "262", "\"the\" has id 262"},
        {"model.merges", "{}", "model.merges is a map, expected a list"},
        {"model.merges.0", "\"th\"", "merge 0 is a text without one space in it"},
        {"model.merges.0", "\"t h e\"", "merge 0 is a text without one space in it"},
        {"model.merges.0", "[\"t\"]", "merge 0 is a list, expected two tokens"},
        {"model.merges.0", "[\"t\", 3]", "merge 0 is a list, expected two tokens"},
        {"model.merges.0", "7", "merge 0 is a whole number, expected two tokens"},
        {"model.merges.0", "\"t xyz\"", "merge 0 needs the token \"xyz\", which is not in the vocabulary"},
        {"model.merges.0", "\"z z\"", "merge 0 needs the token \"zz\", which is not in the vocabulary"},
        {"model.merges.0", "\" \"", "merge 0 needs the token \"\", which is not"},
        {"model.merges.1", "\"t h\"", "merge 1 repeats merge 0, expected each pair once"},
        {"added_tokens", "7", "added_tokens is a whole number, expected a list"},
        {"added_tokens.0", "7", "added token 0 has no content"},
        {"added_tokens.0.content", "\"\"", "added token 0 has no content"},
        {"added_tokens.0.id", "5", "added token \"<|endoftext|>\" has another id in the vocabulary"},
        {"added_tokens.0", "{\"content\": \"new\", \"id\": 0}", "both have id 0"},
        {"added_tokens.0", "{\"content\": \"new\", \"id\": 9e9}", "\"new\" has id -1 (a number)"},
        {"added_tokens.0", "{\"content\": \"a\", \"id\": 65}", "no token for byte 0x61"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t        *root = small_file();
        cot_tokenizer *t = (cot_tokenizer *)&root;
        assert_non_null(root);
        change(root, cases[i][0], cases[i][1]);
        const cot_status status = parse_tree(root, &t);
        if (status != COT_FORMAT || !strstr(cot_last_error(), cases[i][2]))
            fail_msg("%s = %s: status %d, \"%s\"", cases[i][0], cases[i][1], (int)status, cot_last_error());
        assert_null(t);
        json_decref(root);
    }
}

static void check_refused(const char *bytes, size_t length, const char *message)
{
    cot_tokenizer *t;
    assert_int_equal(cot_tokenizer_parse(bytes, length, "t.json", &t), COT_FORMAT);
    assert_null(t);
    assert_non_null(strstr(cot_last_error(), "t.json"));
    assert_non_null(strstr(cot_last_error(), message));
    assert_null(strchr(cot_last_error(), '\n'));
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *deep = malloc(DEEP);
    memset(deep, '[', DEEP);
    check_refused(deep, DEEP, "nested deeper");
    free(deep);
    check_refused("", 0, "not JSON");
    check_refused("[]", 2, "a list, expected a tokenizer.json");
    check_refused("{\"model\": {\"vocab\": {\"a\": 1, \"a\": 2}}}", 38, "duplicate");
    check_refused("{\"\xff\": 1}", 8, "not JSON");
    json_t *root = small_file();
    char   *dump = json_dumps(root, JSON_COMPACT);
    for (size_t length = strlen(dump) - 1; length > 100; length = length * 3 / 4)
        check_refused(dump, length, "not JSON");
    free(dump);
    change(root, "added_tokens.0.content", "\"<|endof\\ntext|>\"");
    change(root, "model.vocab.<|endoftext|>", "300");
    cot_tokenizer *t;
    assert_int_equal(parse_tree(root, &t), COT_FORMAT);
    assert_null(strchr(cot_last_error(), '\n'));
    json_decref(root);
}

/* ---- what other files may have ---- */

static void check_ids(const cot_tokenizer *t, const char *what, bool allow_special, const int32_t *want,
                      size_t want_count)
{
    int32_t *ids;
    size_t   count;
    assert_int_equal(cot_tokenizer_encode(t, what, strlen(what), allow_special, &ids, &count), COT_OK);
    assert_int_equal(count, want_count);
    assert_memory_equal(ids, want, count * sizeof *ids);
    free(ids);
}

static void added_tokens_are_cut_out_first(void **state)
{
    (void)state;
    json_t        *root = small_file();
    cot_tokenizer *t;
    change(root, "added_tokens", "[{\"id\": 0, \"content\": \"<|endoftext|>\", \"special\": true},"
                                 " {\"id\": 262, \"content\": \"  \", \"normalized\": true},"
                                 " {\"id\": 263, \"content\": \"    \", \"normalized\": true},"
                                 " {\"id\": 264, \"content\": \"\u00e9 \", \"normalized\": false}]");
    assert_int_equal(parse_tree(root, &t), COT_OK);
    assert_int_equal(cot_tokenizer_vocab_size(t), 265);
    assert_false(cot_tokenizer_is_special(t, 262));
    const int32_t x = cot_tokenizer_find(t, "x", 1), space = cot_tokenizer_find(t, " ", 1);
    check_ids(t, "x       x", false, (const int32_t[]){x, 263, 262, space, x}, 5);  /* four, two, one */
    check_ids(t, "x\xc3\xa9   x", false, (const int32_t[]){x, 264, 262, x}, 4);      /* not normalized: goes first */
    check_ids(t, "<|endoftext|>  ", true, (const int32_t[]){0, 262}, 2);
    cot_tokenizer_destroy(t);
    json_decref(root);
}

static void bytes_without_a_token_cannot_be_encoded(void **state)
{
    (void)state;
    json_t        *root = small_file();
    cot_tokenizer *t;
    int32_t       *ids;
    size_t         count;
    /* The token of byte 0xff, \u00ff, becomes one for "the" + "the", which needs no merge. */
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab");
    json_object_set(vocabulary, "thethe", json_object_get(vocabulary, "\xc3\xbf"));
    json_object_del(vocabulary, "\xc3\xbf");
    assert_int_equal(parse_tree(root, &t), COT_OK);
    assert_int_equal(cot_tokenizer_encode(t, "a\xff", 2, false, &ids, &count), COT_INVALID);
    assert_null(ids);
    assert_non_null(strstr(cot_last_error(), "the byte 0xff, for which the tokenizer has no token"));
    assert_int_equal(cot_tokenizer_encode(t, "a", 1, false, &ids, &count), COT_OK);
    free(ids);
    cot_tokenizer_destroy(t);
    json_decref(root);
}

/* ---- chance ---- */

/* Bytes changed at random: refused with a message, or a tokenizer that still gives text back. */
static void mutated_files_never_crash(void **state)
{
    (void)state;
    static const char spaced[] = " the other <|endoftext|> thing \xc3\xa9t\xc3\xa9 \n\n";  /* some put a space before */
    json_t  *root = small_file();
    char    *dump = json_dumps(root, JSON_COMPACT), *bytes = malloc(strlen(dump));
    size_t   length = strlen(dump), accepted = 0;
    uint64_t draw = 0;
    for (int round = 0; round < 1500; round++) {
        memcpy(bytes, dump, length);
        for (uint64_t left = 1 + cot_rng_below(key, draw++, 3); left; left--) {
            static const char signs[] = "\"\\,:[]{}0123456789eantulf ";
            const size_t      at = cot_rng_below(key, draw++, length);
            bytes[at] = signs[cot_rng_below(key, draw++, sizeof signs - 1)];
        }
        cot_tokenizer *t;
        if (cot_tokenizer_parse(bytes, length, "t.json", &t) != COT_OK) {
            assert_null(t);
            assert_non_null(strstr(cot_last_error(), "t.json"));
            continue;
        }
        int32_t *ids;
        size_t   count, back_length;
        char    *back;
        assert_int_equal(cot_tokenizer_encode(t, spaced, sizeof spaced, true, &ids, &count), COT_OK);
        assert_int_equal(cot_tokenizer_decode(t, ids, count, false, &back, &back_length), COT_OK);
        assert_int_equal(back_length, sizeof spaced);
        assert_memory_equal(back, spaced, sizeof spaced);
        free(ids);
        free(back);
        cot_tokenizer_destroy(t);
        accepted++;
    }
    assert_in_range(accepted, 1, 1000);
    free(bytes);
    free(dump);
    json_decref(root);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *saved = train_on(text, 270), *loaded;
    const int64_t  blocks = cot_memory_blocks();
    cot_status     status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        cot_memory_fail_after(n);
        status = cot_tokenizer_save(saved, s.folder, 0);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || *cot_last_error());
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        cot_memory_fail_after(n);
        status = cot_tokenizer_load(s.folder, &loaded);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || (status == COT_OUT_OF_MEMORY && !loaded));
        if (status != COT_OK) assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_true(cot_tokenizer_fingerprint(loaded) == cot_tokenizer_fingerprint(saved));
    cot_tokenizer_destroy(loaded);
    cot_tokenizer_destroy(saved);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_loads_the_same),
        cmocka_unit_test(fingerprints_tell_tokenizers_apart),
        cmocka_unit_test(failed_saves_say_where),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(added_tokens_are_cut_out_first),
        cmocka_unit_test(bytes_without_a_token_cannot_be_encoded),
        cmocka_unit_test(mutated_files_never_crash),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
