/* Evaluation windows: every token but the first of a document is scored once, with the context that a stride leaves. */
#define _GNU_SOURCE
#include "data/corpus_fixture.h"

typedef struct {
    scratch        s;
    cot_tokenizer *tokenizer;
    cot_corpus    *corpus;
} sample;

static void open_sample(sample *x)
{
    cot_config *config = data_config(&x->s, "c", "validation_fraction: 1");
    x->tokenizer = byte_tokenizer();
    CHECK_OK(cot_corpus_create(config, x->tokenizer, NULL, NULL, &x->corpus));
    cot_config_destroy(config);
}

static void close_sample(sample *x)
{
    cot_corpus_destroy(x->corpus);
    cot_tokenizer_destroy(x->tokenizer);
    scratch_remove(&x->s);
}

/* ---- hand-worked ---- */

/* Source 0: "abcdefg"; source 1: "x", "yz". Window 4, stride 2, two rows. */
static void windows_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *ids, *targets;  /* '.' = padding, '-' = not scored */
        int         back[8];
        const char *source;
    } want[] = {
        {"abcdcdef", "bcde--fg", {0, 1, 2, 3, 0, 1, 2, 3}, "00000000"},
        {"y.......", "z-------", {0, 0, 0, 0, 0, 0, 0, 0}, "1......."},
    };
    sample x = {.s = scratch_make()};
    make_folder(&x.s, "c");
    put_text(&x.s, "c/a.txt", "abcdefg");
    put_text(&x.s, "c/b.jsonl", "{\"text\": \"x\"}\n{\"text\": \"yz\"}\n");
    open_sample(&x);
    const cot_window_options options = {.split = COT_SPLIT_VALID, .window = 4, .stride = 2, .rows = 2};
    cot_windows             *windows;
    cot_batch                batch;
    CHECK_OK(cot_windows_create(x.corpus, &options, &windows));
    assert_int_equal(cot_windows_scored(windows), 7);
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < 2; n++) {
            CHECK_OK(cot_windows_next(windows, &batch));
            assert_int_equal(batch.used_rows, n == 0 ? 2 : 1);
            assert_int_equal(batch.scored, n == 0 ? 6 : 1);
            for (int i = 0; i < 8; i++) {
                const char id = want[n].ids[i], target = want[n].targets[i], source = want[n].source[i];
                assert_int_equal(batch.ids[i], id == '.' ? 0 : id_of(x.tokenizer, id));
                assert_int_equal(batch.targets[i], target == '-' ? -1 : id_of(x.tokenizer, target));
                assert_int_equal(i - batch.first[i], want[n].back[i]);
                assert_int_equal(batch.source[i], source == '.' ? -1 : source - '0');
            }
        }
        CHECK_OK(cot_windows_next(windows, &batch));
        assert_int_equal(batch.used_rows, 0);
        assert_int_equal(batch.scored, 0);
        cot_windows_rewind(windows);
    }
    cot_windows_destroy(windows);
    close_sample(&x);
}

/* Documents of 1 to 4 letters share rows of 6; a window that does not fit opens the next row. */
static void short_documents_share_rows(void **state)
{
    (void)state;
    sample x = {.s = scratch_make()};
    make_folder(&x.s, "c");
    put_text(&x.s, "c/b.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n{\"text\": \"defg\"}\n{\"text\": \"hijk\"}\n");
    open_sample(&x);
    const cot_window_options options = {.split = COT_SPLIT_VALID, .window = 6, .stride = 6, .rows = 4};
    cot_windows             *windows;
    cot_batch                batch;
    CHECK_OK(cot_windows_create(x.corpus, &options, &windows));
    CHECK_OK(cot_windows_next(windows, &batch));
    static const char ids[] = "adef..hij...", targets[] = "befg--ijk---";
    static const int  first[] = {0, 1, 1, 1, 4, 5, 6, 6, 6, 9, 10, 11};
    assert_int_equal(batch.used_rows, 2);
    assert_int_equal(batch.scored, 7);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(batch.ids[i], ids[i] == '.' ? 0 : id_of(x.tokenizer, ids[i]));
        assert_int_equal(batch.targets[i], targets[i] == '-' ? -1 : id_of(x.tokenizer, targets[i]));
        assert_int_equal(batch.first[i], first[i]);
    }
    for (int i = 12; i < 24; i++) assert_true(batch.targets[i] == -1 && batch.source[i] == -1 && batch.first[i] == i);
    cot_windows_destroy(windows);
    close_sample(&x);
}

/* ---- properties ---- */

enum { MAX_TOKENS = 600 };

typedef struct {
    int64_t documents;
    int64_t length[16];
    int32_t token[16][MAX_TOKENS];
    int     scored[16][MAX_TOKENS];
} truth;

/* Documents of many lengths. All tokens of document d are made of letters that no other has, so that a token tells
 * where it is from; neighbours tell the place. */
static void open_many(sample *x, truth *t)
{
    static const int lengths[] = {1, 2, 3, 8, 9, 10, 17, 40, 0, 16};
    x->s = scratch_make();
    make_folder(&x->s, "c");
    for (int d = 0; d < 10; d++) {
        char name[32], text[64] = "";
        for (int i = 0; i < lengths[d]; i++) text[i] = (char)(33 + (d * 40 + i) % 90);
        snprintf(name, sizeof name, "c/%c.txt", 'a' + d);
        put_text(&x->s, name, text);
    }
    open_sample(x);
    *t = (truth){.documents = 10};
    for (int32_t d = 0; d < 10; d++) {
        t->length[d] = (int64_t)cot_corpus_size(x->corpus, COT_SPLIT_VALID, d).tokens;
        assert_int_equal(t->length[d], lengths[d]);
        cot_corpus_tokens(x->corpus, COT_SPLIT_VALID, d, t->token[d], NULL);
    }
}

