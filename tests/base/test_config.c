/* Configurations: what is read, refused and written, and that nothing leaks when memory is short. */
#define _POSIX_C_SOURCE 200809L /* mkstemp, fdopen */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <coterie/config.h>

#include "base/config_tree.h"
#include "base/memory.h"

static const char recipe[] = "# a recipe\n"
                             "model:\n"
                             "  kind: lm\n"
                             "  layers:\n"
                             "    - at: \"1::2\"\n"
                             "      ffn: {kind: sparse, router: {kind: top_k, top_k: 2}}\n"
                             "train: {tokens: 20e6, lr: 1e-3, bf16: true, note: '7', nothing: ~}\n"
                             "empty:\n";

static cot_config *parse(const char *text)
{
    cot_config *config;
    if (cot_config_parse(text, "x.yaml", &config) != COT_OK) fail_msg("%s", cot_last_error());
    return config;
}

static void refuses(const char *text, cot_status status, const char *message)
{
    cot_config *config = (cot_config *)1;
    assert_int_equal(cot_config_parse(text, "x.yaml", &config), status);
    assert_null(config);
    assert_string_equal(cot_last_error(), message);
}

/* JSON tells texts from numbers, so equal JSON means equal trees. */
static bool same(const cot_config *a, const cot_config *b)
{
    char *left, *right;
    assert_int_equal(cot_config_to_json(a, &left), COT_OK);
    assert_int_equal(cot_config_to_json(b, &right), COT_OK);
    const bool equal = strcmp(left, right) == 0;
    free(left);
    free(right);
    return equal;
}

static void reads_trees(void **state)
{
    (void)state;
    cot_config *config = parse(recipe);
    assert_int_equal(cot_config_get_kind(config), COT_CONFIG_MAP);
    assert_int_equal(cot_config_size(config), 3);
    assert_string_equal(cot_config_key(config, 1), "train");
    assert_null(cot_config_key(config, 3));
    assert_null(cot_config_at(config, 3));

    const cot_config *k = cot_config_get(config, "model.layers.0.ffn.router.top_k");
    assert_string_equal(cot_config_text(k), "2");
    assert_string_equal(cot_config_file(k), "x.yaml");
    assert_int_equal(cot_config_line(k), 6);
    assert_int_equal(cot_config_line(cot_config_get(config, "model.layers")), 4);
    assert_string_equal(cot_config_text(cot_config_get(config, "model.layers.0.at")), "1::2");
    assert_int_equal(cot_config_get_kind(cot_config_get(config, "empty")), COT_CONFIG_NULL);
    assert_int_equal(cot_config_get_kind(cot_config_get(config, "train.nothing")), COT_CONFIG_NULL);

    const char *const absent[] = {"mode", "model.layers.1", "model.layers.x", "model.kind.y", "model..kind",
                                  "",     "train.lr.0"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) assert_null(cot_config_get(config, absent[i]));
    assert_null(cot_config_get(NULL, "x"));
    cot_config_destroy(config);
    cot_config_destroy(NULL);
}

