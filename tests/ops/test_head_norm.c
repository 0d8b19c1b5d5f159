/* The norm of query and key heads, each by itself or all together: against its formula, gradients against central
 * differences, other modes against f64, 1 thread against 2. Run under every COTERIE_CPU. */
#include "central_differences.h"

#include <string.h>

#include "base/memory.h"
#include "ops/head_norm.h"

static const cot_attention_shape shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 6};
enum { WIDTH = (4 + 2 * 2) * 6, QUERIES = 4 * 6, KEYS = 2 * 6, MOST_ROWS = 200 };

/* Weights of q and of k: those of a head, or of all heads. */
static const int64_t sizes[2][2] = {{6, 6}, {QUERIES, KEYS}};

static double number(uint64_t seed, int64_t i)  /* exact in bf16 */
{
    return (double)cot_bf16_to_f32(cot_f32_to_bf16((float)test_normal(seed, (uint64_t)i)));
}

static cot_tensor *filled(cot_tape *tape, cot_dtype dtype, int64_t rows, int64_t columns, uint64_t seed)
{
    cot_tensor *t = cot_tape_matrix(tape, dtype, rows, columns, true);
    for (int64_t i = 0; i < rows * columns; i++) cot_value_set(t->data, dtype, i, number(seed, i));
    return t;
}

typedef struct {
    double y[MOST_ROWS * WIDTH], dx[MOST_ROWS * WIDTH], dw[2][QUERIES];
} norm_result;

/* `before` is a gradient of x that is there already. */
static void compute(cot_mode mode, int64_t rows, double before, const int64_t size[2], norm_result *r)
{
    cot_tape *tape;
    assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
    cot_tape_reset(tape, true, true, 1, 1);
    cot_tensor *x = filled(tape, cot_tape_act(tape), rows, WIDTH, 1);
    const cot_dtype real = cot_tape_real(tape);
    cot_tensor *w[2] = {filled(tape, real, 1, size[0], 2), filled(tape, real, 1, size[1], 3)};
    cot_tensor *y = cot_head_norm(tape, x, &shape, w[0], w[1], 1e-5);
    bool add = false;
    void *dx = before != 0 ? cot_tape_grad(tape, x, &add) : NULL;
    for (int64_t i = 0; dx && i < rows * WIDTH; i++) cot_value_set(dx, x->dtype, i, before);
    cot_tape_backward(tape, probe(tape, y), 1);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    memset(r, 0, sizeof *r);
    for (int64_t i = 0; i < rows * WIDTH; i++)
        r->y[i] = cot_value_at(y->data, y->dtype, i), r->dx[i] = cot_value_at(x->grad, x->dtype, i);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < size[k]; i++) r->dw[k][i] = cot_value_at(w[k]->grad, w[k]->dtype, i);
    cot_tape_destroy(tape);
}

static void check_formula(const int64_t size[2])
{
    static norm_result r;
    compute(COT_MODE_F64, 5, 0, size, &r);
    for (int64_t row = 0; row < 5; row++)
        for (int64_t c = 0; c < WIDTH; c++) {
            const bool query = c < QUERIES;
            const int64_t n = size[query ? 0 : 1], kind = query ? 0 : QUERIES, group = kind + (c - kind) / n * n;
            double square = 0;
            for (int64_t i = 0; i < n && c < QUERIES + KEYS; i++)
                square += number(1, row * WIDTH + group + i) * number(1, row * WIDTH + group + i);
            const double x = number(1, row * WIDTH + c), w = number(query ? 2 : 3, (c - kind) % n);
            const double want = c < QUERIES + KEYS ? w * x / sqrt(square / (double)n + 1e-5) : x;
            assert_true(fabs(r.y[row * WIDTH + c] - want) <= 1e-14 * (1 + fabs(want)));
        }
}

static void follows_its_formula(void **state)
{
    (void)state;
    static const int64_t mixed[2] = {6, KEYS};
    check_formula(sizes[0]);
    check_formula(sizes[1]);
    check_formula(mixed);
}

