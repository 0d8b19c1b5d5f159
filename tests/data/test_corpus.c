/* Tokenised corpora: sizes, tokens, and a cache that is used again, notices changes and survives damage. */
#define _GNU_SOURCE
#include "data/corpus_fixture.h"

#include <fcntl.h>

#include "base/memory.h"
#include "data/hash.h"
#include "data/token_cache.h"

/* ---- helpers ---- */

static cot_corpus *create(const cot_config *config, const cot_tokenizer *tokenizer)
{
    cot_corpus *corpus;
    CHECK_OK(cot_corpus_create(config, tokenizer, NULL, NULL, &corpus));
    return corpus;
}

/* Opens the corpus, says whether the cache served it, and that the training tokens are the bytes of `train`. */
static bool cached_with_text(const cot_config *config, const cot_tokenizer *tokenizer, const char *train)
{
    cot_corpus *corpus = create(config, tokenizer);
    const bool  cached = cot_corpus_was_cached(corpus);
    int32_t     ids[256];
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_TRAIN, -1).tokens, strlen(train));
    cot_corpus_tokens(corpus, COT_SPLIT_TRAIN, -1, ids, NULL);
    for (size_t i = 0; i < strlen(train); i++) assert_int_equal(ids[i], id_of(tokenizer, train[i]));
    cot_corpus_destroy(corpus);
    return cached;
}

static void set_time(scratch *s, const char *name, time_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    if (utimensat(AT_FDCWD, scratch_path(s, name), times, 0) != 0) abort();
}

static const time_t LONG_AGO = 1000000000;

/* ---- what a corpus says ---- */

static void sources_have_sizes_and_tokens(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    make_folder(&s, "c");
    put_text(&s, "c/drama.txt", "To be\nor not\nto be\n");
    const char *two_rows = "{\"text\": \"ab c\"}\n{\"text\": \"\\u00e9\"}\n";
    put_gz(&s, "c/rows.jsonl.gz", two_rows, strlen(two_rows));
    cot_config *config = data_config(&s, "c", "validation_fraction: 0.35");
    cot_corpus *corpus = create(config, tokenizer);
    assert_int_equal(cot_corpus_source_count(corpus), 2);
    assert_int_equal(cot_corpus_vocabulary(corpus), 257);
    assert_int_equal(cot_corpus_context(corpus), 128);
    const cot_source drama = cot_corpus_source(corpus, 0), rows = cot_corpus_source(corpus, 1);
    assert_string_equal(drama.name, "drama");
    assert_string_equal(rows.name, "rows");

    /* The last 6 of 19 bytes start at byte 13, after a line break. */
    const cot_text_size train = drama.size[COT_SPLIT_TRAIN], valid = drama.size[COT_SPLIT_VALID];
    assert_int_equal(train.documents, 1);
    assert_int_equal(train.tokens, 13);
    assert_int_equal(train.bytes, 13);
    assert_int_equal(train.words, 4 + 2);
    assert_int_equal(valid.documents, 1);
    assert_int_equal(valid.tokens, 6);
    assert_int_equal(valid.words, 2 + 1);
    assert_int_equal(rows.size[0].documents + rows.size[1].documents, 2);
    assert_int_equal(rows.size[0].bytes + rows.size[1].bytes, 4 + 2);
    assert_int_equal(rows.size[0].words + rows.size[1].words, 2 + 1);
    const cot_text_size all = cot_corpus_size(corpus, COT_SPLIT_TRAIN, -1);
    assert_int_equal(all.tokens, 13 + rows.size[0].tokens);

    int32_t ids[6];
    size_t  starts[1] = {99};
    cot_corpus_tokens(corpus, COT_SPLIT_VALID, 0, ids, starts);
    for (int i = 0; i < 6; i++) assert_int_equal(ids[i], id_of(tokenizer, "to be\n"[i]));
    assert_int_equal(starts[0], 0);
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

static void files_of_one_name_are_one_source(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    make_folder(&s, "train");
    make_folder(&s, "valid");
    put_text(&s, "train/a.txt", "train a");
    put_text(&s, "train/b.txt", "train b b");
    put_text(&s, "valid/b.txt", "valid b b b");
    put_text(&s, "valid/c.txt", "valid c");
    char more[512];
    snprintf(more, sizeof more, "valid_path: '%s/valid/'", s.folder);
    cot_config *config = data_config(&s, "train", more);
    cot_corpus *corpus = create(config, tokenizer);
    const struct {
        const char *name;
        uint64_t    train, valid;
    } want[] = {{"a", 7, 0}, {"b", 9, 11}, {"c", 0, 7}};
    assert_int_equal(cot_corpus_source_count(corpus), 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(cot_corpus_source(corpus, i).name, want[i].name);
        assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_TRAIN, i).tokens, want[i].train);
        assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_VALID, i).tokens, want[i].valid);
    }
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* More than 65 536 ids: they no longer fit 16 bits. */
static void large_vocabularies_keep_their_ids(void **state)
{
    (void)state;
    enum { SPECIAL = 70000 };
    char(*names)[16] = malloc(SPECIAL * sizeof *names);
    const char **list = malloc(SPECIAL * sizeof *list);
    for (int i = 0; i < SPECIAL; i++) {
        snprintf(names[i], sizeof names[i], "<%d>", i);
        list[i] = names[i];
    }
    const cot_tokenizer_options options = {
        .vocab_size = SPECIAL + 256, .special_tokens = list, .special_count = SPECIAL};
    cot_tokenizer *tokenizer;
    CHECK_OK(cot_tokenizer_train(&options, NULL, NULL, &tokenizer));
    assert_true(id_of(tokenizer, 'a') >= SPECIAL);
    scratch s = scratch_make();
    put_text(&s, "t.txt", "banana\n");
    cot_config *config = data_config(&s, "t.txt", "validation_fraction: 0");
    assert_false(cached_with_text(config, tokenizer, "banana\n"));
    assert_true(cached_with_text(config, tokenizer, "banana\n"));
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    free(names);
    free(list);
    scratch_remove(&s);
}

