/* Rows of length one and division by a learned temperature: values, edges, gradients, the same bits on any number of threads. */
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

static cot_tensor *cosines_among_themselves(cot_tape *tape, cot_tensor *const *in, const void *context)
{
    (void)context;
    return probe(tape, cot_router_linear(tape, cot_unit_rows(tape, in[0]), cot_unit_rows(tape, in[0])));
}

static void gradients_of_rows_used_twice_add_up(void **state)
{
    (void)state;
    static difference_case c;
    c = (difference_case){.training = true};
    add_input(&c, 6, 5, 4);
    check_gradients("cosines among themselves", &c, cosines_among_themselves, NULL, 1e-7);
}

enum { ROWS = 1100, WIDTH = 33, COUNT = ROWS * WIDTH, ZEROS = 700 /* a row of them */ };  /* several pieces, of rows and of elements */

typedef struct {
    double x[COUNT], y[COUNT], dx[COUNT], dt;
} unit_run;

/* Unit rows of act values over a temperature of 0.5. */
static void run_unit_rows(cot_mode mode, int threads, unit_run *out)
{
    cot_tape *tape;
    float zero = 0;
    assert_int_equal(cot_set_threads(threads), COT_OK);
    assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
    cot_tape_reset(tape, true, true, 1, 0);
    cot_tensor *x = cot_tape_matrix(tape, cot_tape_act(tape), ROWS, WIDTH, true);
    for (int i = 0; i < COUNT; i++)
        cot_value_set(x->data, x->dtype, i, i / WIDTH == ZEROS ? 0 : test_normal(7, (uint64_t)i));
    cot_tensor *t = cot_tape_wrap(tape, COT_F32, 1, (const int64_t[]){1}, &zero, true);
    cot_tensor *y = cot_over_temperature(tape, cot_unit_rows(tape, x), t, 0.5, 0.01);
    for (int i = 0; i < COUNT; i++) out->x[i] = cot_value_at(x->data, x->dtype, i), out->y[i] = cot_value_at(y->data, y->dtype, i);
    cot_tape_backward(tape, probe(tape, y), 1);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    for (int i = 0; i < COUNT; i++) out->dx[i] = cot_value_at(x->grad, x->dtype, i);
    out->dt = cot_value_at(t->grad, t->dtype, 0);
    cot_tape_destroy(tape);
}

/* In f64 from the same x; half a unit in the last place of bf16 is 2^-9 of a value. */
static void check_unit_row(const unit_run *run, int row, double rounding)
{
    const double *x = run->x + row * WIDTH;
    double squares = 0, along = 0;
    for (int i = 0; i < WIDTH; i++) squares += x[i] * x[i], along += x[i] * 2 * probe_weight(row * WIDTH + i);
    for (int i = 0; i < WIDTH; i++) {
        const double weight = 2 * probe_weight(row * WIDTH + i);
        const double y = squares > 0 ? 2 * x[i] / sqrt(squares) : 0;
        const double dx = squares > 0 ? (weight - x[i] * along / squares) / sqrt(squares) : 0;
        assert_true(fabs(run->y[row * WIDTH + i] - y) < 1e-6);
        assert_true(fabs(run->dx[row * WIDTH + i] - dx) <= 1e-6 + rounding * fabs(dx));
    }
}

static void narrow_modes_keep_to_the_formula_on_any_threads(void **state)
{
    (void)state;
    static unit_run one, two;
    const cot_mode modes[] = {COT_MODE_F32, COT_MODE_BF16};
    for (int m = 0; m < 2; m++) {
        run_unit_rows(modes[m], 1, &one);
        run_unit_rows(modes[m], 2, &two);
        assert_memory_equal(&one, &two, sizeof one);
        double dt = 0;
        for (int i = 0; i < COUNT; i++) dt -= probe_weight(i) * one.y[i];
        for (int r = 0; r < ROWS; r++) check_unit_row(&one, r, modes[m] == COT_MODE_BF16 ? 0x1p-8 : 0);
        assert_true(fabs(one.dt - dt) < 1e-4);
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
        cmocka_unit_test(gradients_of_rows_used_twice_add_up),
        cmocka_unit_test(narrow_modes_keep_to_the_formula_on_any_threads),
        cmocka_unit_test(rows_of_zeros_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
