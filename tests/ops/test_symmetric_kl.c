/* The distance of two predictions: zero when they agree, its value by hand, its gradients. */
#include "ops/central_differences.h"

#include "ops/symmetric_kl.h"

static const int32_t target[] = {2, -1, 0, 3, 1};

static cot_tensor *distance(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return cot_symmetric_kl(tape, in[0], in[1], target, 0.7);
}

static void gradients(void **state)
{
    (void)state;
    static difference_case c;
    c = (difference_case){.training = true};
    add_input(&c, 5, 4, 1);
    add_input(&c, 5, 4, 2);
    check_gradients("symmetric KL", &c, distance, NULL, 1e-7);
}

static double of(double *a, double *b)
{
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    cot_tape_reset(tape, false, true, 1, 0);
    const int64_t shape[] = {1, 2};
    const cot_tensor *out = cot_symmetric_kl(tape, cot_tape_wrap(tape, COT_F64, 2, shape, a, false), cot_tape_wrap(tape, COT_F64, 2, shape, b, false), target, 1);
    const double result = *(const double *)out->data;
    cot_tape_destroy(tape);
    return result;
}

/* P = (3/4, 1/4), Q = (1/2, 1/2): (1/4 ln 3/2 + -1/4 ln 1/2) / 2 = ln(3) / 8 */
static void values(void **state)
{
    (void)state;
    double p[] = {log(3), 0}, q[] = {7, 7};
    assert_true(fabs(of(p, q) - log(3) / 8) < 1e-15);
    assert_true(of(p, p) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
        cmocka_unit_test(values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