/* A text of more than a piece becomes the same tokens as in one go. */
static void pieces_make_no_difference(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    char           text[512];
    cot_config    *config;
    cot_texts     *texts;
    cot_tokenizer *tokenizer;
    snprintf(text, sizeof text, "{path: data/demo/drama.txt, validation_fraction: 0, cache_dir: '%s'}", s.folder);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    CHECK_OK(cot_texts_open(config, COT_SPLIT_TRAIN, &texts));
    const cot_tokenizer_options options = {.vocab_size = 400};
    CHECK_OK(cot_tokenizer_train(&options, cot_texts_read, texts, &tokenizer));
    cot_texts_close(texts);

    char    *whole = all_text(config, COT_SPLIT_TRAIN);
    int32_t *want;
    size_t   count;
    assert_true(strlen(whole) > (1 << 20) + 1);
    CHECK_OK(cot_tokenizer_encode(tokenizer, whole, strlen(whole) - 1, false, &want, &count));
    cot_corpus *corpus = create(config, tokenizer);
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_TRAIN, 0).tokens, count);
    int32_t *got = malloc(count * sizeof *got);
    cot_corpus_tokens(corpus, COT_SPLIT_TRAIN, 0, got, NULL);
    assert_memory_equal(got, want, count * sizeof *got);
    free(got);
    free(want);
    free(whole);
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* ---- the cache ---- */

