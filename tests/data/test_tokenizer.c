/* Training, encoding and decoding: against other libraries' stored answers, against a naive encoder, and by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/tokenizer_fixture.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/pretokenizer.h"
#include "data/tokenizers/vocabulary.h"

static const cot_rng_key key = {.seed = 3, .stream = COT_RNG_TEST};

/* ---- against other libraries ---- */

static void check_ids(const cot_tokenizer *t, const char *text, bool allow_special, const json_t *want)
{
    int32_t *ids;
    size_t   count, length;
    char    *back;
    assert_int_equal(cot_tokenizer_encode(t, text, strlen(text), allow_special, &ids, &count), COT_OK);
    assert_int_equal(count, json_array_size(want));
    for (size_t i = 0; i < count; i++) assert_int_equal(ids[i], json_integer_value(json_array_get(want, i)));
    assert_int_equal(cot_tokenizer_decode(t, ids, count, false, &back, &length), COT_OK);
    assert_int_equal(length, strlen(text));
    assert_memory_equal(back, text, length + 1);
    free(ids);
    free(back);
}

static void training_gives_the_peers_tokenizer(void **state)
{
    (void)state;
    json_t        *peer = read_peer();
    cot_tokenizer *theirs, *ours = train_on(peer_corpus(peer), 700);
    assert_int_equal(cot_tokenizer_load(COT_TEST_DATA "/tokenizer", &theirs), COT_OK);
    assert_non_null(ours);
    assert_int_equal(cot_tokenizer_vocab_size(ours), 700);
    assert_int_equal(ours->merge_count, 443);
    assert_int_equal(theirs->merge_count, 443);
    assert_memory_equal(ours->merges, theirs->merges, 443 * sizeof *ours->merges);
    assert_true(cot_tokenizer_fingerprint(ours) == cot_tokenizer_fingerprint(theirs));
    cot_tokenizer_destroy(ours);
    cot_tokenizer_destroy(theirs);
    json_decref(peer);
}

static void ids_and_pretokens_are_the_peers(void **state)
{
    (void)state;
    json_t        *peer = read_peer(), *one;
    cot_tokenizer *t = train_on(peer_corpus(peer), 700);
    size_t         index, special_cases = 0;
    assert_non_null(t);
    json_array_foreach(json_object_get(peer, "cases"), index, one)
    {
        const char   *text = json_string_value(json_object_get(one, "text")), *at = text;
        const json_t *lengths = json_object_get(one, "lengths"), *ids = json_object_get(one, "ids");
        const json_t *special = json_object_get(one, "ids_special");
        for (size_t i = 0; i < json_array_size(lengths); i++) {
            const size_t length = cot_pretoken_length(at, strlen(at));
            assert_int_equal(length, json_integer_value(json_array_get(lengths, i)));
            at += length;
        }
        assert_int_equal(*at, '\0');
        check_ids(t, text, false, ids);
        check_ids(t, text, true, special ? special : ids);
        special_cases += special != NULL;
    }
    assert_true(index >= 130 && special_cases >= 3);
    cot_tokenizer_destroy(t);
    json_decref(peer);
}

/* ---- pre-tokens by hand: invalid UTF-8, which regular expressions over text cannot see ---- */

static void check_pretokens(const char *text, const char *const *want)
{
    for (size_t length = strlen(text); length; want++) {
        assert_non_null(*want);
        const size_t size = cot_pretoken_length(text, length);
        assert_int_equal(size, strlen(*want));
        assert_memory_equal(text, *want, size);
        text += size;
        length -= size;
    }
    assert_null(*want);
}

static void invalid_bytes_are_other_characters(void **state)
{
    (void)state;
    check_pretokens("a\xff\x62", (const char *[]){"a", "\xff", "b", NULL});
    check_pretokens(" \xc3(!", (const char *[]){" \xc3(!", NULL});          /* a lead byte without its second */
    check_pretokens("\xe2\x82", (const char *[]){"\xe2\x82", NULL});        /* cut off */
    check_pretokens("\xed\xa0\x80y", (const char *[]){"\xed\xa0\x80", "y", NULL});  /* a surrogate */
    check_pretokens("1\xc0\xb1", (const char *[]){"1", "\xc0\xb1", NULL});  /* overlong '1' */
    check_pretokens("  \xf5", (const char *[]){" ", " \xf5", NULL});
}

/* ---- any bytes come back ---- */