static void reads_scalars(void **state)
{
    (void)state;
    cot_config *config = parse(recipe);
    int64_t whole = -1;
    double real = -1;
    bool truth = false;
    assert_int_equal(cot_config_int(cot_config_get(config, "train.tokens"), &whole), COT_OK);
    assert_int_equal(whole, 20000000);
    assert_int_equal(cot_config_double(cot_config_get(config, "train.lr"), &real), COT_OK);
    assert_true(real == 1e-3);
    assert_int_equal(cot_config_bool(cot_config_get(config, "train.bf16"), &truth), COT_OK);
    assert_true(truth);

    assert_int_equal(cot_config_int(NULL, &whole), COT_OK);  /* absent: left alone */
    assert_int_equal(whole, 20000000);

    assert_int_equal(cot_config_int(cot_config_get(config, "train.lr"), &whole), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:7: train.lr is '1e-3', expected a whole number");
    assert_int_equal(cot_config_int(cot_config_get(config, "train.note"), &whole), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:7: train.note is '7' in quotes, expected a whole number");
    assert_int_equal(cot_config_double(cot_config_get(config, "model.layers"), &real), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:4: model.layers is a list, expected a number");
    assert_int_equal(cot_config_bool(cot_config_get(config, "empty"), &truth), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:8: empty is empty, expected true or false");
    assert_int_equal(cot_config_bool(cot_config_get(config, "model.layers.0.ffn.kind"), &truth), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:6: model.layers.0.ffn.kind is 'sparse', expected true or false");
    cot_config_destroy(config);
}

static void whole_numbers_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool        whole;
        int64_t     value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"-12", true, -12},
        {"1e3", true, 1000},
        {"1.5e3", true, 1500},
        {"1500e-2", true, 15},
        {"2.50e1", true, 25},
        {"9223372036854775807", true, INT64_MAX},
        {"9007199254740993", true, 9007199254740993},
        {"0e99999999999", true, 0},
        {"12.", true, 12},
        {"9223372036854775808", false, 0},
        {"1e30", false, 0},
        {"1.5", false, 0},
        {"15e-1", false, 0},
        {"1e-999999999", false, 0},
        {"0x10", false, 0},
        {"1_000", false, 0},
        {"010", false, 0},
        {"1e", false, 0},
        {"e3", false, 0},
        {".", false, 0},
        {"-", false, 0},
        {"1 2", false, 0},
        {"2k", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *config = parse(cases[i].text);
        int64_t value = 0;
        assert_int_equal(cot_config_int(config, &value) == COT_OK, cases[i].whole);
        assert_int_equal(value, cases[i].value);
        cot_config_destroy(config);
    }
}

static void numbers_are_finite_decimals(void **state)
{
    (void)state;
    const char *const refused[] = {"1e999", ".inf", "inf", "nan", ".nan", "0x1p3", "1,5", "1e5x", "\"1\""};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        cot_config *config = parse(refused[i]);
        double value = 4;
        assert_int_equal(cot_config_double(config, &value), COT_INVALID);
        assert_true(value == 4);
        cot_config_destroy(config);
    }
    cot_config *config = parse("[.5, -1., 2.5E-3, 0.1234567890123456789]");
    const double want[] = {.5, -1, 2.5e-3, 0.1234567890123456789};
    for (size_t i = 0; i < 4; i++) {
        double value = 0;
        assert_int_equal(cot_config_double(cot_config_at(config, i), &value), COT_OK);
        assert_true(value == want[i]);
    }
    cot_config_destroy(config);
}

static void bad_yaml_is_placed(void **state)
{
    (void)state;
    refuses("a: 1\nb: *x\n", COT_FORMAT, "x.yaml:2:4: an alias (*); write the value out");
    refuses("a: &x 1\n", COT_FORMAT, "x.yaml:1:4: an anchor (&); write values out where they are used");
    refuses("a: !!int 1\n", COT_FORMAT,
            "x.yaml:1:4: a tag (!); values need none here (text that starts with ! goes in quotes)");
    refuses("a: {b: 1, c: !x []}\n", COT_FORMAT,
            "x.yaml:1:14: a tag (!); values need none here (text that starts with ! goes in quotes)");
    refuses("a: 1\nb: 2\na: 3\n", COT_FORMAT, "x.yaml:3: key 'a' is here a second time, first in line 1");
    refuses("a: 1\n---\nb: 2\n", COT_FORMAT, "x.yaml:2:1: a second document, expected one per file");
    refuses("? [1, 2]\n: 3\n", COT_FORMAT, "x.yaml:1:3: a list or map as key, expected a name");
    refuses("'': 3\n", COT_FORMAT, "x.yaml:1:1: an empty key, expected a name");
    refuses("a: \"x\\0y\"\n", COT_FORMAT, "x.yaml:1:4: a NUL character");
    refuses("a:\n\t- b\n", COT_FORMAT,
            "x.yaml:2:1: found character that cannot start any token (a tab: indent with spaces) "
            "while scanning for the next token");
    refuses("\xc3\xa9\xc3\xa9: 1\na:\n\t- b\n", COT_FORMAT,
            "x.yaml:3:1: found character that cannot start any token (a tab: indent with spaces) while scanning for "
            "the next token");
    refuses("a: 1\nb: \xff\xfe\n", COT_FORMAT, "x.yaml:2:4: invalid leading UTF-8 octet");
    refuses("a: [1, 2\nb: 3\n", COT_FORMAT,
            "x.yaml:2:2: did not find expected ',' or ']' while parsing a flow sequence");
}

static char *nested(int depth, const char *open, const char *close)
{
    const size_t left = strlen(open), right = strlen(close);
    char *text = test_calloc(1, (size_t)depth * (left + right) + 2), *end = text;
    for (int i = 0; i < depth; i++, end += left) memcpy(end, open, left);
    *end++ = '1';
    for (int i = 0; i < depth; i++, end += right) memcpy(end, close, right);
    return text;
}

static void depth_is_capped(void **state)
{
    (void)state;
    char *deepest = nested(COT_CONFIG_DEPTH - 1, "[", "]");
    cot_config_destroy(parse(deepest));
    char *deeper = nested(COT_CONFIG_DEPTH, "[", "]");
    refuses(deeper, COT_FORMAT, "x.yaml:1:65: nested deeper than 64 levels");
    char *far_deeper = nested(100000, "{a: ", "}");
    refuses(far_deeper, COT_FORMAT, "x.yaml:1:257: nested deeper than 64 levels");

    cot_config *config = parse("{}");
    char assignment[512] = "k";
    for (int i = 0; i < COT_CONFIG_DEPTH - 2; i++) strcat(assignment, ".k");
    strcat(assignment, "=1");
    assert_int_equal(cot_config_set(config, assignment), COT_OK);
    assignment[strlen(assignment) - 2] = '\0';
    strcat(assignment, ".k=1");
    assert_int_equal(cot_config_set(config, assignment), COT_INVALID);
    assert_int_equal(cot_config_set(config, "k.k.k=[[[1]]]"), COT_OK);
    cot_config_destroy(config);
    test_free(deepest);
    test_free(deeper);
    test_free(far_deeper);
}

static void files_are_read(void **state)
{
    (void)state;
    cot_config *config;
    char path[] = "/tmp/coterie-config-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "wb");
    fputs("\xef\xbb\xbf" "a: 1\r\nb: [x, y]\r\n", f);  /* a byte order mark and Windows lines */
    fflush(f);
    assert_int_equal(cot_config_read(path, &config), COT_OK);
    assert_string_equal(cot_config_text(cot_config_get(config, "b.1")), "y");
    assert_string_equal(cot_config_file(config), path);
    cot_config_destroy(config);

    rewind(f);
    fwrite("a: 1\nb\0c: 2\n", 1, 12, f);
    fflush(f);
    assert_int_equal(cot_config_read(path, &config), COT_FORMAT);
    char want[128];
    snprintf(want, sizeof want, "%s:2:2: a NUL byte, expected text", path);
    assert_string_equal(cot_last_error(), want);

    for (long i = 0; i < COT_CONFIG_BYTES / 1024 + 1; i++) fprintf(f, "#%1022s\n", "");
    fclose(f);
    assert_int_equal(cot_config_read(path, &config), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "longer than 16777216 bytes"));
    remove(path);

    assert_int_equal(cot_config_read(path, &config), COT_IO);
    assert_non_null(strstr(cot_last_error(), "No such file"));
    assert_int_equal(cot_config_read("/tmp", &config), COT_IO);
    assert_null(config);
}

static void set_changes_and_adds(void **state)
{
    (void)state;
    cot_config *config = parse(recipe);
    const char *const good[] = {"train.lr=3e-4",
                                "train.optimizer.kind=muon",
                                "model.layers.0.at=::2",
                                "model.layers.1={at: 0, x: [1]}",
                                "empty.deep.er=1",
                                "train.note=",
                                "new=a=b",
                                "model.kind='x: y'"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (cot_config_set(config, good[i]) != COT_OK) fail_msg("%s", cot_last_error());
    static const struct {
        const char *path, *text;
    } want[] = {{"train.lr", "3e-4"},        {"train.optimizer.kind", "muon"}, {"model.layers.0.at", "::2"},
                {"model.layers.1.x.0", "1"}, {"empty.deep.er", "1"},           {"new", "a=b"},
                {"model.kind", "x: y"},      {"train.tokens", "20e6"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_string_equal(cot_config_text(cot_config_get(config, want[i].path)), want[i].text);
    assert_int_equal(cot_config_get_kind(cot_config_get(config, "train.note")), COT_CONFIG_NULL);
    assert_int_equal(cot_config_size(config), 4);

    double value;
    assert_int_equal(cot_config_double(cot_config_get(config, "train.optimizer.kind"), &value), COT_INVALID);
    assert_string_equal(cot_last_error(), "--set: train.optimizer.kind is 'muon', expected a number");
    cot_config_destroy(config);
}

static void set_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *assignment;
        cot_status  status;
        const char *message;
    } cases[] = {
        {"train.lr", COT_INVALID, "'train.lr' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3"},
        {"=1", COT_INVALID, "'=1' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3"},
        {"a..b=1", COT_INVALID, "'a..b=1' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3"},
        {".a=1", COT_INVALID, "'.a=1' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3"},
        {"a.=1", COT_INVALID, "'a.=1' sets nothing, expected KEY=VALUE, e.g. train.optimizer.lr=1e-3"},
        {"train.lr.x=1", COT_INVALID, "x.yaml:7: train.lr is '1e-3' and holds no 'x'"},
        {"model.layers.2.x=1", COT_INVALID,
         "x.yaml:4: model.layers is a list of 1, so '2' should be a place from 0 to 1"},
        {"model.layers.first=1", COT_INVALID,
         "x.yaml:4: model.layers is a list of 1, so 'first' should be a place from 0 to 1"},
        {"train.lr=[1", COT_FORMAT, "--set: '[1': did not find expected ',' or ']' while parsing a flow sequence"},
        {"train.lr={a: 1, a: 2}", COT_FORMAT, "--set: '{a: 1, a: 2}': key 'a' stands there twice"},
    };
    cot_config *config = parse(recipe);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(cot_config_set(config, cases[i].assignment), cases[i].status);
        assert_string_equal(cot_last_error(), cases[i].message);
    }
    cot_config *untouched = parse(recipe);
    assert_true(same(config, untouched));
    cot_config_destroy(config);
    cot_config_destroy(untouched);
}

static const char difficult[] = "plain: a#b c\n"
                                "folded: one\n  two\n\n  three\n"
                                "block: |\n  line one\n   line two\n\n"
                                "quoted: \"tab\\t quote\\\" bell\\a nl\\n \\u20ac\"\n"
                                "single: 'it''s 5'\n"
                                "number_text: '007'\n"
                                "empty_text: ''\n"
                                "null: [null, ~, 'null', {}, []]\n"
                                "'a key: with # marks': {x: {y: [1, [2, 3]]}}\n"
                                "unicode: \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n"
                                "dash: -x\n"
                                "times: 12:30\n";

static void texts_are_set_as_they_are(void **state)
{
    (void)state;
    cot_config *config = parse(recipe);
    assert_int_equal(cot_config_set_text(config, "data.path", "{it's: #5}"), COT_OK);
    assert_string_equal(cot_config_text(cot_config_get(config, "data.path")), "{it's: #5}");
    assert_int_equal(cot_config_set_text(config, "train.tokens", "5"), COT_OK);
    int64_t value;
    assert_int_equal(cot_config_int(cot_config_get(config, "train.tokens"), &value), COT_INVALID);
    assert_int_equal(cot_config_set_text(config, "train.lr.x", "5"), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:7: train.lr is '1e-3' and holds no 'x'");
    assert_int_equal(cot_config_set_text(config, "a..b", "5"), COT_INVALID);

    assert_int_equal(cot_config_set_text(config, "data.path", "a\xc3(.txt"), COT_INVALID);
    assert_string_equal(cot_last_error(), "data.path is not UTF-8 text: 'a\xc3(.txt'");
    assert_int_equal(cot_config_set_text(config, "data.path", "\xc3\xa9\xf0\x9f\x98\x80"), COT_OK);
    cot_config_destroy(config);
}

static void yaml_round_trips(void **state)
{
    (void)state;
    const char *const texts[] = {recipe, difficult, "", "5", "[]", "{}", "'x'", "- - - 1\n    - 2\n- 3"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cot_config *config = parse(texts[i]);
        char *written;
        assert_int_equal(cot_config_to_yaml(config, &written), COT_OK);
        cot_config *again = parse(written);
        if (!same(config, again)) fail_msg("changed on the way:\n%s", written);
        free(written);
        cot_config_destroy(config);
        cot_config_destroy(again);
    }
}

static void yaml_looks_as_written(void **state)
{
    (void)state;
    cot_config *config = parse("train: {tokens: 20e6, lr: 1.50e-3}\nlist: [a, {k: v}]\nnone:\ntext: '7'\n");
    char *written;
    assert_int_equal(cot_config_to_yaml(config, &written), COT_OK);
    assert_string_equal(written,
                        "train:\n  tokens: 20e6\n  lr: 1.50e-3\nlist:\n- a\n- k: v\nnone: null\ntext: \"7\"\n");
    free(written);
    cot_config_destroy(config);
}

static void json_is_typed(void **state)
{
    (void)state;
    cot_config *config = parse("n: [1, -2.5e-3, .5, 3., +4, 010, 0x1]\n"
                               "t: [true, False, 'true', 12, '12', null, ~]\n"
                               "s: \"q\\\" b\\\\ n\\n c\\u0001 \xe2\x82\xac\"\n"
                               "e: [{}, []]\n");
    char *written;
    assert_int_equal(cot_config_to_json(config, &written), COT_OK);
    assert_string_equal(
        written, "{\n"
                 "  \"n\": [\n    1,\n    -2.5e-3,\n    0.5,\n    3.0,\n    4,\n    \"010\",\n    \"0x1\"\n  ],\n"
                 "  \"t\": [\n    true,\n    false,\n    \"true\",\n    12,\n    \"12\",\n    null,\n    null\n  ],\n"
                 "  \"s\": \"q\\\" b\\\\ n\\n c\\u0001 \xe2\x82\xac\",\n"
                 "  \"e\": [\n    {},\n    []\n  ]\n"
                 "}\n");
    cot_config *again = parse(written);  /* JSON is YAML */
    assert_string_equal(cot_config_text(cot_config_get(again, "s")), cot_config_text(cot_config_get(config, "s")));
    assert_true(cot_config_get(again, "t.2")->quoted);
    free(written);
    cot_config_destroy(config);
    cot_config_destroy(again);
}

static void copies_stand_alone(void **state)
{
    (void)state;
    cot_config *config = parse(recipe), *copy;
    assert_int_equal(cot_config_set(config, "train.lr=2"), COT_OK);
    assert_int_equal(cot_config_copy(cot_config_get(config, "train"), &copy), COT_OK);
    assert_true(same(copy, cot_config_get(config, "train")));
    cot_config_destroy(config);
    assert_string_equal(cot_config_text(cot_config_get(copy, "tokens")), "20e6");
    assert_int_equal(cot_config_line(cot_config_get(copy, "tokens")), 7);
    assert_string_equal(cot_config_file(cot_config_get(copy, "tokens")), "x.yaml");
    assert_string_equal(cot_config_file(cot_config_get(copy, "lr")), "--set");
    cot_config_destroy(copy);
}

static void messages_are_one_line(void **state)
{
    (void)state;
    cot_config *config = parse("\"k\\ney\": \"a\\e[31mb\\nc\"");
    double value;
    assert_int_equal(cot_config_double(cot_config_at(config, 0), &value), COT_INVALID);
    assert_string_equal(cot_last_error(), "x.yaml:1: k?ey is 'a?[31mb?c' in quotes, expected a number");
    cot_config_destroy(config);
}

static void long_maps_are_quick(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    char *text = test_malloc(KEYS * 16), *end = text;
    for (int i = 0; i < KEYS; i++) end += sprintf(end, "k%d: 1\n", i);
    cot_config_destroy(parse(text));
    sprintf(end, "k77: 1\n");
    refuses(text, COT_FORMAT, "x.yaml:100001: key 'k77' is here a second time, first in line 78");
    test_free(text);
}

/* Every allocation in turn fails: the call says so, and all memory comes back. */
static void survives_short_memory(void **state)
{
    (void)state;
    const int64_t before = cot_memory_blocks();
    for (int n = 1, done = 0; !done; n++) {
        cot_config *config = NULL, *copy = NULL;
        cot_memory_fail_after(n);
        cot_status status = cot_config_parse(recipe, "x.yaml", &config);
        if (status == COT_OK) status = cot_config_set(config, "a.b.c=[1, 2]");
        if (status == COT_OK) status = cot_config_copy(config, &copy);
        cot_memory_fail_after(0);
        cot_config_destroy(config);
        cot_config_destroy(copy);
        assert_int_equal(cot_memory_blocks(), before);
        if (status == COT_OK) done = 1;
        else assert_int_equal(status, COT_OUT_OF_MEMORY);
        assert_true(n < 1000);
    }
}

static cot_config *parsed(const char *text, const char *name)
{
    cot_config *config;
    assert_int_equal(cot_config_parse(text, name, &config), COT_OK);
    return config;
}

static void trees_are_put_laid_over_and_removed(void **state)
{
    (void)state;
    cot_config *base = parsed("{a: {kind: x, one: 1, deep: {p: 1, q: 2}}, list: [1, 2, 3], stays: yes}", "base");
    cot_config *over = parsed("a: {one: 7, deep: {q: 5, r: 6}}\nlist: [4]\nnew: {z: 1}\n", "over");
    char *json;
    assert_int_equal(cot_config_overlay(base, over), COT_OK);
    assert_int_equal(cot_config_overlay(base, NULL), COT_OK);
    assert_int_equal(cot_config_to_json(base, &json), COT_OK);
    cot_config *want =
        parsed("{a: {kind: x, one: 7, deep: {p: 1, q: 5, r: 6}}, list: [4], stays: yes, new: {z: 1}}", "want");
    char *wanted;
    assert_int_equal(cot_config_to_json(want, &wanted), COT_OK);
    assert_string_equal(json, wanted);
    free(json);
    free(wanted);
    cot_config_destroy(want);
    /* Places stay those of the file that a value came from. */
    assert_string_equal(cot_config_file(cot_config_get(base, "a.deep.r")), "over");
    assert_string_equal(cot_config_file(cot_config_get(base, "a.deep.p")), "base");
    assert_int_equal(cot_config_line(cot_config_get(base, "list")), 2);
    /* In a list by place. */
    cot_config *first = parsed("{list: {0: 9, 1: 8}}", "first"), *beyond = parsed("{list: {5: 1}}", "beyond");
    assert_int_equal(cot_config_overlay(base, first), COT_OK);
    assert_string_equal(cot_config_text(cot_config_get(base, "list.0")), "9");
    assert_string_equal(cot_config_text(cot_config_get(base, "list.1")), "8");
    assert_int_equal(cot_config_overlay(base, beyond), COT_INVALID);
    cot_config_remove(base, "list.1");
    cot_config_destroy(first);
    cot_config_destroy(beyond);
    /* A block of another kind replaces, one of the same or of none is laid over. */
    cot_config *other = parsed("a: {kind: y, two: 2}", "other");
    assert_int_equal(cot_config_overlay(base, other), COT_OK);
    assert_null(cot_config_get(base, "a.one"));
    assert_string_equal(cot_config_text(cot_config_get(base, "a.two")), "2");
    /* Copies outlive what they came from. */
    assert_int_equal(cot_config_put(base, "stays.not", over), COT_INVALID);
    assert_int_equal(cot_config_put(base, "there.under", over), COT_OK);
    cot_config_destroy(over);
    cot_config_destroy(other);
    assert_string_equal(cot_config_text(cot_config_get(base, "there.under.new.z")), "1");
    cot_config_remove(base, "there.under.new");
    cot_config_remove(base, "list.0");
    cot_config_remove(base, "nothing.here");
    assert_null(cot_config_get(base, "there.under.new"));
    assert_non_null(cot_config_get(base, "there.under.list"));
    assert_int_equal(cot_config_size(cot_config_get(base, "list")), 0);
    cot_config_destroy(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_trees),
        cmocka_unit_test(reads_scalars),
        cmocka_unit_test(whole_numbers_are_exact),
        cmocka_unit_test(numbers_are_finite_decimals),
        cmocka_unit_test(bad_yaml_is_placed),
        cmocka_unit_test(depth_is_capped),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(set_changes_and_adds),
        cmocka_unit_test(set_refuses),
        cmocka_unit_test(yaml_round_trips),
        cmocka_unit_test(yaml_looks_as_written),
        cmocka_unit_test(json_is_typed),
        cmocka_unit_test(copies_stand_alone),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(long_maps_are_quick),
        cmocka_unit_test(survives_short_memory),
        cmocka_unit_test(texts_are_set_as_they_are),
        cmocka_unit_test(trees_are_put_laid_over_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
