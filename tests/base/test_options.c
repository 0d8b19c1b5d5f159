/* Option tables: defaults, every kind of value, messages, suggestions, and finding a family's member. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/family.h"
#include "base/memory.h"

typedef struct {
    int64_t           top_k, seed;
    double            lr, floor;
    bool              renormalise;
    int32_t           softmax;
    char             *name, *note;
    const cot_config *router;
} sample;

static const cot_option options[] = {
    COT_OPTION_INT(sample, top_k, 2, 1, 64, "experts chosen per token"),
    COT_OPTION_INT(sample, seed, 1, -HUGE_VAL, HUGE_VAL, "any whole number"),
    COT_OPTION_DOUBLE(sample, lr, 1e-3, 0, 10, "learning rate"),
    COT_OPTION_DOUBLE(sample, floor, -0.25, -HUGE_VAL, 0, "no upper sign"),
    COT_OPTION_BOOL(sample, renormalise, true, "gates sum to 1"),
    COT_OPTION_CHOICE(sample, softmax, 1, "all|chosen|none", "over which experts"),
    COT_OPTION_STRING(sample, name, "plain", "a name"),
    COT_OPTION_STRING(sample, note, NULL, "nothing by default"),
    COT_OPTION_NODE(sample, router, "a spec"),
    COT_OPTION_END,
};

static cot_config *parse(const char *text)
{
    cot_config *config;
    if (cot_config_parse(text, "x.yaml", &config) != COT_OK) fail_msg("%s", cot_last_error());
    return config;
}

static void defaults_come_from_the_table(void **state)
{
    (void)state;
    const char *const texts[] = {NULL, "", "{}", "kind: sample"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cot_config *config = texts[i] ? parse(texts[i]) : NULL;
        sample s;
        memset(&s, 0xA5, sizeof s);
        assert_int_equal(cot_options_apply(options, &s, config), COT_OK);
        assert_int_equal(s.top_k, 2);
        assert_int_equal(s.seed, 1);
        assert_true(s.lr == 1e-3 && s.floor == -0.25 && s.renormalise);
        assert_int_equal(s.softmax, 1);
        assert_string_equal(s.name, "plain");
        assert_null(s.note);
        assert_null(s.router);
        cot_options_release(options, &s);
        assert_null(s.name);
        cot_config_destroy(config);
    }
}

static void every_kind_is_set(void **state)
{
    (void)state;
    cot_config *config = parse(
        "{kind: sample, top_k: 64, seed: -9e18, lr: 3e-4, renormalise: false, softmax: none, name: 12, note: 'a b',"
        " router: {kind: x}}");
    sample s;
    assert_int_equal(cot_options_apply(options, &s, config), COT_OK);
    assert_int_equal(s.top_k, 64);
    assert_true(s.seed == -9000000000000000000);
    assert_true(s.lr == 3e-4 && !s.renormalise);
    assert_int_equal(s.softmax, 2);
    assert_string_equal(s.name, "12");
    assert_string_equal(s.note, "a b");
    assert_string_equal(cot_config_text(cot_config_get(s.router, "kind")), "x");
    cot_options_release(options, &s);
    cot_config_destroy(config);

    config = parse("{name: ~, router: null}");  /* a null takes a text or block away */
    assert_int_equal(cot_options_apply(options, &s, config), COT_OK);
    assert_null(s.name);
    assert_null(s.router);
    cot_config_destroy(config);
}

#define KEYS "(keys: top_k, seed, lr, floor, renormalise, softmax, name, note, router)"

