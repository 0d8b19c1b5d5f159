/* Kneser-Ney: a case worked by hand, an independent Python implementation's stored answers, sums to one, bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <coterie/yardstick.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

/* Probabilities come from at most 5 fused steps of sums and products, each off by a few units of 1.1e-16; the logarithm
 * adds one more. */
#define TOLERANCE 1e-13

/* cmocka's own comparison is in single precision. */
#define assert_near(got, want, tolerance) assert_true(fabs((got) - (want)) <= (tolerance))

static double probability(const cot_kneser_ney *m, const int32_t *context, size_t length, int32_t token, int order)
{
    int32_t tokens[16];
    double  nll[16 * COT_KNESER_NEY_MAX_ORDER];
    assert_true(length < 16);
    memcpy(tokens, context, length * sizeof *tokens);
    tokens[length] = token;
    assert_int_equal(cot_kneser_ney_nll(m, tokens, length + 1, (size_t[]){0}, 1, nll), COT_OK);
    return exp(-nll[length * (size_t)cot_kneser_ney_order(m) + (size_t)order - 1]);
}

/* One document 0 1 2 1 0 1 of 4 symbols. Scored: 1 2 1 0 1.
 *   plain unigrams: 1 three times, 0 and 2 once; no symbol twice, so D = 1/2: p1(1) = (3 - 1/2 + 3/2 * 1/4) / 5 = 0.575
 *   bigrams: 01 twice; 12, 21, 10 once; n1 = 3, n2 = 1, D = 3/5
 *   continuations: 1 after {0, 2}, 2 after {1}, 0 after {1}; n1 = 2, n2 = 1, D = 1/2;
 *   c(1) = (2 - 1/2 + 3/2 * 1/4) / 4 */
static void hand_worked(void **state)
{
    (void)state;
    const int32_t   tokens[] = {0, 1, 2, 1, 0, 1};
    cot_kneser_ney *m = NULL;
    assert_int_equal(cot_kneser_ney_create(tokens, 6, (size_t[]){0}, 1, 4, 2, &m), COT_OK);

    assert_false(cot_kneser_ney_discounts(m, 1).modified);
    assert_near(cot_kneser_ney_discounts(m, 1).once, 0.5, 0);
    assert_near(cot_kneser_ney_discounts(m, 2).once, 0.6, 1e-15);

    assert_near(probability(m, (int32_t[]){0}, 1, 1, 1), 0.575, TOLERANCE);
    assert_near(probability(m, (int32_t[]){0}, 1, 2, 1), 0.175, TOLERANCE);
    assert_near(probability(m, (int32_t[]){0}, 1, 3, 1), 0.075, TOLERANCE);

    const double c1 = 1.875 / 4, c2 = 0.875 / 4, c3 = 0.375 / 4;
    assert_near(probability(m, (int32_t[]){0}, 1, 1, 2), (2 - 0.6 + 0.6 * c1) / 2, TOLERANCE);
    assert_near(probability(m, (int32_t[]){1}, 1, 2, 2), (1 - 0.6 + 2 * 0.6 * c2) / 2, TOLERANCE);
    assert_near(probability(m, (int32_t[]){2}, 1, 2, 2), 0.6 * c2, TOLERANCE);
    assert_near(probability(m, (int32_t[]){3}, 1, 3, 2), c3, TOLERANCE); /* a context never seen */
    cot_kneser_ney_destroy(m);
}

/* ---- stored answers of tests/peers/kneser_ney_oracle.py ---- */

typedef struct {
    size_t   count, documents;
    int32_t *tokens;
    size_t  *starts;
} sequence;

