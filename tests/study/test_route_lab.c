/* The router lab: JSON in, JSON out, by hand-worked cases; and every way in which its input can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/route.h>

#include "base/memory.h"

/* Runs a case and returns its JSON. */
static json_t *route(const cot_route_spec *spec, const char *input)
{
    cot_route_result *result;
    char *text;
    if (cot_route(spec, input, strlen(input), &result) != COT_OK) fail_msg("%s", cot_last_error());
    assert_int_equal(cot_route_to_json(result, &text), COT_OK);
    cot_route_result_destroy(result);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static void near(double got, double want, double allowed, const char *what)
{
    if (!(fabs(got - want) <= allowed)) fail_msg("%s is %.17g, expected %.9f", what, got, want);
}

static void near_list(const json_t *list, const double *want, size_t count, double allowed, const char *what)
{
    assert_int_equal(json_array_size(list), count);
    for (size_t i = 0; i < count; i++) near(json_number_value(json_array_get(list, i)), want[i], allowed, what);
}

static double field(const json_t *root, const char *list, size_t index, const char *key)
{
    return json_number_value(json_object_get(json_array_get(json_object_get(root, list), index), key));
}

static void noisy_gating_with_load(void **state)
{
    (void)state;
    const char *const rules[] = {"{kind: load, coef: 1}"};
    const cot_route_spec spec = {.router = "{kind: noisy_top_k, top_k: 2}", .balance = rules, .balance_count = 1,
                                 .gradient = true};
    json_t *out = route(&spec, "{\"logits\": [[0.5, 0.2, -0.1, 0]], \"raw_noise_std\": [[0, 0.5, -0.5, 1]],"
                               " \"noise\": [[0.3, -1, 1.2, 0.4]], \"training\": true}");
    assert_int_equal(json_array_size(json_object_get(out, "assignments")), 2);
    assert_int_equal(json_array_size(json_object_get(out, "dropped")), 0);
    assert_true(field(out, "assignments", 0, "expert") == 0 && field(out, "assignments", 1, "expert") == 3);
    near(field(out, "assignments", 0, "gate"), 0.545285, 1e-6, "gate");
    near(field(out, "assignments", 1, "gate"), 0.454715, 1e-6, "gate");
    near_list(json_object_get(out, "load"), (const double[]){1, 0, 0, 1}, 4, 0, "load");
    assert_true(json_is_integer(json_array_get(json_object_get(out, "load"), 0)));
    near_list(json_object_get(out, "importance"), (const double[]){0.545285, 0, 0, 0.454715}, 4, 1e-6, "importance");
    assert_true(json_is_null(json_object_get(out, "capacity")));
    near(json_number_value(json_object_get(json_object_get(out, "losses"), "load")), 0.200594, 1e-6, "loss");
    const json_t *gradient = json_object_get(out, "gradient");
    near_list(json_array_get(json_object_get(gradient, "logits"), 0),
              (const double[]){0.280713, -0.054512, -0.709866, 0.483665}, 4, 1e-6, "d logits");
    near_list(json_array_get(json_object_get(gradient, "raw_noise_std"), 0),
              (const double[]){-0.003814, -0.011355, -0.339840, 0.142874}, 4, 1e-6, "d raw");
    json_decref(out);
}

static const char *const six = "{\"logits\": [[-0.510825623765990683, -1.20397280432593599, -2.30258509299404568],"
                               "[-0.693147180559945309, -2.30258509299404568, -0.916290731874155065],"
                               "[-0.356674943938732379, -1.60943791243410037, -2.30258509299404568],"
                               "[-1.60943791243410037, -0.693147180559945309, -1.20397280432593599],"
                               "[-2.30258509299404568, -0.510825623765990683, -1.20397280432593599],"
                               "[-0.223143551314209755, -1.89711998488588150, -2.99573227355399099]]}";

static void expect_kept(const char *policy, const int *tokens)
{
    char capacity[64];
    snprintf(capacity, sizeof capacity, "{capacity_factor: 1, policy: %s}", policy);
    const cot_route_spec spec = {.router = "{kind: switch}", .capacity = capacity};
    json_t *out = route(&spec, six);
    for (size_t i = 0; i < 4; i++) assert_int_equal((int)field(out, "assignments", i, "token"), tokens[i]);
    assert_int_equal(json_array_size(json_object_get(out, "assignments")), 4);
    assert_int_equal(json_array_size(json_object_get(out, "dropped")), 2);
    assert_int_equal(json_integer_value(json_object_get(out, "capacity")), 2);
    near_list(json_object_get(out, "load"), (const double[]){4, 2, 0}, 3, 0, "load before capacity");
    near_list(json_object_get(out, "importance"), (const double[]){2.6, 1.1, 0}, 3, 1e-12,
              "importance before capacity");
    json_decref(out);
}

static void capacity_by_position_and_probability(void **state)
{
    (void)state;
    expect_kept("position", (const int[]){0, 1, 3, 4});
    expect_kept("probability", (const int[]){2, 3, 4, 5});
}

static void rules_of_one_kind_are_numbered(void **state)
{
    (void)state;
    const char *const rules[] = {"{kind: aux, coef: 1}", "{kind: z_loss, coef: 1}", "{kind: aux, coef: 3}",
                                 "{kind: aux, coef: 1, choices: first}"};
    const cot_route_spec spec = {.router = "{kind: top_k}", .balance = rules, .balance_count = 4};
    json_t *out = route(&spec, six);
    const json_t *losses = json_object_get(out, "losses");
    const double one = json_number_value(json_object_get(losses, "aux"));
    assert_int_equal(json_object_size(losses), 4);
    near(json_number_value(json_object_get(losses, "aux.2")), 3 * one, 1e-15, "aux.2");
    assert_non_null(json_object_get(losses, "aux.3"));
    assert_non_null(json_object_get(losses, "z_loss"));
    assert_null(json_object_get(out, "gradient"));
    json_decref(out);
}

/* Every way to write minus infinity masks the same expert. */
static void minus_infinity_masks(void **state)
{
    (void)state;
    const char *const ways[] = {"\"-inf\"", "\"-Infinity\"", "-Infinity", "-1e999", "\"-INF\""};
    const char *const rules[] = {"{kind: z_loss, coef: 1}"};
    const cot_route_spec spec = {.router = "{kind: top_k, top_k: 1}", .balance = rules, .balance_count = 1,
                                 .gradient = true};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"logits\": [[%s, 1, 0.5], [2 ,%s,-0.5]]}", ways[i], ways[i]);
        json_t *out = route(&spec, text);
        assert_true(field(out, "assignments", 0, "expert") == 1 && field(out, "assignments", 1, "expert") == 0);
        const json_t *rows = json_object_get(json_object_get(out, "gradient"), "logits");
        assert_true(json_number_value(json_array_get(json_array_get(rows, 0), 0)) == 0);
        assert_null(json_object_get(json_object_get(out, "gradient"), "raw_noise_std"));
        json_decref(out);
    }
}