static void cache_is_used_again_until_something_changes(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    make_folder(&s, "c");
    put_text(&s, "c/t.txt", "one text");
    set_time(&s, "c/t.txt", LONG_AGO);
    cot_config *config = data_config(&s, "c", "validation_fraction: 0");
    assert_false(cached_with_text(config, tokenizer, "one text"));
    assert_true(cached_with_text(config, tokenizer, "one text"));

    set_time(&s, "c/t.txt", LONG_AGO + 5);  /* another time stamp, the same content */
    assert_true(cached_with_text(config, tokenizer, "one text"));
    put_text(&s, "c/t.txt", "two text");    /* the same size, other content */
    set_time(&s, "c/t.txt", LONG_AGO + 9);
    assert_false(cached_with_text(config, tokenizer, "two text"));
    put_text(&s, "c/t.txt", "long text");   /* another size, the same time stamp */
    set_time(&s, "c/t.txt", LONG_AGO + 9);
    assert_false(cached_with_text(config, tokenizer, "long text"));
    put_text(&s, "c/a.txt", "a");           /* one more file */
    assert_false(cached_with_text(config, tokenizer, "along text"));
    assert_true(cached_with_text(config, tokenizer, "along text"));
    cot_config_destroy(config);

    config = data_config(&s, "c", "validation_fraction: 1");  /* another option: another cache */
    assert_false(cached_with_text(config, tokenizer, ""));
    cot_config_destroy(config);
    scratch cache = {.folder = ""};
    snprintf(cache.folder, sizeof cache.folder, "%.57s/cache", s.folder);
    assert_int_equal(scratch_count(&cache), 2);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* A change within the resolution of time stamps: the same size and stamp, so young that the content decides. */
static void cache_notices_a_change_right_after_it_was_made(void **state)
{
    (void)state;
    scratch         s = scratch_make();
    cot_tokenizer  *tokenizer = byte_tokenizer();
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    put_text(&s, "t.txt", "one text");
    set_time(&s, "t.txt", now.tv_sec);
    cot_config *config = data_config(&s, "t.txt", "validation_fraction: 0");
    assert_false(cached_with_text(config, tokenizer, "one text"));
    put_text(&s, "t.txt", "two text");
    set_time(&s, "t.txt", now.tv_sec);
    assert_false(cached_with_text(config, tokenizer, "two text"));
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

static char *cache_path(const cot_config *config, const cot_tokenizer *tokenizer)
{
    cot_corpus *corpus = create(config, tokenizer);
    char       *path = strdup(cot_corpus_cache_path(corpus));
    cot_corpus_destroy(corpus);
    return path;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *data = malloc(1 << 16);
    *bytes = fread(data, 1, 1 << 16, file);
    fclose(file);
    return data;
}

static void write_file(const char *path, const char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) abort();
}

static void damaged_cache_is_made_anew(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    put_text(&s, "t.txt", "some text\n");
    cot_config *config = data_config(&s, "t.txt", "validation_fraction: 0");
    char       *path = cache_path(config, tokenizer);
    size_t      bytes;
    char       *whole = read_file(path, &bytes);
    assert_in_range(bytes, sizeof(cot_cache_header) + 22, 1000);
    for (size_t i = 0; i < bytes; i++) {
        whole[i] ^= 0x10;
        write_file(path, whole, bytes);
        whole[i] ^= 0x10;
        assert_false(cached_with_text(config, tokenizer, "some text\n"));
    }
    for (size_t n = 0; n < bytes; n += 7) {
        write_file(path, whole, n);
        assert_false(cached_with_text(config, tokenizer, "some text\n"));
    }
    write_file(path, whole, bytes);
    assert_true(cached_with_text(config, tokenizer, "some text\n"));
    whole[bytes] = 0;
    write_file(path, whole, bytes + 1);
    assert_false(cached_with_text(config, tokenizer, "some text\n"));
    free(whole);
    free(path);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* Both hashes are right, what they protect is not. */
static void forged_cache_is_made_anew(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    put_text(&s, "t.txt", "some text\n");
    cot_config *config = data_config(&s, "t.txt", "validation_fraction: 0");
    char       *path = cache_path(config, tokenizer);
    size_t      bytes;
    char       *whole = read_file(path, &bytes);
    const size_t ids = sizeof(cot_cache_header), document = ids + 24;
    const struct {
        size_t   at;
        uint64_t value;
    } forgeries[] = {
        {ids, 0xffffffffffffffffu},                                        /* ids out of range */
        {document + offsetof(cot_document, start), 1},
        {document + offsetof(cot_document, tokens), 9},
        {document + offsetof(cot_document, tokens), 0xfffffffffffffff0u},
        {document + offsetof(cot_document, source), 1},
        {offsetof(cot_cache_header, id_count), (uint64_t)1 << 60},
        {offsetof(cot_cache_header, document_count), 2},
    };
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        char *forged = malloc(bytes);
        memcpy(forged, whole, bytes);
        memcpy(forged + forgeries[i].at, &forgeries[i].value, 8);
        cot_cache_header header;
        memcpy(&header, forged, sizeof header);
        header.body_hash = cot_hash_bytes(forged + sizeof header, bytes - sizeof header);
        header.header_hash = cot_cache_header_hash(&header);
        memcpy(forged, &header, sizeof header);
        write_file(path, forged, bytes);
        free(forged);
        assert_false(cached_with_text(config, tokenizer, "some text\n"));
        assert_true(cached_with_text(config, tokenizer, "some text\n"));
    }
    free(whole);
    free(path);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

static void cache_lies_where_the_user_keeps_caches(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    char           text[512], want[512];
    cot_config    *config;
    put_text(&s, "my corpus.txt", "text");
    snprintf(text, sizeof text, "path: '%s/my corpus.txt'", s.folder);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    snprintf(text, sizeof text, "%s/xdg", s.folder);
    setenv("XDG_CACHE_HOME", text, 1);
    char *path = cache_path(config, tokenizer);
    snprintf(want, sizeof want, "%s/xdg/coterie/my_corpus.txt-", s.folder);
    assert_memory_equal(path, want, strlen(want));
    free(path);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", s.folder, 1);
    path = cache_path(config, tokenizer);
    snprintf(want, sizeof want, "%s/.cache/coterie/my_corpus.txt-", s.folder);
    assert_memory_equal(path, want, strlen(want));
    free(path);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* ---- failures ---- */

static bool stop(void *context, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    return --*(int *)context > 0;
}

static void failures_leave_no_cache(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    cot_corpus    *corpus;
    scratch        cache = {.folder = ""};
    snprintf(cache.folder, sizeof cache.folder, "%.57s/cache", s.folder);

    put_text(&s, "bad.txt", "line\nbad \xff\n");
    cot_config *config = data_config(&s, "bad.txt", "");
    CHECK_FAILS(cot_corpus_create(config, tokenizer, NULL, NULL, &corpus), COT_FORMAT,
                "bad.txt: invalid UTF-8 at byte 9");
    assert_null(corpus);
    assert_int_equal(access(cache.folder, F_OK), -1);  /* nor the folder for it */
    cot_config_destroy(config);

    put_text(&s, "empty.txt", "");
    config = data_config(&s, "empty.txt", "");
    CHECK_FAILS(cot_corpus_create(config, tokenizer, NULL, NULL, &corpus), COT_INVALID,
                "empty.txt: the corpus is empty");
    assert_int_equal(access(cache.folder, F_OK), -1);
    CHECK_FAILS(cot_corpus_create(config, NULL, NULL, NULL, &corpus), COT_INVALID, "needs a tokenizer");
    cot_config_destroy(config);

    char *text = malloc(4 << 20);
    for (size_t i = 0; i < 4 << 20; i++) text[i] = i % 80 ? 'a' : '\n';
    scratch_put(&s, "long.txt", text, 4 << 20);
    free(text);
    config = data_config(&s, "long.txt", "");
    int calls = 3;
    CHECK_FAILS(cot_corpus_create(config, tokenizer, stop, &calls, &corpus), COT_STOPPED, "stopped");
    assert_int_equal(calls, 0);
    assert_int_equal(access(cache.folder, F_OK), -1);
    calls = 1000;
    CHECK_OK(cot_corpus_create(config, tokenizer, stop, &calls, &corpus));
    assert_in_range(1000 - calls, 3, 5);
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);

    char more[256];
    snprintf(more, sizeof more, "{path: '%s/long.txt', cache_dir: '%s/long.txt/below'}", s.folder, s.folder);
    CHECK_OK(cot_config_parse(more, "data.yaml", &config));
    CHECK_FAILS(cot_corpus_create(config, tokenizer, NULL, NULL, &corpus), COT_IO, "data.cache_dir names another");
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* Let the n-th allocation fail, for every n: one clean failure, nothing leaked, nothing left on disk. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    scratch        cache = {.folder = ""};
    snprintf(cache.folder, sizeof cache.folder, "%.57s/cache", s.folder);
    make_folder(&s, "c");
    put_text(&s, "c/a.txt", "some text\nof \xff lines\n");
    put_zst(&s, "c/b.jsonl.zst", "{\"text\": \"a \xff row\"}\n", 21);
    cot_config   *config = data_config(&s, "c", "validation_fraction: 0.5\ninvalid: replace");
    const int64_t before = cot_memory_blocks();
    cot_status    status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        cot_corpus *corpus;
        assert_in_range(n, 1, 500);
        cot_memory_fail_after(n);
        status = cot_corpus_create(config, tokenizer, NULL, NULL, &corpus);
        cot_memory_fail_after(0);
        if (status != COT_OK) {
            assert_int_equal(status, COT_OUT_OF_MEMORY);
            assert_null(corpus);
        }
        cot_corpus_destroy(corpus);
        assert_int_equal(cot_memory_blocks(), before);
        if (access(cache.folder, F_OK) == 0) assert_in_range(scratch_count(&cache), 0, 1);  /* no temporary file */
    }
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* ---- real text, where it is at hand ---- */

/* The published token counts of WikiText-2, one end of line a line: 2 088 628 and 217 646. */
static void wikitext_has_its_published_words(void **state)
{
    (void)state;
    const char *shared = getenv("COTERIE_SHARED");
    if (!shared) skip();
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    char           folder[256], text[1024];
    cot_config    *config;
    snprintf(folder, sizeof folder, "%.200s/data/text/wikitext-2", shared);
    snprintf(text, sizeof text, "{path: '%s/train.txt.gz', valid_path: '%s/valid.txt.gz', cache_dir: '%s'}", folder,
             folder, s.folder);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    cot_corpus *corpus = create(config, tokenizer);
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_TRAIN, -1).words, 2088628);
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_VALID, -1).words, 217646);
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_TRAIN, -1).bytes, 10797148);
    assert_int_equal(cot_corpus_size(corpus, COT_SPLIT_VALID, -1).bytes, 1121681);
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

