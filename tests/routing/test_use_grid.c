/* How often experts were used: histograms and grids, counted by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "routing/measures.h"

static void histogram_of_counts(void **state)
{
    (void)state;
    static const int64_t count[] = {0, 1, 2, 3, 4, 7, 8, 0, 0, 1, 1 << 29, 1 << 30, INT64_MAX};
    int64_t              histogram[COT_USE_BINS], sum = 0;
    cot_use_histogram(count, 13, histogram);
    assert_int_equal(histogram[0], 3);   /* never */
    assert_int_equal(histogram[1], 2);   /* once */
    assert_int_equal(histogram[2], 2);   /* 2 to 3 */
    assert_int_equal(histogram[3], 2);   /* 4 to 7 */
    assert_int_equal(histogram[4], 1);   /* 8 to 15 */
    assert_int_equal(histogram[30], 1);  /* 2^29 to 2^30 - 1 */
    assert_int_equal(histogram[31], 2);  /* all beyond */
    for (int b = 0; b < COT_USE_BINS; b++) sum += histogram[b];
    assert_int_equal(sum, 13);
    assert_int_equal(cot_use_histogram_size(histogram), COT_USE_BINS);
    cot_use_histogram(count, 5, histogram);
    assert_int_equal(cot_use_histogram_size(histogram), 4);
    cot_use_histogram(count, 1, histogram);
    assert_int_equal(cot_use_histogram_size(histogram), 1);
    cot_use_histogram(count, 0, histogram);
    assert_int_equal(cot_use_histogram_size(histogram), 1);
}

static void bins_keep_grids_small(void **state)
{
    (void)state;
    static const int64_t cases[][2] = {{1, 1}, {16, 1}, {256, 1}, {257, 2}, {512, 2}, {513, 3}, {1024, 4}, {32768, 128}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_int_equal(cot_use_grid_bin(cases[i][0]), cases[i][1]);
}

/* 3 x 3 experts in squares of 2: the last row and column have fewer. */
static void grid_of_counts(void **state)
{
    (void)state;
    static const int64_t count[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    int64_t              whole[9], binned[4];
    cot_use_grid(count, 3, 1, whole);
    assert_memory_equal(whole, count, sizeof count);
    cot_use_grid(count, 3, 2, binned);
    assert_int_equal(binned[0], 1 + 2 + 4 + 5);
    assert_int_equal(binned[1], 3 + 6);
    assert_int_equal(binned[2], 7 + 8);
    assert_int_equal(binned[3], 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_of_counts),
        cmocka_unit_test(bins_keep_grids_small),
        cmocka_unit_test(grid_of_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
