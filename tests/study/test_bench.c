/* The bench's parts: they measure something, refuse what cannot be, and time is counted where it belongs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <coterie/bench.h>

#include "tensor/tape.h"

static void test_parts(void **state)
{
    (void)state;
    double seconds = 0;
    assert_int_equal(cot_bench_auction(64, 4, 1, &seconds), COT_OK);
    assert_true(seconds > 0 && seconds < 10);
    const cot_retrieval_case c = {.tokens = 4, .heads = 2, .top_k = 3, .query_dim = 8, .sub_keys = 16};
    assert_int_equal(cot_bench_retrieval(&c, &seconds), COT_OK);
    assert_true(seconds > 0 && seconds < 10);
    assert_int_equal(cot_bench_brute_force(&c, &seconds), COT_OK);
    assert_true(seconds > 0 && seconds < 10);
    cot_pool_rates rates;
    assert_int_equal(cot_bench_pool(&(cot_pool_case){.experts = 100, .width = 16, .tokens = 8, .choices = 4}, &rates),
                     COT_OK);
    assert_true(rates.gather_bytes > 0 && rates.forward_bytes > 0);
}

static void test_refusals(void **state)
{
    (void)state;
    double             seconds;
    cot_pool_rates     rates;
    cot_retrieval_case c = {.tokens = 4, .heads = 2, .top_k = 3, .query_dim = 8, .sub_keys = 2};
    assert_int_equal(cot_bench_auction(0, 4, 0, &seconds), COT_INVALID);
    assert_int_equal(cot_bench_retrieval(&c, &seconds), COT_INVALID); /* 3 of 2 sub-keys */
    c.sub_keys = 5;
    assert_int_equal(cot_bench_brute_force(&c, &seconds), COT_INVALID);
    assert_int_equal(cot_bench_pool(&(cot_pool_case){.experts = 100}, &rates), COT_INVALID);
}

static void work(cot_tape *tape)
{
    cot_tape_kind(tape, COT_TIME_PRODUCT);
    for (const double since = cot_now(); cot_now() - since < 1e-3;) continue;
}

static void test_kinds(void **state)
{
    (void)state;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
    cot_tape_hold_kind(tape, COT_TIME_ROUTING);
    work(tape);
    cot_tape_release_kind(tape);
    cot_tape_kind(tape, COT_TIME_OTHER);
    assert_true(cot_tape_time(tape, COT_TIME_ROUTING) >= 1e-3);
    assert_true(cot_tape_time(tape, COT_TIME_PRODUCT) == 0);
    work(tape);
    cot_tape_kind(tape, COT_TIME_OTHER);
    assert_true(cot_tape_time(tape, COT_TIME_PRODUCT) >= 1e-3);
    assert_true(cot_tape_time_back(tape, COT_TIME_PRODUCT) == 0);
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
