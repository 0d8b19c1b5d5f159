/* The text of a corpus: splits, sources, rows, packed files, and what is refused. */
#define _GNU_SOURCE
#include "data/corpus_fixture.h"

/* ---- splits ---- */

static void last_part_of_a_text_from_a_line_break_on(void **state)
{
    (void)state;
    typedef struct {
        const char *text, *fraction, *train, *valid;
    } split_case;
    static const split_case cases[] = {
        /* 20 bytes; the last 5 % start at byte 19, the first line break from byte 18 on is the last one. */
        {"aaaa\nbbbb\ncccc\ndddd\n", "0.05", "aaaa\nbbbb\ncccc\ndddd\n|", ""},
        /* The last half starts at byte 10, where byte 9 is a line break. */
        {"aaaa\nbbbb\ncccc\ndddd\n", "0.5", "aaaa\nbbbb\n|", "cccc\ndddd\n|"},
        /* The last 9 bytes start at byte 11: on to the next line break. */
        {"aaaa\nbbbb\ncccc\ndddd\n", "0.45", "aaaa\nbbbb\ncccc\n|", "dddd\n|"},
        {"aaaa\nbbbb\ncccc\ndddd", "0.4", "aaaa\nbbbb\ncccc\n|", "dddd|"},
        {"no line break", "0.5", "no line break|", ""},
        {"a\nb\n", "0", "a\nb\n|", ""},
        {"a\nb\n", "1", "", "a\nb\n|"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int packed = 0; packed < 3; packed++) {
            static const char *const names[] = {"t.txt", "t.txt.gz", "t.txt.zst"};
            const size_t bytes = strlen(cases[i].text);
            scratch      s = scratch_make();
            char         more[64];
            if (packed == 0) put_text(&s, names[0], cases[i].text);
            if (packed == 1) put_gz(&s, names[1], cases[i].text, bytes);
            if (packed == 2) put_zst(&s, names[2], cases[i].text, bytes);
            snprintf(more, sizeof more, "validation_fraction: %s", cases[i].fraction);
            cot_config *config = data_config(&s, names[packed], more);
            check_text(config, COT_SPLIT_TRAIN, cases[i].train);
            check_text(config, COT_SPLIT_VALID, cases[i].valid);
            cot_config_destroy(config);
            scratch_remove(&s);
        }
}

/* 3 MiB: pieces of at most 1 MiB, cut after a line break before ink, and nothing lost between them or the splits. */
static void long_texts_come_in_pieces(void **state)
{
    (void)state;
    const size_t bytes = 3 << 20;
    char        *text = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = i % 61 == 60 ? '\n' : i % 61 == 0 && i / 61 % 3 ? ' ' : (char)('a' + i % 26);
    text[bytes] = '\0';
    scratch s = scratch_make();
    put_text(&s, "long.txt", text);
    cot_config *config = data_config(&s, "long.txt", "");
    size_t      at = 0, pieces = 0, documents = 0;
    for (int split = 0; split < COT_SPLITS; split++) {
        cot_texts *texts;
        cot_text   piece;
        CHECK_OK(cot_texts_open(config, split, &texts));
        for (bool begins = true;; begins = false) {
            CHECK_OK(cot_texts_next(texts, &piece));
            if (piece.source < 0) break;
            assert_in_range(piece.length, 1, 1 << 20);
            assert_memory_equal(piece.text, text + at, piece.length);
            assert_int_equal(piece.begins, begins);
            at += piece.length;
            if (at < bytes) assert_true(text[at - 1] == '\n');
            if (!piece.ends) assert_true(text[at] != ' ');
            pieces++;
            documents += piece.ends;
        }
        cot_texts_close(texts);
        if (split == 0) assert_in_range(at, bytes - bytes / 20, bytes - bytes / 20 + 61);
    }
    assert_int_equal(at, bytes);
    assert_int_equal(documents, 2);
    assert_in_range(pieces, 4, 5);
    free(text);
    cot_config_destroy(config);
    scratch_remove(&s);
}

/* Without a line break: cut before a blank with ink around it; without blanks between characters. */
static void lines_longer_than_a_piece_are_cut_gently(void **state)
{
    (void)state;
    static const char *const fillers[] = {"word ", "\xe2\x82\xac\xc3\xb1"};
    for (size_t f = 0; f < 2; f++) {
        const size_t unit = strlen(fillers[f]), count = (3 << 19) / unit, bytes = count * unit;
        char        *text = malloc(bytes + 1);
        for (size_t i = 0; i <= bytes; i++) text[i] = i < bytes ? fillers[f][i % unit] : '\0';
        scratch s = scratch_make();
        put_text(&s, "line.txt", text);
        cot_config *config = data_config(&s, "line.txt", "validation_fraction: 0");
        cot_texts  *texts;
        cot_text    piece;
        CHECK_OK(cot_texts_open(config, COT_SPLIT_TRAIN, &texts));
        CHECK_OK(cot_texts_next(texts, &piece));
        assert_false(piece.ends);
        if (f == 0) assert_true(text[piece.length] == ' ');
        assert_memory_equal(piece.text, text, piece.length);
        const size_t first = piece.length;
        CHECK_OK(cot_texts_next(texts, &piece));
        assert_true(piece.ends && !piece.begins);
        assert_int_equal(first + piece.length, bytes);
        cot_texts_close(texts);
        free(text);
        cot_config_destroy(config);
        scratch_remove(&s);
    }
}

static void validation_text_of_its_own(void **state)
{
    (void)state;
    scratch s = scratch_make();
    char    more[512];
    put_gz(&s, "train.txt.gz", "train\ntrain\n", 12);
    put_gz(&s, "valid.txt.gz", "valid\nvalid\n", 12);
    snprintf(more, sizeof more, "valid_path: '%s/valid.txt.gz'\nvalidation_fraction: 0.5", s.folder);
    cot_config *config = data_config(&s, "train.txt.gz", more);
    check_text(config, COT_SPLIT_TRAIN, "train\ntrain\n|");
    check_text(config, COT_SPLIT_VALID, "valid\nvalid\n|");
    cot_config_destroy(config);
    scratch_remove(&s);
}

/* ---- folders and sources ---- */

static void folders_are_read_whole_in_the_order_of_names(void **state)
{
    (void)state;
    scratch s = scratch_make();
    make_folder(&s, "c");
    make_folder(&s, "c/deep");
    put_text(&s, "c/b.txt", "B");
    put_text(&s, "c/a.txt", "A");
    put_text(&s, "c/deep/z.md", "Z");
    put_gz(&s, "c/deep/.hidden.txt.gz", "no", 2);
    put_text(&s, "c/README.md", "no");
    put_text(&s, "c/LICENSE", "no");
    put_text(&s, "c/readmes.txt", "R");
    cot_config *config = data_config(&s, "c", "validation_fraction: 0");
    check_text(config, COT_SPLIT_TRAIN, "A|B|Z|R|");
    cot_config_destroy(config);
    scratch_remove(&s);
}

static void rows_are_documents_and_split_by_hash(void **state)
{
    (void)state;
    enum { ROWS = 4000 };
    scratch s = scratch_make();
    FILE   *file = fopen(scratch_path(&s, "r.jsonl"), "w");
    for (int i = 0; i < ROWS; i++) fprintf(file, "{\"id\": %d, \"body\": \"row %d\"}%s\n", i, i, i % 2 ? "\r" : "");
    fclose(file);
    cot_config *config = data_config(&s, "r.jsonl", "text_field: body");
    char       *train = all_text(config, COT_SPLIT_TRAIN), *valid = all_text(config, COT_SPLIT_VALID);
    int         count[2] = {0, 0};
    for (int i = 0; i < ROWS; i++) {
        char row[32];
        snprintf(row, sizeof row, i ? "|row %d|" : "row %d|", i);
        const bool in_train = strstr(train, row) || strncmp(train, row + (i > 0), strlen(row) - (i > 0)) == 0;
        const bool in_valid = strstr(valid, row) || strncmp(valid, row + (i > 0), strlen(row) - (i > 0)) == 0;
        assert_true(in_train != in_valid);
        count[in_valid]++;
    }
    assert_in_range(count[1], 200 - 69, 200 + 69);  /* 5 %, five standard deviations of 13.8 */
    free(train);
    free(valid);
    cot_config_destroy(config);
    scratch_remove(&s);
}

static void rows_may_be_packed_long_empty_and_escaped(void **state)
{
    (void)state;
    const size_t length = 3 << 20;  /* longer than the first buffer */
    scratch      s = scratch_make();
    char        *rows = malloc(length + 256), *want = malloc(length + 64);
    int          n = sprintf(rows, "\n{\"text\": \"\\u00e9\\n\"}\n  \n{\"text\": \"\"}\n{\"text\": \"");
    memset(rows + n, 'x', length);
    sprintf(rows + n + length, "\"}\n{\"text\": \"last\"}");
    int m = sprintf(want, "\xc3\xa9\n|");
    memset(want + m, 'x', length);
    sprintf(want + m + length, "|last|");
    put_text(&s, "a.jsonl", rows);
    put_gz(&s, "a.jsonl.gz", rows, strlen(rows));
    put_zst(&s, "a.jsonl.zst", rows, strlen(rows));
    static const char *const names[] = {"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"};
    for (int i = 0; i < 3; i++) {
        cot_config *config = data_config(&s, names[i], "validation_fraction: 0");
        check_text(config, COT_SPLIT_TRAIN, want);
        cot_config_destroy(config);
    }
    free(rows);
    free(want);
    scratch_remove(&s);
}

static void packed_files_may_have_several_members(void **state)
{
    (void)state;
    scratch s = scratch_make();
    char    both[512];
    size_t  bytes = 0;
    for (int i = 0; i < 2; i++) bytes += ZSTD_compress(both + bytes, sizeof both - bytes, i ? "two\n" : "one\n", 4, 3);
    scratch_put(&s, "m.txt.zst", both, bytes);
    for (int i = 0; i < 2; i++) {
        gzFile file = gzopen(scratch_path(&s, "m.txt.gz"), "ab");
        gzwrite(file, i ? "two\n" : "one\n", 4);
        gzclose(file);
    }
    for (int i = 0; i < 2; i++) {
        cot_config *config = data_config(&s, i ? "m.txt.gz" : "m.txt.zst", "validation_fraction: 0");
        check_text(config, COT_SPLIT_TRAIN, "one\ntwo\n|");
        cot_config_destroy(config);
    }
    scratch_remove(&s);
}

/* ---- what is refused ---- */

static void check_refused(scratch *s, const char *name, const char *more, cot_status status, const char *message)
{
    cot_config *config = data_config(s, name, more);
    CHECK_FAILS(read_all(config, COT_SPLIT_TRAIN), status, message);
    cot_config_destroy(config);
}

static void invalid_utf8_is_named_or_replaced(void **state)
{
    (void)state;
    const size_t deep = (5 << 18) + 3;  /* in the second piece */
    scratch      s = scratch_make();
    char        *text = malloc(2 << 20), message[128];
    for (size_t i = 0; i < 2 << 20; i++) text[i] = i % 50 == 49 ? '\n' : 'a';
    text[deep] = '\xff';
    scratch_put(&s, "bad.txt", text, 2 << 20);
    put_gz(&s, "bad.txt.gz", text, 2 << 20);
    snprintf(message, sizeof message, "/bad.txt: invalid UTF-8 at byte %zu (0xff)", deep);
    check_refused(&s, "bad.txt", "", COT_FORMAT, message);
    snprintf(message, sizeof message, "/bad.txt.gz: invalid UTF-8 at byte %zu of the unpacked file (0xff)", deep);
    check_refused(&s, "bad.txt.gz", "", COT_FORMAT, message);
    put_text(&s, "bad.jsonl", "{\"text\": \"good\"}\n{\"text\": \"b\xc3(d\"}\n");
    check_refused(&s, "bad.jsonl", "validation_fraction: 0", COT_FORMAT,
                  "/bad.jsonl:2: invalid UTF-8 at byte 28 (0xc3)");

    cot_config *config = data_config(&s, "bad.jsonl", "validation_fraction: 0\ninvalid: replace");
    check_text(config, COT_SPLIT_TRAIN, "good|b\xef\xbf\xbd(d|");
    cot_config_destroy(config);
    config = data_config(&s, "bad.txt", "invalid: replace");
    char *got = all_text(config, COT_SPLIT_TRAIN);
    assert_memory_equal(got, text, deep);
    assert_memory_equal(got + deep, "\xef\xbf\xbd", 3);
    assert_memory_equal(got + deep + 3, text + deep + 1, 1000);
    free(got);
    cot_config_destroy(config);
    free(text);
    scratch_remove(&s);
}

static void broken_rows_are_named_by_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"text\": \"a\"}\n\n{\"text\": \n", "/r.jsonl:3: not a JSON object"},
        {"{\"text\": \"a\"}\n{\"other\": 1}\n", "/r.jsonl:2: the row has no field 'text'"},
        {"{\"text\": 5}", "/r.jsonl:1: the field 'text' is no text"},
        {"[\"text\"]", "/r.jsonl:1: the row has no field 'text'"},
        {"{\"text\": \"\\ud800\"}", "/r.jsonl:1: not a JSON object"},
        {"{\"text\": \"a\"} {}", "/r.jsonl:1: not a JSON object"},
    };
    scratch s = scratch_make();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text(&s, "r.jsonl", cases[i][0]);
        check_refused(&s, "r.jsonl", "validation_fraction: 0", COT_FORMAT, cases[i][1]);
    }
    scratch_remove(&s);
}