static void bad_values_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"a: 1", "x.yaml:1: a is an unknown key " KEYS},
        {"\ntop_K: 1", "x.yaml:2: top_K is an unknown key; did you mean 'top_k'? " KEYS},
        {"lrr: 1", "x.yaml:1: lrr is an unknown key; did you mean 'lr'? " KEYS},
        {"renorm: true", "x.yaml:1: renorm is an unknown key; did you mean 'renormalise'? " KEYS},
        {"top_k: two", "x.yaml:1: top_k is 'two', expected a whole number from 1 to 64"},
        {"top_k: 1.5", "x.yaml:1: top_k is '1.5', expected a whole number from 1 to 64"},
        {"top_k: 65", "x.yaml:1: top_k is '65', expected a whole number from 1 to 64"},
        {"top_k: 0", "x.yaml:1: top_k is '0', expected a whole number from 1 to 64"},
        {"top_k:", "x.yaml:1: top_k is empty, expected a whole number from 1 to 64"},
        {"seed: x", "x.yaml:1: seed is 'x', expected a whole number"},
        {"lr: -1", "x.yaml:1: lr is '-1', expected a number from 0 to 10"},
        {"lr: nan", "x.yaml:1: lr is 'nan', expected a number from 0 to 10"},
        {"floor: 1", "x.yaml:1: floor is '1', expected a number up to 0"},
        {"renormalise: 1", "x.yaml:1: renormalise is '1', expected true or false"},
        {"softmax: chose", "x.yaml:1: softmax is 'chose', expected one of all, chosen, none"},
        {"softmax: all|chosen", "x.yaml:1: softmax is 'all|chosen', expected one of all, chosen, none"},
        {"softmax: [all]", "x.yaml:1: softmax is a list, expected one of all, chosen, none"},
        {"name: {}", "x.yaml:1: name is a map, expected a text"},
        {"[1]", "x.yaml:1: the top level is a list, expected a map of options"},
        {"5", "x.yaml:1: the top level is '5', expected a map of options"},
    };
    const int64_t before = cot_memory_blocks();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *config = parse(cases[i].text);
        sample s;
        memset(&s, 0xA5, sizeof s);
        assert_int_equal(cot_options_apply(options, &s, config), COT_INVALID);
        assert_string_equal(cot_last_error(), cases[i].message);
        cot_config_destroy(config);
        assert_int_equal(cot_memory_blocks(), before);  /* strings were released */
    }
}

static void paths_reach_down(void **state)
{
    (void)state;
    cot_config *config = parse("model:\n  layers:\n    - {}\n    - router:\n        top_k: x\n");
    sample s;
    assert_int_equal(cot_options_apply(options, &s, cot_config_get(config, "model.layers.1.router")), COT_INVALID);
    assert_string_equal(cot_last_error(),
                        "x.yaml:5: model.layers.1.router.top_k is 'x', expected a whole number from 1 to 64");
    cot_config_destroy(config);
}

static void short_memory_leaks_nothing(void **state)
{
    (void)state;
    const int64_t before = cot_memory_blocks();
    cot_config *config = parse("{name: a, note: b}");
    for (int n = 1; n <= 3; n++) {  /* the default of name, then both values */
        sample s;
        cot_memory_fail_after(n);
        assert_int_equal(cot_options_apply(options, &s, config), COT_OUT_OF_MEMORY);
        cot_memory_fail_after(0);
    }
    cot_config_destroy(config);
    assert_int_equal(cot_memory_blocks(), before);
}

