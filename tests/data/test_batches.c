/* Training batches: packing and masks by hand-worked cases, epochs, exact positions, accumulation, random ids. */
#define _GNU_SOURCE
#include "data/corpus_fixture.h"

/* Three documents, "abc", "de" and "f": the ring is a b c E d e E f E, E the end of text. */
static const char *const LETTERS = "abc" "\0" "de" "\0" "f" "\0";
static const int         DOCUMENT[] = {0, 0, 0, 0, 1, 1, 1, 2, 2};
enum { RING = 9 };

typedef struct {
    scratch        s;
    cot_tokenizer *tokenizer;
    cot_corpus    *corpus;
    int32_t        ring[RING];
} sample;

static void open_sample(sample *x, const char *more)
{
    x->s = scratch_make();
    x->tokenizer = byte_tokenizer();
    put_text(&x->s, "r.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n{\"text\": \"f\"}\n");
    char text[256];
    snprintf(text, sizeof text, "validation_fraction: 0\n%s", more);
    cot_config *config = data_config(&x->s, "r.jsonl", text);
    CHECK_OK(cot_corpus_create(config, x->tokenizer, NULL, NULL, &x->corpus));
    cot_config_destroy(config);
    for (int i = 0; i < RING; i++) x->ring[i] = LETTERS[i] ? id_of(x->tokenizer, LETTERS[i]) : 0;
}

static void close_sample(sample *x)
{
    cot_corpus_destroy(x->corpus);
    cot_tokenizer_destroy(x->tokenizer);
    scratch_remove(&x->s);
}

/* Where in the ring row r of a batch starts: rows of three and more differ from each other. */
static int row_start(const sample *x, const cot_batch *batch, int r)
{
    const int32_t *ids = batch->ids + r * batch->context;
    for (int start = 0; start < RING; start++) {
        bool same = true;
        for (int i = 0; i < batch->context; i++) same = same && ids[i] == x->ring[(start + i) % RING];
        if (same) return start;
    }
    fail_msg("row %d is no part of the ring", r);
    return -1;
}

/* ---- hand-worked ---- */

/* Rows of four, by their start in the ring: targets as letters ('E' = end of text, '-' = not scored), and how far back
 * each token may look. */
typedef struct {
    const char *targets;
    int         back[4];
} row_case;

static const row_case with_restart[RING] = {
    {"bcE-", {0, 1, 2, 3}},  /* a b c E */
    {"cE-e", {0, 1, 2, 0}},  /* b c E d */
    {"E-eE", {0, 1, 0, 1}},  /* c E d e */
    {"-eE-", {0, 0, 1, 2}},  /* E d e E */
    {"eE-E", {0, 1, 2, 0}},  /* d e E f */
    {"E-E-", {0, 1, 0, 1}},  /* e E f E */
    {"-E-b", {0, 0, 1, 0}},  /* E f E a */
    {"E-bc", {0, 1, 0, 1}},  /* f E a b */
    {"-bcE", {0, 0, 1, 2}},  /* E a b c */
};

static const row_case without_restart[RING] = {
    {"bcEd", {0, 1, 2, 3}}, {"cEde", {0, 1, 2, 3}}, {"EdeE", {0, 1, 2, 3}},
    {"deEf", {0, 1, 2, 3}}, {"eEfE", {0, 1, 2, 3}}, {"EfEa", {0, 1, 2, 3}},
    {"fEab", {0, 1, 2, 3}}, {"Eabc", {0, 1, 2, 3}}, {"abcE", {0, 1, 2, 3}},
};

static void check_row(const sample *x, const cot_batch *batch, int r, const row_case *want)
{
    const int start = row_start(x, batch, r);
    for (int i = 0; i < 4; i++) {
        const int  at = 4 * r + i;
        const char letter = want[start].targets[i];
        const int  target = letter == '-' ? -1 : letter == 'E' ? 0 : id_of(x->tokenizer, letter);
        assert_int_equal(batch->targets[at], target);
        assert_int_equal(at - batch->first[at], want[start].back[i]);
        assert_int_equal(batch->source[at], 0);
    }
}

