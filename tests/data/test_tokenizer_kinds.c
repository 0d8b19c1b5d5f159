/* Tokenizers of other kinds than those trained here: patterns and normalizers piece by piece, small tokenizers whole,
 * against the stored answers of Hugging Face's tokenizers and of sentencepiece (tests/peers/tokenizer_vectors.py). */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/tokenizers/base64.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/scratch.h"

#define FOLDER COT_TEST_DATA "/tokenizers/"

static const cot_rng_key key = {.seed = 5, .stream = COT_RNG_TEST};

static json_t *read_json(const char *path)
{
    json_t *root;
    if (cot_json_read(path, 1 << 20, &root) != COT_OK) fail_msg("%s", cot_last_error());
    return root;
}

static cot_tokenizer *load(const char *file)
{
    char           path[512];
    cot_tokenizer *t;
    snprintf(path, sizeof path, FOLDER "%s", file);
    if (cot_tokenizer_load(path, &t) != COT_OK) fail_msg("%s", cot_last_error());
    return t;
}

/* ---- pre-tokenizers and normalizers ---- */

typedef struct {
    const json_t *pieces;
    size_t        at;
    const char   *section;  /* for messages */
} expected_pieces;

static cot_status take_piece(void *context, const char *text, size_t length)
{
    expected_pieces *e = context;
    const char      *want = json_string_value(json_array_get(e->pieces, e->at++));
    if (!want || strlen(want) != length || memcmp(want, text, length) != 0)
        fail_msg("%s: piece %zu is \"%.*s\", expected \"%s\"", e->section, e->at - 1, (int)length, text,
                 want ? want : "no more");
    return COT_OK;
}

static void pieces_are_the_peers(void **state)
{
    (void)state;
    json_t *root = read_json(FOLDER "sections.json"), *part, *one;
    size_t  i, k, pieces = 0;
    json_array_foreach(json_object_get(root, "pre_tokenizers"), i, part)
    {
        cot_splitter      splitter = {0};
        cot_splitter_room room;
        char             *section = json_dumps(json_object_get(part, "section"), JSON_COMPACT);
        if (cot_splitter_read(&splitter, json_object_get(part, "section"), "t.json") != COT_OK)
            fail_msg("%s", cot_last_error());
        assert_int_equal(cot_splitter_room_create(&splitter, &room), COT_OK);
        json_array_foreach(json_object_get(part, "cases"), k, one)
        {
            const char     *text = json_string_value(json_array_get(one, 0));
            expected_pieces e = {json_array_get(one, 1), 0, section};
            assert_int_equal(cot_split(&splitter, &room, text, strlen(text), true, take_piece, &e), COT_OK);
            assert_int_equal(e.at, json_array_size(e.pieces));
            pieces += e.at;
        }
        free(section);
        cot_splitter_room_release(&room);
        cot_splitter_release(&splitter);
    }
    assert_true(i >= 20 && pieces > 1000);
    json_decref(root);
}

static void normal_forms_are_the_peers(void **state)
{
    (void)state;
    json_t *root = read_json(FOLDER "sections.json"), *part, *one;
    size_t  i, k, length;
    json_array_foreach(json_object_get(root, "normalizers"), i, part)
    {
        cot_normalizer      normalizer = {0};
        cot_normalizer_room room = {0};
        if (cot_normalizer_read(&normalizer, json_object_get(part, "section"), "t.json") != COT_OK)
            fail_msg("%s", cot_last_error());
        json_array_foreach(json_object_get(part, "cases"), k, one)
        {
            const char *text = json_string_value(json_array_get(one, 0)),
                       *want = json_string_value(json_array_get(one, 1)), *got;
            assert_int_equal(cot_normalize(&normalizer, &room, text, strlen(text), false, &got, &length), COT_OK);
            if (length != strlen(want) || memcmp(got, want, length) != 0)
                fail_msg("normalizer %zu, case %zu: \"%.*s\", expected \"%s\"", i, k, (int)length, got, want);
        }
        cot_normalizer_room_release(&room);
        cot_normalizer_release(&normalizer);
    }
    assert_true(i >= 10);
    json_decref(root);
}

/* ---- whole tokenizers ---- */