/* Finds the place of a run of ids in its document: ids in a document of at most 40 differ from each other. */
static int64_t place_of(const truth *t, int32_t document, int32_t id)
{
    for (int64_t i = 0; i < t->length[document]; i++)
        if (t->token[document][i] == id) return i;
    fail_msg("id %d is not in document %d", id, document);
    return -1;
}

static void check_entry(truth *t, const cot_batch *batch, int32_t i, int64_t window, int64_t stride)
{
    const int32_t document = batch->source[i], first = batch->first[i];
    if (document < 0) {
        assert_int_equal(batch->targets[i], -1);
        return;
    }
    const int64_t at = place_of(t, document, batch->ids[i]), shown = i - first + 1;
    assert_in_range(shown, 1, window);
    assert_true(first / batch->context == i / batch->context);
    assert_true(shown <= at + 1);
    for (int64_t back = 0; back < shown; back++) {
        assert_int_equal(batch->ids[i - back], t->token[document][at - back]);
        assert_int_equal(batch->source[i - back], document);
    }
    if (batch->targets[i] < 0) return;
    assert_int_equal(batch->targets[i], t->token[document][at + 1]);
    assert_true(shown == at + 1 || shown >= window - stride + 1);  /* all there is, or what the stride leaves */
    t->scored[document][at + 1]++;
}

static void every_token_but_the_first_is_scored_once(void **state)
{
    (void)state;
    sample        x;
    static truth  t;
    open_many(&x, &t);
    const int64_t windows_and_strides[][2] = {{1, 1}, {2, 1}, {4, 4},   {5, 3}, {8, 2},
                                              {8, 8}, {9, 7}, {64, 64}, {64, 1}};
    for (size_t c = 0; c < sizeof windows_and_strides / sizeof *windows_and_strides; c++)
        for (int64_t rows = 1; rows <= 7; rows += 3) {
            const int64_t window = windows_and_strides[c][0], stride = windows_and_strides[c][1];
            const cot_window_options options = {
                .split = COT_SPLIT_VALID, .window = window, .stride = stride, .rows = rows};
            cot_windows *windows;
            cot_batch    batch;
            int64_t      scored = 0;
            memset(t.scored, 0, sizeof t.scored);
            CHECK_OK(cot_windows_create(x.corpus, &options, &windows));
            do {
                CHECK_OK(cot_windows_next(windows, &batch));
                for (int32_t i = 0; i < batch.rows * batch.context; i++) check_entry(&t, &batch, i, window, stride);
                scored += batch.scored;
            } while (batch.used_rows == batch.rows);
            for (int64_t d = 0; d < t.documents; d++)
                for (int64_t i = 0; i < t.length[d]; i++) assert_int_equal(t.scored[d][i], i > 0);
            assert_int_equal(scored, cot_windows_scored(windows));
            cot_windows_destroy(windows);
        }
    close_sample(&x);
}

static void a_limit_holds_for_each_source(void **state)
{
    (void)state;
    sample       x;
    static truth t;
    open_many(&x, &t);
    const cot_window_options options = {
        .split = COT_SPLIT_VALID, .window = 4, .stride = 4, .rows = 2, .max_tokens = 10};
    cot_windows             *windows;
    cot_batch                batch;
    int64_t                  scored[10] = {0};
    CHECK_OK(cot_windows_create(x.corpus, &options, &windows));
    assert_int_equal(cot_windows_scored(windows), 0 + 1 + 2 + 7 + 8 + 9 + 12 + 12 + 0 + 12);
    do {
        CHECK_OK(cot_windows_next(windows, &batch));
        for (int i = 0; i < 8; i++)
            if (batch.targets[i] >= 0) scored[batch.source[i]]++;
    } while (batch.used_rows > 0);
    const int64_t want[10] = {0, 1, 2, 7, 8, 9, 12, 12, 0, 12};
    for (int d = 0; d < 10; d++) assert_int_equal(scored[d], want[d]);
    cot_windows_destroy(windows);
    close_sample(&x);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    sample x = {.s = scratch_make()};
    make_folder(&x.s, "c");
    put_text(&x.s, "c/a.txt", "a");
    open_sample(&x);
    const struct {
        cot_window_options options;
        const char        *message;
    } cases[] = {
        {{COT_SPLIT_VALID, 4, 0, 1, 0}, "a stride of 0 tokens, expected 1 to the window, 4"},
        {{COT_SPLIT_VALID, 4, 5, 1, 0}, "a stride of 5 tokens"},
        {{COT_SPLIT_VALID, 0, 0, 1, 0}, "a batch of 1 rows of 0 tokens"},
        {{COT_SPLIT_VALID, 4, 4, 0, 0}, "a batch of 0 rows of 4 tokens"},
        {{COT_SPLIT_VALID, 4, 4, 1, -1}, "at most -1 tokens of each source"},
        {{COT_SPLITS, 4, 4, 1, 0}, "split 2"},
        {{COT_SPLIT_VALID, 4, 4, 1, 0}, "nothing to evaluate on: no validation document has two tokens"},
        {{COT_SPLIT_TRAIN, 4, 4, 1, 0}, "no training document has two tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_windows *windows;
        CHECK_FAILS(cot_windows_create(x.corpus, &cases[i].options, &windows), COT_INVALID, cases[i].message);
        assert_null(windows);
    }
    close_sample(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_by_hand),
        cmocka_unit_test(short_documents_share_rows),
        cmocka_unit_test(every_token_but_the_first_is_scored_once),
        cmocka_unit_test(a_limit_holds_for_each_source),
        cmocka_unit_test(bad_options_are_named),
    };
    return cmocka_run_group_tests_name("windows", tests, NULL, NULL);
}
