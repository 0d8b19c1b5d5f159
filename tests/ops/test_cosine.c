/* Rows of length one and division by a learned temperature: values, edges, gradients. */
#include "ops/central_differences.h"

#include "ops/cosine.h"
#include "ops/router_linear.h"

static cot_tensor *cosines(cot_tape *tape, cot_tensor *const *in, const void *least)
{
    cot_tensor *c = cot_router_linear(tape, cot_unit_rows(tape, in[0]), cot_unit_rows(tape, in[1]));
    return probe(tape, cot_over_temperature(tape, c, in[2], 0.5, *(const double *)least));
}

static void gradients_of_cosines_over_a_temperature(void **state)
{
    (void)state;
    const double bounds[] = {0.01, 1e3};  /* below the temperature, and above it: then it has no gradient */
    for (int i = 0; i < 2; i++) {
        static difference_case c;
        c = (difference_case){.training = true};
        add_input(&c, 7, 5, 1);
        add_input(&c, 3, 5, 2);
        add_input(&c, 1, 1, 3);
        check_gradients("cosine", &c, cosines, &bounds[i], 1e-7);
    }
}

static void rows_of_zeros_stay(void **state)
{
    (void)state;
    double x[] = {3, 4, 0, 0};
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, false, true, 1, 0);
    const double *y = cot_unit_rows(tape, cot_tape_wrap(tape, COT_F64, 2, (const int64_t[]){2, 2}, x, false))->data;
    assert_true(fabs(y[0] - 0.6) < 1e-15 && fabs(y[1] - 0.8) < 1e-15 && y[2] == 0 && y[3] == 0);
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_cosines_over_a_temperature),
        cmocka_unit_test(rows_of_zeros_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