static void check_case(const cot_tokenizer *t, const char *file, bool special, const json_t *one)
{
    const char *text = json_string_value(json_array_get(one, 0)),
               *want_back = json_string_value(json_array_get(one, 2));
    const json_t *want = json_array_get(one, 1);
    int32_t      *ids;
    size_t        count, length;
    char         *back;
    assert_int_equal(cot_tokenizer_encode(t, text, strlen(text), special, &ids, &count), COT_OK);
    for (size_t i = 0; i < count; i++)
        if (ids[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s, \"%s\": id %zu is %d", file, text, i, ids[i]);
    assert_int_equal(count, json_array_size(want));
    assert_int_equal(cot_tokenizer_decode(t, ids, count, false, &back, &length), COT_OK);
    if (strcmp(back, want_back) != 0)
        fail_msg("%s: \"%s\" decodes to \"%s\", expected \"%s\"", file, text, back, want_back);
    free(ids);
    free(back);
}

static void ids_and_texts_are_the_peers(void **state)
{
    (void)state;
    json_t *root = read_json(FOLDER "answers.json"), *part, *one;
    size_t  i, k;
    json_array_foreach(root, i, part)
    {
        const char    *file = json_string_value(json_object_get(part, "file"));
        cot_tokenizer *t = load(file);
        json_array_foreach(json_object_get(part, "cases"), k, one)
            check_case(t, file, json_is_true(json_object_get(part, "special")), one);
        cot_tokenizer_destroy(t);
    }
    assert_int_equal(i, 7);
    json_decref(root);
}

/* What is saved gives the same ids when it is read again, also what was a SentencePiece model. */
static void what_is_saved_gives_the_same_ids(void **state)
{
    (void)state;
    static const char *const files[] = {"bpe.model", "llama.json", "unigram.json", "added.json", "unigram-bytes.model"};
    json_t *root = read_json(FOLDER "answers.json");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        scratch        s = scratch_make();
        cot_tokenizer *first = load(files[i]), *again;
        size_t         k;
        json_t        *one;
        assert_int_equal(cot_tokenizer_save(first, s.folder, 0), COT_OK);
        assert_int_equal(cot_tokenizer_load(s.folder, &again), COT_OK);
        assert_int_equal(cot_tokenizer_start_of_text(again), cot_tokenizer_start_of_text(first));
        assert_int_equal(cot_tokenizer_end_of_text(again), cot_tokenizer_end_of_text(first));
        json_array_foreach(json_object_get(json_array_get(root, 0), "cases"), k, one)
        {
            const char *text = json_string_value(json_array_get(one, 0));
            if (strchr(text, '<')) continue;  /* tokenizer.json lets unigram find "<unk>" and "<0x41>" in any text */
            int32_t    *ids, *same;
            size_t      count, same_count;
            assert_int_equal(cot_tokenizer_encode(first, text, strlen(text), false, &ids, &count), COT_OK);
            assert_int_equal(cot_tokenizer_encode(again, text, strlen(text), false, &same, &same_count), COT_OK);
            if (count != same_count) fail_msg("%s, \"%s\": %zu ids, then %zu", files[i], text, count, same_count);
            assert_memory_equal(ids, same, count * sizeof *ids);
            free(ids);
            free(same);
        }
        cot_tokenizer_destroy(first);
        cot_tokenizer_destroy(again);
        scratch_remove(&s);
    }
    json_decref(root);
}

/* ---- by hand ---- */

static void bytes_without_characters_are_encoded_as_they_are(void **state)
{
    (void)state;
    static const char *const files[] = {"bpe.model", "llama.json", "unigram-bytes.model"};
    static const char text[] = "a\xff\xc3 b\xe2\x82";
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        cot_tokenizer *t = load(files[i]);
        int32_t       *ids;
        size_t         count, length;
        char          *back;
        assert_int_equal(cot_tokenizer_encode(t, text, sizeof text - 1, false, &ids, &count), COT_OK);
        assert_int_equal(cot_tokenizer_decode(t, ids, count, false, &back, &length), COT_OK);
        assert_int_equal(length, sizeof text - 1);
        assert_memory_equal(back, text, length);
        free(ids);
        free(back);
        cot_tokenizer_destroy(t);
    }
}