static void given_noise_counts_in_training_only(void **state)
{
    (void)state;
    const cot_route_spec spec = {.router = "{kind: noisy_top_k, top_k: 1}", .gradient = true};
    const char *const cases[] = {"", ", \"training\": false", ", \"training\": true"};
    for (int i = 0; i < 3; i++) {
        char text[160];
        snprintf(text, sizeof text,
                 "{\"logits\": [[1, 0]], \"noise\": [[-9, 9]], \"tokens\": [7], \"sequences\": [1]%s}", cases[i]);
        json_t *out = route(&spec, text);
        assert_int_equal((int)field(out, "assignments", 0, "expert"), i == 2);
        assert_true(!!json_object_get(json_object_get(out, "gradient"), "raw_noise_std") == (i == 2));
        json_decref(out);
    }
}

static void own_noise_follows_the_seed(void **state)
{
    (void)state;
    const char *const text =
        "{\"logits\": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], \"training\": true}";
    double gates[3];
    for (int i = 0; i < 3; i++) {
        const cot_route_spec spec = {.router = "{kind: noisy_top_k, top_k: 2}", .seed = i == 2};
        json_t *out = route(&spec, text);
        gates[i] = field(out, "assignments", 0, "gate");
        json_decref(out);
    }
    assert_true(gates[0] == gates[1] && gates[0] != gates[2]);
}

/* ---- errors ---- */