static void check_all_rows(const char *more, const row_case *want)
{
    sample       x;
    cot_batches *batches;
    cot_batch    batch;
    open_sample(&x, more);
    bool seen[RING] = {false};
    for (uint64_t seed = 0; seed < 20; seed++) {
        CHECK_OK(cot_batches_create(x.corpus, seed, 3, &batches));
        for (int n = 0; n < 4; n++) {
            CHECK_OK(cot_batches_next(batches, &batch));
            assert_int_equal(batch.rows, 3);
            assert_int_equal(batch.used_rows, 3);
            assert_int_equal(batch.context, 4);
            int64_t scored = 0;
            for (int i = 0; i < 12; i++) scored += batch.targets[i] >= 0;
            assert_int_equal(batch.scored, scored);
            for (int r = 0; r < 3; r++) {
                check_row(&x, &batch, r, want);
                seen[row_start(&x, &batch, r)] = true;
            }
        }
        cot_batches_destroy(batches);
    }
    for (int start = 0; start < RING; start++) assert_true(seen[start]);
    close_sample(&x);
}

static void documents_are_kept_apart(void **state)
{
    (void)state;
    check_all_rows("context: 4", with_restart);
}

static void documents_may_be_joined(void **state)
{
    (void)state;
    check_all_rows("context: 4\ndocument_restart: false", without_restart);
}

/* The longest context that the ring allows: 8 and one more. */
static void corpus_must_hold_a_context(void **state)
{
    (void)state;
    sample       x;
    cot_batches *batches;
    cot_batch    batch;
    open_sample(&x, "context: 8");
    CHECK_OK(cot_batches_create(x.corpus, 1, 1, &batches));
    assert_int_equal(cot_batches_epoch_rows(batches), 1);
    CHECK_OK(cot_batches_next(batches, &batch));
    const int start = row_start(&x, &batch, 0);
    for (int i = 0; i < 8; i++) {
        const int  at = (start + i) % RING;
        const bool crosses = DOCUMENT[at] != DOCUMENT[(at + 1) % RING];
        assert_int_equal(batch.targets[i], crosses ? -1 : x.ring[(at + 1) % RING]);
    }
    cot_batches_destroy(batches);
    close_sample(&x);

    open_sample(&x, "context: 9");
    CHECK_FAILS(cot_batches_create(x.corpus, 1, 1, &batches), COT_INVALID,
                "too short: 9 tokens to train on, expected at least 10");
    assert_null(batches);
    CHECK_FAILS(cot_batches_create(x.corpus, 1, 0, &batches), COT_INVALID, "a batch of 0 rows");
    CHECK_FAILS(cot_batches_create(x.corpus, 1, 1 << 30, &batches), COT_INVALID, "expected 1 to 2^31 - 1 tokens");
    close_sample(&x);
}

/* ---- a longer corpus: 12 documents over two files ---- */

static void open_long(sample *x)
{
    char text[4096] = "";
    x->s = scratch_make();
    x->tokenizer = byte_tokenizer();
    make_folder(&x->s, "c");
    for (int i = 0; i < 2000; i++) text[i] = (char)('!' + i * i % 90);
    put_text(&x->s, "c/a.txt", text);
    FILE *rows = fopen(scratch_path(&x->s, "c/b.jsonl"), "w");
    for (int i = 0; i < 11; i++) {
        fprintf(rows, "{\"text\": \"");
        for (int j = 0; j < 10 + 9 * i; j++) fputc('a' + (i + j) % 26, rows);
        fprintf(rows, "\"}\n");
    }
    fclose(rows);
    cot_config *config = data_config(&x->s, "c", "context: 16\nvalidation_fraction: 0");
    CHECK_OK(cot_corpus_create(config, x->tokenizer, NULL, NULL, &x->corpus));
    cot_config_destroy(config);
}