static void check_round_trip(cot_tokenizer_encoder *encoder, const cot_tokenizer *t, const char *text, size_t length)
{
    const int32_t *ids;
    int32_t       *same;
    size_t         count, same_count, back_length;
    char          *back;
    assert_int_equal(cot_tokenizer_encoder_run(encoder, text, length, true, &ids, &count), COT_OK);
    assert_int_equal(cot_tokenizer_encode(t, text, length, true, &same, &same_count), COT_OK);
    assert_int_equal(count, same_count);
    if (count) assert_memory_equal(ids, same, count * sizeof *ids);
    assert_int_equal(cot_tokenizer_decode(t, same, same_count, false, &back, &back_length), COT_OK);
    assert_int_equal(back_length, length);
    assert_memory_equal(back, text, length);
    free(same);
    free(back);
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    json_t                *peer = read_peer();
    cot_tokenizer         *tokenizers[] = {train_on(peer_corpus(peer), 700), train_on("", 257)};
    cot_tokenizer_encoder *encoder;
    static const char      pool[] = " \n\t'aeste\xc3\xa9\xe3\x81\xf0\x9f\x98\x80\xff<|endoftext|>1";
    for (size_t k = 0; k < 2; k++) {
        assert_non_null(tokenizers[k]);
        assert_int_equal(cot_tokenizer_encoder_create(tokenizers[k], &encoder), COT_OK);
        uint64_t draw = 0;
        for (int round = 0; round < 1000; round++) {
            char         text[300];
            const size_t length = cot_rng_below(key, draw++, sizeof text);
            for (size_t i = 0; i < length; i++) {
                const uint32_t bits = cot_rng_u32(key, draw++);
                text[i] = (char)bits;
                if (round % 3 == 1) text[i] = pool[bits % (sizeof pool - 1)];
                if (round % 3 == 2) text[i] = (char)('a' + bits % 2);
            }
            check_round_trip(encoder, tokenizers[k], text, length);
        }
        cot_tokenizer_encoder_destroy(encoder);
        cot_tokenizer_destroy(tokenizers[k]);
    }
    json_decref(peer);
}

/* ---- both ways of merging against the definition ---- */

static size_t encode_naively(const cot_tokenizer *t, const char *text, size_t n, int32_t *ids)
{
    for (size_t i = 0; i < n; i++) ids[i] = t->byte_ids[(unsigned char)text[i]];
    for (;;) {
        size_t  best = 0;
        int32_t best_rank = COT_NO_MERGE;
        for (size_t i = 0; i + 1 < n; i++)
            for (int32_t rank = 0; rank < t->merge_count && rank < best_rank; rank++)
                if (t->merges[rank].left == ids[i] && t->merges[rank].right == ids[i + 1]) best_rank = rank, best = i;
        if (best_rank == COT_NO_MERGE) return n;
        ids[best] = t->merges[best_rank].id;
        memmove(ids + best + 1, ids + best + 2, (n - best - 2) * sizeof *ids);
        n--;
    }
}

static void merges_follow_the_definition(void **state)
{
    (void)state;
    char text[2001];
    for (size_t i = 0; i < 2000; i++) text[i] = (char)('a' + cot_rng_below(key, i, 3));
    text[2000] = '\0';
    cot_tokenizer *t = train_on(text, 400);
    assert_non_null(t);
    for (size_t length = 1; length < 150; length++) {
        int32_t      want[150], got[150];
        size_t       count;
        const size_t want_count = encode_naively(t, text + length, length, want);
        assert_int_equal(cot_bpe_encode(t, text + length, length, got, &count), COT_OK);
        assert_int_equal(count, want_count);
        assert_memory_equal(got, want, count * sizeof *got);
    }
    cot_tokenizer_destroy(t);
}

/* A megabyte without a place to cut: quadratic work would take minutes. */
static void a_long_word_is_no_trouble(void **state)
{
    (void)state;
    enum { LENGTH = 1000000 };
    char *text = cot_malloc(LENGTH + 1);
    for (size_t i = 0; i < LENGTH; i++) text[i] = (char)('a' + i * i % 7 % 3);
    text[LENGTH] = '\0';
    cot_tokenizer         *t = train_on("abcabcab bca aab aba caacb baabca", 270);
    cot_tokenizer_encoder *encoder;
    assert_non_null(t);
    assert_int_equal(cot_tokenizer_encoder_create(t, &encoder), COT_OK);
    check_round_trip(encoder, t, text, LENGTH);
    cot_tokenizer_encoder_destroy(encoder);
    cot_tokenizer_destroy(t);
    cot_free(text);
}

/* ---- training by hand ---- */