static sequence read_sequence(const json_t *tokens, const json_t *starts)
{
    sequence s = {.count = json_array_size(tokens), .documents = json_array_size(starts)};
    s.tokens = malloc(s.count * sizeof *s.tokens);
    s.starts = malloc(s.documents * sizeof *s.starts);
    assert_true(s.tokens && s.starts);
    for (size_t i = 0; i < s.count; i++) s.tokens[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    for (size_t i = 0; i < s.documents; i++) s.starts[i] = (size_t)json_integer_value(json_array_get(starts, i));
    return s;
}

static void free_sequence(sequence *s)
{
    free(s->tokens);
    free(s->starts);
}

static json_t *load_cases(void)
{
    json_error_t error;
    json_t      *cases = json_load_file(COT_TEST_DATA "/kneser_ney.json", 0, &error);
    assert_non_null(cases);
    assert_true(json_array_size(cases) == 3);
    return cases;
}

static cot_kneser_ney *build(const json_t *c, sequence *train)
{
    cot_kneser_ney *m = NULL;
    *train = read_sequence(json_object_get(c, "tokens"), json_object_get(c, "starts"));
    assert_int_equal(cot_kneser_ney_create(train->tokens, train->count, train->starts, train->documents,
                                           (int32_t)json_integer_value(json_object_get(c, "vocabulary")),
                                           (int)json_integer_value(json_object_get(c, "order")), &m), COT_OK);
    return m;
}

static void check_discounts(const cot_kneser_ney *m, const json_t *c)
{
    for (int n = 1; n <= cot_kneser_ney_order(m); n++) {
        const cot_kneser_ney_discount got = cot_kneser_ney_discounts(m, n);
        const json_t *want = json_array_get(json_object_get(c, "discounts"), (size_t)n - 1);
        assert_int_equal(got.modified, json_is_true(json_array_get(json_object_get(c, "modified"), (size_t)n - 1)));
        assert_near(got.once, json_real_value(json_array_get(want, 0)), 1e-14);
        assert_near(got.twice, json_real_value(json_array_get(want, 1)), 1e-14);
        assert_near(got.more, json_real_value(json_array_get(want, 2)), 1e-14);
    }
}

static void matches_oracle(void **state)
{
    (void)state;
    json_t *cases = load_cases();
    size_t  at;
    json_t *c;
    json_array_foreach(cases, at, c)
    {
        sequence        train;
        cot_kneser_ney *m = build(c, &train);
        sequence        test = read_sequence(json_object_get(c, "test_tokens"), json_object_get(c, "test_starts"));
        check_discounts(m, c);

        const size_t order = (size_t)cot_kneser_ney_order(m);
        double       sum[COT_KNESER_NEY_MAX_ORDER] = {0};
        double      *nll = malloc(test.count * order * sizeof *nll);
        assert_non_null(nll);
        assert_int_equal(cot_kneser_ney_nll(m, test.tokens, test.count, test.starts, test.documents, nll), COT_OK);
        for (size_t i = 0; i < test.count; i++)
            for (size_t n = 0; n < order; n++) {
                const double want = json_real_value(json_array_get(json_array_get(json_object_get(c, "nll"), i), n));
                assert_near(nll[i * order + n], want, TOLERANCE * (1 + want));
                sum[n] += want;
            }

        cot_kneser_ney_score score;
        assert_int_equal(cot_kneser_ney_evaluate(m, test.tokens, test.count, test.starts, test.documents, &score),
                         COT_OK);
        assert_int_equal(score.tokens, test.count - test.documents);
        for (size_t n = 0; n < COT_KNESER_NEY_MAX_ORDER; n++) assert_near(score.nll[n], sum[n], 1e-11);

        free(nll);
        free_sequence(&train);
        free_sequence(&test);
        cot_kneser_ney_destroy(m);
    }
    json_decref(cases);
}

/* Over the vocabulary, probabilities sum to 1 after any context: all of the corpus, and contexts never seen. */
static void sums_to_one(void **state)
{
    (void)state;
    json_t         *cases = load_cases();
    const json_t   *c = json_array_get(cases, 1);
    const int32_t   vocabulary = (int32_t)json_integer_value(json_object_get(c, "vocabulary"));
    sequence        train;
    cot_kneser_ney *m = build(c, &train);
    for (size_t i = 0; i < train.count + 20; i++) {
        int32_t      context[6];
        const size_t length = 1 + i % 6;
        for (size_t j = 0; j < length; j++)
            context[j] = i + length <= train.count ? train.tokens[i + j]
                                                   : (int32_t)((7 * i + 11 * j) % (size_t)vocabulary);
        for (int n = 1; n <= cot_kneser_ney_order(m); n++) {
            double sum = 0;
            for (int32_t w = 0; w < vocabulary; w++) {
                const double p = probability(m, context, length, w, n);
                assert_true(p > 0);
                sum += p;
            }
            assert_near(sum, 1, 1e-12);
        }
    }
    free_sequence(&train);
    cot_kneser_ney_destroy(m);
    json_decref(cases);
}

/* Models of order 3 are the first three of order 5: the same plain and continuation counts, so the same bits. */
static void orders_agree(void **state)
{
    (void)state;
    json_t         *cases = load_cases();
    sequence        train;
    cot_kneser_ney *five = build(json_array_get(cases, 0), &train), *three = NULL;
    assert_int_equal(cot_kneser_ney_create(train.tokens, train.count, train.starts, train.documents, 14, 3, &three),
                     COT_OK);
    for (size_t i = 0; i + 4 < train.count; i++)
        for (int n = 1; n <= 3; n++)
            assert_true(probability(five, train.tokens + i, 4, 5, n) == probability(three, train.tokens + i, 4, 5, n));
    free_sequence(&train);
    cot_kneser_ney_destroy(five);
    cot_kneser_ney_destroy(three);
    json_decref(cases);
}

/* Documents without a token change nothing, wherever they stand. */
static void empty_documents(void **state)
{
    (void)state;
    const int32_t tokens[] = {0, 1, 2, 1, 0, 1, 1, 2, 0, 1};
    const size_t  plain[] = {0, 6}, padded[] = {0, 0, 6, 6, 6, 10, 10};
    double        sum[2] = {0};
    for (int i = 0; i < 2; i++) {
        cot_kneser_ney      *m = NULL;
        cot_kneser_ney_score score;
        const size_t *const  starts = i ? padded : plain;
        const size_t         documents = i ? 7 : 2;
        assert_int_equal(cot_kneser_ney_create(tokens, 10, starts, documents, 3, 3, &m), COT_OK);
        assert_int_equal(cot_kneser_ney_evaluate(m, tokens, 10, starts, documents, &score), COT_OK);
        assert_int_equal(score.tokens, 8);
        sum[i] = score.nll[2];
        cot_kneser_ney_destroy(m);
    }
    assert_true(sum[0] == sum[1] && sum[0] > 0);
}

static void bad_input(void **state)
{
    (void)state;
    const int32_t   tokens[] = {0, 1, 2, 1};
    cot_kneser_ney *m = (cot_kneser_ney *)&m;
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 1, 2, 2, &m), COT_INVALID);
    assert_null(m);
    assert_string_equal(cot_last_error(), "token 2 is 2, outside of a vocabulary of 2");
    assert_int_equal(cot_kneser_ney_create(tokens, 0, (size_t[]){0}, 1, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 0, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){1}, 1, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0, 3, 2}, 3, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0, 5}, 2, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0, 9, 2}, 3, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0, 1, 2, 3}, 4, 3, 2, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 1, 3, 0, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 1, 3, 9, &m), COT_INVALID);
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 1, 0, 2, &m), COT_INVALID);

    double nll[8] = {-1};
    assert_int_equal(cot_kneser_ney_create(tokens, 4, (size_t[]){0}, 1, 3, 2, &m), COT_OK);
    assert_int_equal(cot_kneser_ney_nll(m, (int32_t[]){0, 3}, 2, (size_t[]){0}, 1, nll), COT_INVALID);
    assert_true(nll[0] == -1);
    cot_kneser_ney_destroy(m);
    cot_kneser_ney_destroy(NULL);
}

/* Whichever allocation fails: a status, and nothing left behind. The corpus is big enough for the tables to grow. */
static void memory_short(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static int32_t  tokens[COUNT];
    for (size_t i = 0; i < COUNT; i++) tokens[i] = (int32_t)(i * i * 2654435761u >> 7 & 63);
    const int64_t   blocks = cot_memory_blocks();
    cot_kneser_ney *m = NULL;
    int64_t         n = 1;
    for (;; n++) {
        cot_memory_fail_after(n);
        const cot_status status = cot_kneser_ney_create(tokens, COUNT, (size_t[]){0}, 1, 64, 3, &m);
        cot_memory_fail_after(0);
        if (status == COT_OK) break;
        assert_int_equal(status, COT_OUT_OF_MEMORY);
        assert_null(m);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_true(n > 15);
    cot_kneser_ney_destroy(m);
    assert_int_equal(cot_memory_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_worked),  cmocka_unit_test(matches_oracle), cmocka_unit_test(sums_to_one),
        cmocka_unit_test(orders_agree), cmocka_unit_test(empty_documents), cmocka_unit_test(bad_input),
        cmocka_unit_test(memory_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