static cot_batches *batches_of(const sample *x, uint64_t seed, int64_t rows)
{
    cot_batches *batches;
    CHECK_OK(cot_batches_create(x->corpus, seed, rows, &batches));
    return batches;
}

/* Ids, targets and sources of the next `rows` rows, and how far back each token may look. */
static int32_t *take(cot_batches *batches, int64_t rows)
{
    int32_t *all = malloc((size_t)rows * 4 * 16 * sizeof *all), *next = all;
    for (int64_t r = 0; r < rows;) {
        cot_batch batch;
        CHECK_OK(cot_batches_next(batches, &batch));
        for (int32_t i = 0; i < batch.rows * 16; i++) {
            *next++ = batch.ids[i];
            *next++ = batch.targets[i];
            *next++ = batch.source[i];
            *next++ = i - batch.first[i];
        }
        r += batch.rows;
    }
    return all;
}

static void check_same(int32_t *a, int32_t *b, int64_t rows, bool want)
{
    const bool same = memcmp(a, b, (size_t)rows * 4 * 16 * sizeof *a) == 0;
    assert_int_equal(same, want);
    free(a);
    free(b);
}

/* Rows of an epoch do not overlap: of N ids all but N % 16 are met once. */
static void epoch_meets_every_token_once(void **state)
{
    (void)state;
    sample x;
    open_long(&x);
    const cot_text_size size = cot_corpus_size(x.corpus, COT_SPLIT_TRAIN, -1);
    const uint64_t      ids = size.tokens + size.documents;
    assert_int_equal(size.documents, 12);
    cot_batches *batches = batches_of(&x, 3, 1);
    assert_int_equal(cot_batches_epoch_rows(batches), ids / 16);
    for (int epoch = 0; epoch < 3; epoch++) {
        int64_t count[2][257] = {{0}}, want[2][257] = {{0}}, missing = 0;
        for (uint64_t r = 0; r < ids / 16; r++) {
            cot_batch batch;
            assert_int_equal(cot_batches_position(batches).epoch, epoch);
            assert_int_equal(cot_batches_position(batches).row, r);
            CHECK_OK(cot_batches_next(batches, &batch));
            for (int i = 0; i < 16; i++) count[batch.source[i]][batch.ids[i]]++;
        }
        for (int32_t source = 0; source < 2; source++) {
            const cot_text_size part = cot_corpus_size(x.corpus, COT_SPLIT_TRAIN, source);
            int32_t            *tokens = malloc(part.tokens * sizeof *tokens);
            cot_corpus_tokens(x.corpus, COT_SPLIT_TRAIN, source, tokens, NULL);
            for (uint64_t i = 0; i < part.tokens; i++) want[source][tokens[i]]++;
            want[source][0] = (int64_t)part.documents;
            free(tokens);
            for (int id = 0; id < 257; id++) {
                assert_true(count[source][id] <= want[source][id]);
                missing += want[source][id] - count[source][id];
            }
        }
        assert_int_equal(missing, ids % 16);
    }
    cot_batches_destroy(batches);
    close_sample(&x);
}

static void batches_depend_on_the_seed_and_the_epoch(void **state)
{
    (void)state;
    sample x;
    open_long(&x);
    cot_batches *a = batches_of(&x, 5, 4), *b = batches_of(&x, 5, 4), *c = batches_of(&x, 6, 4);
    const int64_t rows = 4 * (int64_t)cot_batches_epoch_rows(a);
    check_same(take(a, rows), take(b, rows), rows, true);
    cot_batches_seek(a, (cot_data_position){0, 0});
    check_same(take(a, 16), take(c, 16), 16, false);
    cot_batches_seek(a, (cot_data_position){0, 0});
    cot_batches_seek(b, (cot_data_position){1, 0});
    check_same(take(a, 16), take(b, 16), 16, false);
    cot_batches_destroy(a);
    cot_batches_destroy(b);
    cot_batches_destroy(c);
    close_sample(&x);
}