static void ties_go_to_the_lower_pair(void **state)
{
    (void)state;
    /* "aaabdaaabac": aa occurs 4 times. Then A = aa: A a b d A a b a c; Aa and ab twice each, and a's id is below A's:
     * ab. Then B = ab: A B d A B a c; AB twice. Nothing else is there twice. */
    cot_tokenizer *t = train_on("aaabdaaabac", 1000);
    assert_non_null(t);
    const int32_t a = cot_tokenizer_find(t, "a", 1), b = cot_tokenizer_find(t, "b", 1);
    assert_int_equal(a, 1 + 'a' - '!');
    assert_int_equal(cot_tokenizer_vocab_size(t), 257 + 3);
    const cot_merge want[] = {{a, a, 257, 0}, {a, b, 258, 1}, {257, 258, 259, 2}};
    assert_int_equal(t->merge_count, 3);
    assert_memory_equal(t->merges, want, sizeof want);
    assert_int_equal(cot_tokenizer_find(t, "aaab", 4), 259);
    assert_int_equal(cot_tokenizer_find(t, "aaa", 3), -1);
    size_t length;
    assert_string_equal(cot_tokenizer_token(t, 259, &length), "aaab");
    assert_int_equal(length, 4);
    assert_null(cot_tokenizer_token(t, 260, &length));
    assert_null(cot_tokenizer_token(t, -1, &length));
    cot_tokenizer_destroy(t);
}

static void texts_are_counted_together_but_cut_apart(void **state)
{
    (void)state;
    const char *const           texts[] = {"xy", "", "xy z", "xyz", NULL};
    text_list                   list = {texts, 0};
    const cot_tokenizer_options options = {.vocab_size = 300, .min_frequency = 3};
    cot_tokenizer              *t;
    assert_int_equal(cot_tokenizer_train(&options, next_text, &list, &t), COT_OK);
    assert_int_equal(t->merge_count, 1);  /* xy is there 3 times, nothing else is */
    assert_int_equal(cot_tokenizer_find(t, "xy", 2), 257);
    cot_tokenizer_destroy(t);
}

/* ---- special tokens ---- */

static void special_tokens_are_kept_apart(void **state)
{
    (void)state;
    const char *const           texts[] = {"PAD PAD PAD", NULL}, *const special[] = {"<end>", "PAD", "<end>>"};
    text_list                   list = {texts, 0};
    const cot_tokenizer_options options = {.vocab_size = 300, .special_tokens = special, .special_count = 3};
    cot_tokenizer              *t;
    int32_t                    *ids;
    size_t                      count, length;
    char                       *text;
    assert_int_equal(cot_tokenizer_train(&options, next_text, &list, &t), COT_OK);
    assert_int_equal(cot_tokenizer_end_of_text(t), 0);
    assert_int_equal(cot_tokenizer_special(t, "<end>>"), 2);
    assert_int_equal(cot_tokenizer_special(t, "!"), -1);
    assert_true(cot_tokenizer_is_special(t, 1));
    assert_false(cot_tokenizer_is_special(t, 3));
    assert_int_equal(cot_tokenizer_find(t, "PAD", 3), -1);  /* was frequent, but spells a special token */

    assert_int_equal(cot_tokenizer_encode(t, "a<end>>PAD<end>", 15, true, &ids, &count), COT_OK);
    assert_int_equal(count, 4);
    assert_memory_equal(ids + 1, ((const int32_t[]){2, 1, 0}), 3 * sizeof *ids);  /* the longest wins */
    assert_int_equal(cot_tokenizer_decode(t, ids, count, true, &text, &length), COT_OK);
    assert_string_equal(text, "a");
    free(text);
    free(ids);

    assert_int_equal(cot_tokenizer_encode(t, "a<end>>PAD<end>", 15, false, &ids, &count), COT_OK);
    for (size_t i = 0; i < count; i++) assert_true(ids[i] >= 3);
    free(ids);
    cot_tokenizer_destroy(t);
}

static void no_special_tokens_at_all(void **state)
{
    (void)state;
    const cot_tokenizer_options options = {.vocab_size = 256, .special_tokens = (const char *[]){NULL}};
    cot_tokenizer              *t;
    int32_t                    *ids;
    size_t                      count;
    assert_int_equal(cot_tokenizer_train(&options, NULL, NULL, &t), COT_OK);
    assert_int_equal(cot_tokenizer_end_of_text(t), -1);
    assert_int_equal(cot_tokenizer_encode(t, "", 0, true, &ids, &count), COT_OK);
    assert_int_equal(count, 0);
    assert_non_null(ids);
    free(ids);
    assert_int_equal(cot_tokenizer_encode(t, "!~", 2, true, &ids, &count), COT_OK);
    assert_memory_equal(ids, ((const int32_t[]){0, '~' - '!'}), 2 * sizeof *ids);
    free(ids);
    cot_tokenizer_destroy(t);
}

/* ---- refusals ---- */

static cot_status fail_to_read(void *context, const char **text, size_t *length)
{
    (void)context, (void)text, (void)length;
    return cot_fail(COT_IO, "the disk is on fire");
}