/* The corpus that ships with the project: at least three sources of comparable size, all valid UTF-8. */
static void demo_corpus_is_whole(void **state)
{
    (void)state;
    scratch        s = scratch_make();
    cot_tokenizer *tokenizer = byte_tokenizer();
    char           text[1024];
    cot_config    *config;
    snprintf(text, sizeof text, "{path: data/demo, cache_dir: '%s'}", s.folder);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    cot_corpus *corpus = create(config, tokenizer);
    uint64_t    total = 0;
    assert_in_range(cot_corpus_source_count(corpus), 3, 6);
    for (int32_t i = 0; i < cot_corpus_source_count(corpus); i++) {
        const uint64_t train = cot_corpus_size(corpus, COT_SPLIT_TRAIN, i).bytes;
        const uint64_t valid = cot_corpus_size(corpus, COT_SPLIT_VALID, i).bytes;
        assert_in_range(train + valid, 1000000, 1500000);
        assert_in_range(valid, (train + valid) / 20 - 2000, (train + valid) / 20);
        total += train + valid;
    }
    assert_in_range(total, 3000000, 6000000);
    cot_corpus_destroy(corpus);
    cot_config_destroy(config);
    cot_tokenizer_destroy(tokenizer);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sources_have_sizes_and_tokens),
        cmocka_unit_test(files_of_one_name_are_one_source),
        cmocka_unit_test(large_vocabularies_keep_their_ids),
        cmocka_unit_test(pieces_make_no_difference),
        cmocka_unit_test(cache_is_used_again_until_something_changes),
        cmocka_unit_test(cache_notices_a_change_right_after_it_was_made),
        cmocka_unit_test(damaged_cache_is_made_anew),
        cmocka_unit_test(forged_cache_is_made_anew),
        cmocka_unit_test(cache_lies_where_the_user_keeps_caches),
        cmocka_unit_test(failures_leave_no_cache),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(wikitext_has_its_published_words),
        cmocka_unit_test(demo_corpus_is_whole),
    };
    return cmocka_run_group_tests_name("corpus", tests, NULL, NULL);
}