/* A text in pieces, each told to go on, has the tokens of the whole. */
static void a_text_can_go_on(void **state)
{
    (void)state;
    cot_tokenizer         *t = load("llama.json");
    cot_tokenizer_encoder *e;
    static const char      text[] = "a b\nint x;\nreturn";
    const size_t           cut = 4;
    int32_t               *whole;
    const int32_t         *part;
    size_t                 count, first, rest, length;
    assert_int_equal(cot_tokenizer_encode(t, text, strlen(text), false, &whole, &count), COT_OK);
    assert_int_equal(cot_tokenizer_encoder_create(t, &e), COT_OK);
    assert_int_equal(cot_tokenizer_encoder_run(e, text, cut, false, &part, &first), COT_OK);
    assert_memory_equal(part, whole, first * sizeof *part);
    cot_tokenizer_encoder_go_on(e);
    assert_int_equal(cot_tokenizer_encoder_run(e, text + cut, strlen(text) - cut, false, &part, &rest), COT_OK);
    assert_int_equal(first + rest, count);
    assert_memory_equal(part, whole + first, rest * sizeof *part);
    assert_int_equal(*cot_tokenizer_token(t, whole[0], &length), ' ');
    assert_int_equal(*cot_tokenizer_first_token(t, whole[0], &length), 'a');
    assert_int_equal(cot_tokenizer_special(t, "<s>"), cot_tokenizer_start_of_text(t));
    assert_int_equal(cot_tokenizer_special(t, "</s>"), cot_tokenizer_end_of_text(t));
    cot_tokenizer_encoder_destroy(e);
    cot_tokenizer_destroy(t);
    free(whole);
}

static void check_pattern(const char *pattern, const char *message)
{
    cot_pattern p;
    assert_int_equal(cot_pattern_compile(pattern, strlen(pattern), "here", &p), COT_FORMAT);
    if (!strstr(cot_last_error(), message)) fail_msg("\"%s\": %s", pattern, cot_last_error());
}

static void patterns_that_are_not_understood_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a(b", "byte 3: expected ')'"}, {"a)", "expected no ')' here"}, {"[a", "expected ']'"}, {"*a", "nothing that could be repeated"},
        {"a**", "a repetition that is repeated"}, {"(ab)+", "groups that repeat"}, {"(?<n>a)", "a kind of group"}, {"\\p{Greek}", "general category"},
        {"a{3,2}", "expected '{n}'"}, {"\\b", "an escape that is not supported"}, {"[[:alpha:]]", "classes inside of classes"},
        {"\\x{110000}", "hexadecimal"}, {"[b-a]", "ends before it begins"}, {"\\", "expected a character"}, {"[^\\W]", "\\W is not supported in a class"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_pattern(cases[i][0], cases[i][1]);
    char deep[200];
    memset(deep, '(', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    check_pattern(deep, "nested too deep");
}

static void patterns_cannot_take_forever(void **state)
{
    (void)state;
    static const char slow[] = "a*a*a*a*a*b";
    cot_pattern       p;
    size_t            start, end;
    char             *text = malloc(20000);
    memset(text, 'a', 20000);
    assert_int_equal(cot_pattern_compile(slow, sizeof slow - 1, "here", &p), COT_OK);
    assert_int_equal(cot_pattern_find(&p, text, 20000, 0, &start, &end), COT_INVALID);
    assert_non_null(strstr(cot_last_error(), "takes too long"));
    cot_pattern_release(&p);
    free(text);
}

static void base64_comes_back(void **state)
{
    (void)state;
    char   bytes[40];
    size_t length;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)cot_rng_u32(key, i);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        char *text = cot_base64_encode(bytes, size), *back = cot_base64_decode(text, &length);
        assert_int_equal(length, size);
        assert_memory_equal(back, bytes, size);
        cot_free(text);
        cot_free(back);
    }
    char *text = cot_base64_encode("Man", 3);
    assert_string_equal(text, "TWFu");
    assert_null(cot_base64_decode("TW!u", &length));
    cot_free(text);
}

/* ---- SentencePiece models that are broken ---- */

static void check_refused(const char *bytes, size_t length, const char *message)
{
    cot_tokenizer *t;
    assert_int_equal(cot_sentencepiece_parse(bytes, length, "t.model", &t), COT_FORMAT);
    assert_null(t);
    if (!strstr(cot_last_error(), "t.model") || !strstr(cot_last_error(), message)) fail_msg("%s", cot_last_error());
}