static cot_tensor *build(cot_tape *tape, cot_tensor *const *inputs, const void *context)
{
    (void)context;
    return probe(tape, cot_head_norm(tape, inputs[0], &shape, inputs[1], inputs[2], 1e-5));
}

/* Twice in a row, so that each weight receives two gradients. */
static cot_tensor *build_shared(cot_tape *tape, cot_tensor *const *inputs, const void *context)
{
    (void)context;
    cot_tensor *once = cot_head_norm(tape, inputs[0], &shape, inputs[1], inputs[2], 1e-5);
    return probe(tape, cot_head_norm(tape, once, &shape, inputs[2], inputs[1], 1e-3));
}

static void gradient_is_slope(void **state)
{
    (void)state;
    static difference_case c;
    add_input(&c, 3, WIDTH, 1);
    add_input(&c, 1, 6, 2);
    add_input(&c, 1, 6, 3);
    check_gradients("head norm", &c, build, NULL, 1e-8);
    check_gradients("head norm of head norm", &c, build_shared, NULL, 1e-8);
    static difference_case all;
    add_input(&all, 3, WIDTH, 1);
    add_input(&all, 1, QUERIES, 2);
    add_input(&all, 1, KEYS, 3);
    check_gradients("norm of all heads", &all, build, NULL, 1e-8);
}

/* y = w * xhat and dx round a few times by the type's epsilon; dw sums `rows` times 2 or 4 such terms. */
static void check_modes(const int64_t size[2])
{
    static norm_result want, got, again, added;
    static const double epsilon[] = {1e-15, 2e-6, 2e-2};
    compute(COT_MODE_F64, MOST_ROWS, 0, size, &want);
    for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
        assert_int_equal(cot_set_threads(1), COT_OK);
        compute((cot_mode)mode, MOST_ROWS, 0, size, &got);
        assert_int_equal(cot_set_threads(2), COT_OK);
        compute((cot_mode)mode, MOST_ROWS, 0, size, &again);
        assert_memory_equal(&got, &again, sizeof got);
        compute((cot_mode)mode, MOST_ROWS, 1, size, &added);
        for (int64_t i = 0; i < MOST_ROWS * WIDTH; i++)
            assert_true(fabs(added.dx[i] - 1 - got.dx[i]) <= epsilon[mode] * (5 + fabs(got.dx[i])));
        for (int64_t i = 0; i < MOST_ROWS * WIDTH; i++) {
            assert_true(fabs(got.y[i] - want.y[i]) <= epsilon[mode] * (1 + fabs(want.y[i])));
            assert_true(fabs(got.dx[i] - want.dx[i]) <= epsilon[mode] * (5 + fabs(want.dx[i])));
        }
        for (int kind = 0; kind < 2; kind++)
            for (int64_t i = 0; i < size[kind]; i++)
                assert_true(fabs(got.dw[kind][i] - want.dw[kind][i]) <= 30 * epsilon[mode]);
    }
    assert_int_equal(cot_set_threads(0), COT_OK);
}

static void modes_and_threads_agree(void **state)
{
    (void)state;
    check_modes(sizes[0]);
    check_modes(sizes[1]);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
    cot_tape_reset(tape, true, true, 1, 1);
    cot_tensor *x = filled(tape, COT_F32, 2, WIDTH, 1), *w = filled(tape, COT_F32, 1, 6, 1),
               *narrow = filled(tape, COT_F32, 1, 5, 1);
    cot_head_norm(tape, x, &shape, w, narrow, 1e-5);
    assert_int_equal(cot_tape_status(tape), COT_SHAPE_MISMATCH);
    assert_non_null(strstr(cot_last_error(), "6 and 5 weights, expected 6 for each head, or 24 and 12 for all"));
    cot_head_norm(tape, x, &shape, w, w, 1e-5);  /* does nothing now */
    assert_int_equal(cot_tape_status(tape), COT_SHAPE_MISMATCH);
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_its_formula),
        cmocka_unit_test(gradient_is_slope),
        cmocka_unit_test(modes_and_threads_agree),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