static void broken_packed_files_are_refused(void **state)
{
    (void)state;
    enum { BYTES = 300000 };
    scratch s = scratch_make();
    char   *text = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++) text[i] = (char)('a' + (i * i / 7 + i / 3) % 26);
    put_gz(&s, "t.gz", text, BYTES);
    put_zst(&s, "t.zst", text, BYTES);
    put_text(&s, "plain.txt.gz", "this is not gzip");
    put_text(&s, "plain.txt.zst", "this is not zstd");
    check_refused(&s, "plain.txt.gz", "", COT_FORMAT, "plain.txt.gz: not gzip data");
    check_refused(&s, "plain.txt.zst", "", COT_FORMAT, "plain.txt.zst: broken zstd data");
    struct stat info;
    stat(scratch_path(&s, "t.gz"), &info);
    if (truncate(s.path, info.st_size - 20) != 0) abort();
    stat(scratch_path(&s, "t.zst"), &info);
    if (truncate(s.path, info.st_size - 20) != 0) abort();
    for (int f = 0; f < 2; f++) {  /* found while counting, and while reading */
        const char *more = f ? "validation_fraction: 0" : "";
        check_refused(&s, "t.gz", more, COT_FORMAT, "t.gz: the gzip data end in the middle");
        check_refused(&s, "t.zst", more, COT_FORMAT, "t.zst: the zstd data end in the middle");
    }
    free(text);
    scratch_remove(&s);
}