static void broken_models_are_refused(void **state)
{
    (void)state;
    check_refused("", 0, "no pieces");
    check_refused("\x0a\x05\x0a\x01", 4, "byte 2: a field that is longer than what holds it");
    check_refused("\x0a", 1, "byte 1: a number that is cut off");
    check_refused("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "a number of more than 64 bits");
    check_refused("\x07", 1, "a field without a number");
    check_refused("\x0b", 1, "a kind of field that does not exist");
    check_refused("\x0a\x02\x0a\x00", 4, "piece 0 is empty");
    check_refused("\x0a\x03\x0a\x01\xff", 5, "piece 0 is empty or no valid UTF-8");
    check_refused("\x0a\x05\x0a\x01" "a\x18\x09", 7, "piece 0 has type 9");
    check_refused("\x0a\x03\x0a\x01" "a\x0a\x03\x0a\x01" "a", 10, "pieces 0 and 1 are the same");
    check_refused("\x0a\x03\x0a\x01" "a", 5, "no piece for the unknown");
    check_refused("\x0a\x05\x0a\x01" "a\x18\x06", 7, "piece 0 is \"a\", expected a byte");
    check_refused("\x0a\x05\x0a\x01" "a\x18\x02\x12\x02\x18\x04", 11, "model_type is 4");
    check_refused("\x0a\x05\x0a\x01" "a\x18\x02\x1a\x04\x12\x02zz", 13, "a map of characters of 2 bytes");
}

static void mutated_models_never_crash(void **state)
{
    (void)state;
    char    *bytes, *changed;
    size_t   length, accepted = 0;
    uint64_t draw = 1000;
    assert_int_equal(cot_file_read(FOLDER "bpe-symbols.model", 1 << 20, &bytes, &length), COT_OK);
    changed = malloc(length);
    for (int round = 0; round < 600; round++) {
        memcpy(changed, bytes, length);
        for (uint64_t left = 1 + cot_rng_below(key, draw++, 3); left; left--) {
            const size_t at = cot_rng_below(key, draw++, length);
            changed[at] = (char)cot_rng_u32(key, draw++);
        }
        cot_tokenizer *t;
        if (cot_sentencepiece_parse(changed, length, "t.model", &t) != COT_OK) {
            assert_null(t);
            assert_non_null(strstr(cot_last_error(), "t.model"));
            continue;
        }
        int32_t *ids;
        size_t   count;
        assert_int_equal(cot_tokenizer_encode(t, "int x; [INST] \xff", 16, true, &ids, &count), COT_OK);
        free(ids);
        cot_tokenizer_destroy(t);
        accepted++;
    }
    assert_in_range(accepted, 1, 599);
    free(changed);
    cot_free(bytes);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const files[] = {"unigram.model", "llama.json"};
    for (size_t i = 0; i < 2; i++) {
        char          *bytes, path[512];
        size_t         length, count;
        cot_tokenizer *t = NULL;
        int32_t       *ids;
        cot_status     status = COT_OUT_OF_MEMORY;
        snprintf(path, sizeof path, FOLDER "%s", files[i]);
        assert_int_equal(cot_file_read(path, 1 << 20, &bytes, &length), COT_OK);
        const int64_t blocks = cot_memory_blocks();
        for (int64_t n = 1; status != COT_OK; n++) {
            cot_memory_fail_after(n);
            status = i ? cot_tokenizer_parse(bytes, length, "t", &t) : cot_sentencepiece_parse(bytes, length, "t", &t);
            cot_memory_fail_after(0);
            if (status != COT_OK) assert_int_equal(cot_memory_blocks(), blocks);
        }
        const int64_t loaded = cot_memory_blocks();
        status = COT_OUT_OF_MEMORY;
        for (int64_t n = 1; status != COT_OK; n++) {
            cot_memory_fail_after(n);
            status = cot_tokenizer_encode(t, "int  x \xf0\x9f\x99\x82", 11, true, &ids, &count);
            cot_memory_fail_after(0);
            assert_true(status == COT_OK || status == COT_OUT_OF_MEMORY);
            assert_int_equal(cot_memory_blocks(), loaded);
        }
        free(ids);
        cot_tokenizer_destroy(t);
        cot_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_the_peers),
        cmocka_unit_test(normal_forms_are_the_peers),
        cmocka_unit_test(ids_and_texts_are_the_peers),
        cmocka_unit_test(what_is_saved_gives_the_same_ids),
        cmocka_unit_test(bytes_without_characters_are_encoded_as_they_are),
        cmocka_unit_test(a_text_can_go_on),
        cmocka_unit_test(patterns_that_are_not_understood_are_refused),
        cmocka_unit_test(patterns_cannot_take_forever),
        cmocka_unit_test(base64_comes_back),
        cmocka_unit_test(broken_models_are_refused),
        cmocka_unit_test(mutated_models_never_crash),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