static void refuse(cot_tokenizer_options options, cot_text_reader next, void *context, cot_status want,
                   const char *message)
{
    cot_tokenizer *t = (cot_tokenizer *)&options;
    assert_int_equal(cot_tokenizer_train(&options, next, context, &t), want);
    assert_null(t);
    assert_non_null(strstr(cot_last_error(), message));
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    enum { TOO_MANY = COT_VOCAB_SIZE_MAX + 1 };
    text_list                e = {(const char *[]){"", NULL}, 0};
    const char *const *const two = (const char *[]){"<a>", "<a>"}, *const *const latin = (const char *[]){"<\xe9>"};
    const char *const *const none = (const char *[]){""}, *const *const byte = (const char *[]){"!"};
    refuse((cot_tokenizer_options){.vocab_size = 256}, next_text, &e, COT_INVALID, "is 256, expected 257 (256 bytes");
    refuse((cot_tokenizer_options){.vocab_size = -1}, next_text, &e, COT_INVALID, "vocab_size is -1");
    refuse((cot_tokenizer_options){.vocab_size = TOO_MANY}, next_text, &e, COT_INVALID, "to 1048576");
    refuse((cot_tokenizer_options){300, -1, NULL, 0}, next_text, &e, COT_INVALID, "min_frequency is -1");
    refuse((cot_tokenizer_options){300, 0, two, 2}, next_text, &e, COT_INVALID, "'<a>' is there twice");
    refuse((cot_tokenizer_options){300, 0, byte, 1}, next_text, &e, COT_INVALID, "'!' is there twice or is a byte");
    refuse((cot_tokenizer_options){300, 0, latin, 1}, next_text, &e, COT_INVALID, "not valid UTF-8");
    refuse((cot_tokenizer_options){300, 0, none, 1}, next_text, &e, COT_INVALID, "is empty");
    refuse((cot_tokenizer_options){.vocab_size = 300}, next_text, &e, COT_INVALID, "the text is empty");
    refuse((cot_tokenizer_options){.vocab_size = 300}, NULL, NULL, COT_INVALID, "no text");
    refuse((cot_tokenizer_options){.vocab_size = 300}, fail_to_read, NULL, COT_IO, "the disk is on fire");

    cot_tokenizer *t = train_on("", 257);
    char          *text;
    size_t         length;
    assert_int_equal(cot_tokenizer_decode(t, (const int32_t[]){5, 257}, 2, false, &text, &length), COT_INVALID);
    assert_non_null(strstr(cot_last_error(), "token id 257 at place 1, expected 0 to 256"));
    assert_null(text);
    cot_tokenizer_destroy(t);
}

/* ---- memory and threads ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    json_t       *peer = read_peer();
    const char   *corpus = peer_corpus(peer);
    const int64_t blocks = cot_memory_blocks();
    cot_status    status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        cot_tokenizer *t;
        int32_t       *ids = NULL;
        size_t         count;
        cot_memory_fail_after(n);
        status = try_train(corpus, 700, &t);
        if (status == COT_OK) status = cot_tokenizer_encode(t, corpus, 3000, true, &ids, &count);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || (status == COT_OUT_OF_MEMORY && !ids && *cot_last_error()));
        cot_tokenizer_destroy(t);
        free(ids);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    json_decref(peer);
}

typedef struct {
    const cot_tokenizer *tokenizer;
    const char          *text;
    int32_t             *ids;
    size_t               count;
} encoding;

static void *encode_all(void *argument)
{
    encoding *e = argument;
    if (cot_tokenizer_encode(e->tokenizer, e->text, strlen(e->text), true, &e->ids, &e->count) != COT_OK) e->ids = NULL;
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    json_t        *peer = read_peer();
    cot_tokenizer *t = train_on(peer_corpus(peer), 700);
    pthread_t      threads[THREADS];
    encoding       results[THREADS];
    for (int i = 0; i < THREADS; i++) {
        results[i] = (encoding){.tokenizer = t, .text = peer_corpus(peer)};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_all, &results[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_non_null(results[i].ids);
        assert_int_equal(results[i].count, results[0].count);
        assert_memory_equal(results[i].ids, results[0].ids, results[0].count * sizeof *results[0].ids);
    }
    for (int i = 0; i < THREADS; i++) free(results[i].ids);
    cot_tokenizer_destroy(t);
    json_decref(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_gives_the_peers_tokenizer),
        cmocka_unit_test(ids_and_pretokens_are_the_peers),
        cmocka_unit_test(invalid_bytes_are_other_characters),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(merges_follow_the_definition),
        cmocka_unit_test(a_long_word_is_no_trouble),
        cmocka_unit_test(ties_go_to_the_lower_pair),
        cmocka_unit_test(texts_are_counted_together_but_cut_apart),
        cmocka_unit_test(special_tokens_are_kept_apart),
        cmocka_unit_test(no_special_tokens_at_all),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(threads_share_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