static void resumed_run_sees_what_an_uninterrupted_one_sees(void **state)
{
    (void)state;
    sample x;
    open_long(&x);
    const int64_t rows = 3 * 250;  /* several epochs */
    for (int64_t stop = 0; stop < rows; stop += 93) {
        cot_batches *whole = batches_of(&x, 9, 3), *first = batches_of(&x, 9, 3);
        free(take(whole, stop));
        free(take(first, stop));
        const cot_data_position position = cot_batches_position(first);
        cot_batches_destroy(first);
        cot_batches *second = batches_of(&x, 9, 3);
        CHECK_OK(cot_batches_seek(second, position));
        check_same(take(whole, rows), take(second, rows), rows, true);
        cot_batches_destroy(whole);
        cot_batches_destroy(second);
    }
    cot_batches *batches = batches_of(&x, 9, 3);
    const cot_data_position beyond = {0, cot_batches_epoch_rows(batches)};
    CHECK_FAILS(cot_batches_seek(batches, beyond), COT_INVALID, "rows an epoch");
    cot_batches_destroy(batches);
    close_sample(&x);
}

static void accumulated_batches_are_one_large_batch(void **state)
{
    (void)state;
    sample x;
    open_long(&x);
    const int64_t parts[] = {1, 2, 3, 4, 6, 12}, rows = 20 * 12;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        cot_batches *large = batches_of(&x, 2, 12), *small = batches_of(&x, 2, parts[i]);
        check_same(take(large, rows), take(small, rows), rows, true);
        cot_batches_destroy(large);
        cot_batches_destroy(small);
    }
    close_sample(&x);
}

/* ---- random ids ---- */

static void random_ids_are_even_and_repeatable(void **state)
{
    (void)state;
    sample      x = {.corpus = NULL};
    cot_config *config;
    CHECK_OK(cot_config_parse("{kind: random, vocab_size: 10, context: 16}", "data.yaml", &config));
    CHECK_OK(cot_corpus_create(config, NULL, NULL, NULL, &x.corpus));
    assert_int_equal(cot_corpus_vocabulary(x.corpus), 10);
    assert_string_equal(cot_corpus_source(x.corpus, 0).name, "random");
    cot_batches *a = batches_of(&x, 1, 4), *b = batches_of(&x, 1, 2);
    check_same(take(a, 64), take(b, 64), 64, true);
    int       count[10] = {0};
    cot_batch batch;
    for (int n = 0; n < 250; n++) {
        CHECK_OK(cot_batches_next(a, &batch));
        assert_int_equal(batch.scored, 64);
        for (int i = 0; i < 64; i++) {
            assert_in_range(batch.ids[i], 0, 9);
            if (i % 16 < 15) assert_int_equal(batch.targets[i], batch.ids[i + 1]);
            assert_int_equal(batch.first[i], i / 16 * 16);
            count[batch.ids[i]]++;
        }
    }
    for (int id = 0; id < 10; id++) assert_in_range(count[id], 1600 - 190, 1600 + 190);  /* five deviations of 38 */
    cot_windows             *windows;
    const cot_window_options options = {.split = COT_SPLIT_VALID, .window = 16, .stride = 16, .rows = 1};
    CHECK_FAILS(cot_windows_create(x.corpus, &options, &windows), COT_INVALID, "nothing to evaluate on");
    cot_batches_destroy(a);
    cot_batches_destroy(b);
    cot_config_destroy(config);
    cot_corpus_destroy(x.corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_kept_apart),
        cmocka_unit_test(documents_may_be_joined),
        cmocka_unit_test(corpus_must_hold_a_context),
        cmocka_unit_test(epoch_meets_every_token_once),
        cmocka_unit_test(batches_depend_on_the_seed_and_the_epoch),
        cmocka_unit_test(resumed_run_sees_what_an_uninterrupted_one_sees),
        cmocka_unit_test(accumulated_batches_are_one_large_batch),
        cmocka_unit_test(random_ids_are_even_and_repeatable),
    };
    return cmocka_run_group_tests_name("batches", tests, NULL, NULL);
}