static void wrong_input_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        cot_status  status;
        const char *message;
    } cases[] = {
        {"", COT_FORMAT, "not JSON"},
        {"{\"logits\": [[1, 2]", COT_FORMAT, "line 1"},
        {"[1]", COT_FORMAT, "no JSON object"},
        {"{}", COT_FORMAT, "no \"logits\""},
        {"{\"logits\": []}", COT_FORMAT, "logits is no matrix"},
        {"{\"logits\": [[]]}", COT_FORMAT, "logits is no matrix"},
        {"{\"logits\": [1, 2]}", COT_FORMAT, "logits is no matrix"},
        {"{\"logits\": [[1, 2], [3]]}", COT_SHAPE_MISMATCH, "logits[1] has 1 numbers, expected 2, one for each expert"},
        {"{\"logits\": [[1, true]]}", COT_FORMAT, "logits[0][1] is no number"},
        {"{\"logits\": [[1, null]]}", COT_FORMAT, "logits[0][1] is null, expected a number or \"-inf\""},
        {"{\"logits\": [[1, NaN]]}", COT_NOT_FINITE, "logits[0][1] is NaN"},
        {"{\"logits\": [[1, \"nan\"]]}", COT_NOT_FINITE, "logits[0][1] is NaN"},
        {"{\"logits\": [[1, Infinity]]}", COT_NOT_FINITE, "logits[0][1] is infinite"},
        {"{\"logits\": [[1, \"+inf\"]]}", COT_NOT_FINITE, "logits[0][1] is infinite"},
        {"{\"logits\": [[1, 1e400]]}", COT_NOT_FINITE, "logits[0][1] is infinite"},
        {"{\"logits\": [[1, 2]], \"noise\": [[0, -Infinity]]}", COT_NOT_FINITE,
         "noise[0][1] is -inf, expected a finite number"},
        {"{\"logits\": [[1, 2]], \"noise\": [[0, 1], [2, 3]]}", COT_SHAPE_MISMATCH, "noise has 2 rows, expected 1"},
        {"{\"logits\": [[1, 2]], \"raw_noise_std\": [[0]]}", COT_SHAPE_MISMATCH,
         "raw_noise_std[0] has 1 numbers, expected 2"},
        {"{\"logits\": [[1, 2]], \"tokens\": [1, 2]}", COT_SHAPE_MISMATCH, "tokens has 2 entries, expected 1"},
        {"{\"logits\": [[1, 2]], \"tokens\": [-1]}", COT_FORMAT, "tokens[0]"},
        {"{\"logits\": [[1, 2]], \"sequences\": [2]}", COT_SHAPE_MISMATCH, "sequences sum to 2 tokens, expected 1"},
        {"{\"logits\": [[1, 2]], \"sequences\": 1}", COT_FORMAT, "sequences is no list"},
        {"{\"logits\": [[1, 2]], \"training\": 1}", COT_FORMAT, "training is no boolean"},
        {"{\"logits\": [[1, 2]], \"logits\": [[1, 2]]}", COT_FORMAT, "duplicate"},
        {"{\"logits\": [[1, 2]], \"nose\": [[1, 2]]}", COT_FORMAT, "unknown key 'nose'; did you mean 'noise'?"},
        {"{\"logits\": [[1e200, 2]]}", COT_NOT_FINITE, "loss 'z_loss' is not finite"},
    };
    const char *const rules[] = {"{kind: z_loss}"};
    const cot_route_spec spec = {.router = "{kind: top_k}", .balance = rules, .balance_count = 1};
    const int64_t blocks = cot_memory_blocks();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_route_result *result;
        const cot_status status = cot_route(&spec, cases[i].text, strlen(cases[i].text), &result);
        if (status != cases[i].status || !strstr(cot_last_error(), cases[i].message))
            fail_msg("%s: %d, %s", cases[i].text, status, cot_last_error());
        assert_null(result);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
}

static void wrong_specs_are_named(void **state)
{
    (void)state;
    static const char *const unknown[] = {"{kind: bias}"};
    static const struct {
        cot_route_spec spec;
        const char    *message;
    } cases[] = {
        {{.router = NULL}, "no router given"},
        {{.router = "{kind: top_k, top_k: 3}"},
         "top_k asks router 'top_k' for 3 experts per token, expected at most num_experts = 2"},
        {{.router = "{kind: "}, "router"},
        {{.router = "top_k"}, "names no router"},
        {{.router = "{kind: top_k}", .balance = unknown, .balance_count = 1}, "balance:1: kind is 'bias'"},
        {{.router = "{kind: top_k}", .capacity = "{capacity: 1}"}, "capacity"},
        {{.router = "{kind: top_k}", .capacity = "{policy: last}"}, "policy"},
    };
    const char *const text = "{\"logits\": [[1, 2]]}";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_route_result *result;
        assert_true(cot_route(&cases[i].spec, text, strlen(text), &result) != COT_OK);
        if (!strstr(cot_last_error(), cases[i].message)) fail_msg("%zu: %s", i, cot_last_error());
    }
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    const char *const rules[] = {"{kind: load}", "{kind: importance}"};
    const cot_route_spec spec = {.router = "{kind: noisy_top_k}", .balance = rules, .balance_count = 2,
                                 .capacity = "{policy: random}", .gradient = true};
    const char *const text = "{\"logits\": [[1, 2, 0], [0, 2, 1]], \"training\": true, \"tokens\": [3, 4]}";
    const int64_t blocks = cot_memory_blocks();
    for (int n = 1;; n++) {
        cot_route_result *result;
        cot_memory_fail_after(n);
        const cot_status status = cot_route(&spec, text, strlen(text), &result);
        cot_memory_fail_after(0);
        if (status == COT_OK) {
            cot_route_result_destroy(result);
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, COT_OUT_OF_MEMORY);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_int_equal(cot_memory_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noisy_gating_with_load),
        cmocka_unit_test(capacity_by_position_and_probability),
        cmocka_unit_test(rules_of_one_kind_are_numbered),
        cmocka_unit_test(minus_infinity_masks),
        cmocka_unit_test(given_noise_counts_in_training_only),
        cmocka_unit_test(own_noise_follows_the_seed),
        cmocka_unit_test(wrong_input_is_named),
        cmocka_unit_test(wrong_specs_are_named),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