static void descriptions_are_short(void **state)
{
    (void)state;
    static const struct {
        const char *value, *range;
    } want[] = {
        {"2", "a whole number from 1 to 64"}, {"1", "a whole number"},  {"0.001", "a number from 0 to 10"},
        {"-0.25", "a number up to 0"},        {"true", "true or false"}, {"chosen", "one of all, chosen, none"},
        {"plain", "a text"},                  {"", "a text"},           {"", "a block of its own"},
    };
    for (size_t i = 0; options[i].name; i++) {
        char text[64];
        cot_option_describe_default(&options[i], text, sizeof text);
        assert_string_equal(text, want[i].value);
        cot_option_describe_range(&options[i], text, sizeof text);
        assert_string_equal(text, want[i].range);
        char tiny[4];
        cot_option_describe_range(&options[i], tiny, sizeof tiny);
        assert_int_equal(strlen(tiny), 3);
    }
    static const struct {
        double      number;
        const char *text;
    } numbers[] = {{0, "0"},
                   {1000, "1000"},
                   {65536, "65536"},
                   {20e6, "2e+07"},
                   {0.1, "0.1"},
                   {1e-8, "1e-08"},
                   {0.1 + 0.2, "0.30000000000000004"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const cot_option option = {.name = "x", .kind = COT_OPTION_KIND_DOUBLE, .number = numbers[i].number};
        char text[32];
        cot_option_describe_default(&option, text, sizeof text);
        assert_string_equal(text, numbers[i].text);
    }
}

static const char *word(const void *words, size_t index) { return ((const char *const *)words)[index]; }

static void nearest_finds_slips(void **state)
{
    (void)state;
    static const char *const words[] = {"train",     "eval",         "generate",    "info",
                                        "num_heads", "num_kv_heads", "hidden_size", "lr"};
    static const struct {
        const char *typed, *nearest;
    } cases[] = {
        {"trian", "train"},
        {"TRAIN", "train"},
        {"gen", "generate"},
        {"evla", "eval"},
        {"num-heads", "num_heads"},
        {"num_head", "num_heads"},
        {"num_kv_head", "num_kv_heads"},
        {"hiden_size", "hidden_size"},
        {"lrr", "lr"},
        {"rl", "lr"},
        {"zebra", NULL},
        {"x", NULL},
        {"t", NULL},
        {"", NULL},
        {"information", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *found = cot_nearest(cases[i].typed, sizeof words / sizeof *words, word, words);
        if (cases[i].nearest) assert_string_equal(found, cases[i].nearest);
        else assert_null(found);
    }
    char longest[200];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_null(cot_nearest(longest, sizeof words / sizeof *words, word, words));
}

static const cot_member *colour_at(size_t index)
{
    static const cot_member colours[] = {{"red", NULL, "", NULL}, {"green", NULL, "", options}};
    return index < 2 ? &colours[index] : NULL;
}

static void members_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        cot_status  status;
        const char *message;
    } cases[] = {
        {"{kind: gren}", COT_NOT_FOUND,
         "x.yaml:1: kind is 'gren', no known colour; did you mean 'green'? (kinds: red, green)"},
        {"{kind: [red]}", COT_INVALID, "x.yaml:1: kind is a list, expected a name"},
        {"{kind: }", COT_INVALID, "x.yaml:1: kind is empty, expected a name"},
        {"{}", COT_INVALID, "x.yaml:1: the top level names no colour, expected {kind: NAME, ...} (kinds: red, green)"},
        {"red", COT_INVALID, "x.yaml:1: the top level names no colour, expected {kind: NAME, ...} (kinds: red, green)"},
    };
    const cot_member *member;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_config *config = parse(cases[i].text);
        assert_int_equal(cot_family_find("colour", colour_at, config, &member), cases[i].status);
        assert_null(member);
        assert_string_equal(cot_last_error(), cases[i].message);
        cot_config_destroy(config);
    }
    cot_config *config = parse("{kind: green, lr: 1}");
    assert_int_equal(cot_family_find("colour", colour_at, config, &member), COT_OK);
    assert_ptr_equal(member, colour_at(1));
    cot_config_destroy(config);

    assert_int_equal(cot_family_find("colour", colour_at, NULL, &member), COT_INVALID);
    assert_int_equal(cot_family_find_name("colour", colour_at, "red", &member), COT_OK);
    assert_ptr_equal(member, colour_at(0));
    assert_int_equal(cot_family_find_name("colour", colour_at, "rd", &member), COT_NOT_FOUND);
    assert_string_equal(cot_last_error(), "'rd' is no known colour; did you mean 'red'? (kinds: red, green)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table), cmocka_unit_test(every_kind_is_set),
        cmocka_unit_test(bad_values_are_named),         cmocka_unit_test(paths_reach_down),
        cmocka_unit_test(short_memory_leaks_nothing),   cmocka_unit_test(descriptions_are_short),
        cmocka_unit_test(nearest_finds_slips),          cmocka_unit_test(members_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