/* zstd packs 128 MiB of one letter into some 12 KiB. */
static void bombs_are_refused(void **state)
{
    (void)state;
    scratch s = scratch_make();
    FILE   *file = fopen(scratch_path(&s, "bomb.txt.zst"), "wb");
    char   *in = malloc(1 << 20), *out = malloc(1 << 20);
    memset(in, 'a', 1 << 20);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    for (int i = 0; i < 128; i++) {
        ZSTD_inBuffer  from = {in, 1 << 20, 0};
        ZSTD_outBuffer to = {out, 1 << 20, 0};
        if (ZSTD_isError(ZSTD_compressStream2(zstd, &to, &from, i == 127 ? ZSTD_e_end : ZSTD_e_continue))) abort();
        fwrite(out, 1, to.pos, file);
    }
    fclose(file);
    ZSTD_freeCCtx(zstd);
    check_refused(&s, "bomb.txt.zst", "validation_fraction: 0", COT_FORMAT, "unpacks to more than 1000 times its size");
    free(in);
    free(out);
    scratch_remove(&s);
}

static void missing_and_empty_things_are_named(void **state)
{
    (void)state;
    scratch s = scratch_make();
    make_folder(&s, "empty");
    check_refused(&s, "nowhere.txt", "", COT_IO, "/nowhere.txt: No such file or directory");
    check_refused(&s, "empty", "", COT_INVALID, "/empty: the folder has no files to read");
    make_folder(&s, "loop");
    if (symlink(".", scratch_path(&s, "loop/again")) != 0) abort();
    check_refused(&s, "loop", "", COT_INVALID, "folders nest deeper than 32");
    if (mkfifo(scratch_path(&s, "pipe"), 0600) != 0) abort();
    check_refused(&s, "pipe", "", COT_IO, "/pipe: neither a file nor a folder");

    cot_config *config;
    cot_texts  *texts;
    CHECK_OK(cot_config_parse("context: 5\n", "data.yaml", &config));
    CHECK_FAILS(cot_texts_open(config, COT_SPLIT_TRAIN, &texts), COT_INVALID, "data has no 'path'");
    cot_config_destroy(config);
    CHECK_OK(cot_config_parse("pathh: 5\n", "data.yaml", &config));
    CHECK_FAILS(cot_texts_open(config, COT_SPLIT_TRAIN, &texts), COT_INVALID, "data.yaml:1");
    cot_config_destroy(config);
    CHECK_OK(cot_config_parse("kind: random\n", "data.yaml", &config));
    CHECK_FAILS(cot_texts_open(config, COT_SPLIT_TRAIN, &texts), COT_INVALID, "random data have no text");
    cot_config_destroy(config);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_part_of_a_text_from_a_line_break_on),
        cmocka_unit_test(long_texts_come_in_pieces),
        cmocka_unit_test(lines_longer_than_a_piece_are_cut_gently),
        cmocka_unit_test(validation_text_of_its_own),
        cmocka_unit_test(folders_are_read_whole_in_the_order_of_names),
        cmocka_unit_test(rows_are_documents_and_split_by_hash),
        cmocka_unit_test(rows_may_be_packed_long_empty_and_escaped),
        cmocka_unit_test(packed_files_may_have_several_members),
        cmocka_unit_test(invalid_utf8_is_named_or_replaced),
        cmocka_unit_test(broken_rows_are_named_by_line),
        cmocka_unit_test(broken_packed_files_are_refused),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(missing_and_empty_things_are_named),
    };
    return cmocka_run_group_tests_name("texts", tests, NULL, NULL);
}
