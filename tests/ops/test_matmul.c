/* The three products against plain loops: every mode, ragged groups, gathered rows, act and real operands,
 * accumulation, 1 and 2 threads. Run under every COTERIE_CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <coterie/runtime.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/matmul.h"

static const cot_rng_key key = {.seed = 11, .stream = COT_RNG_TEST};

static double get(cot_dtype type, const void *data, int64_t i)
{
    return type == COT_F64   ? ((const double *)data)[i]
           : type == COT_F32 ? (double)((const float *)data)[i]
                             : (double)cot_bf16_to_f32(((const cot_bf16 *)data)[i]);
}

static void set(cot_dtype type, void *data, int64_t i, double value)
{
    if (type == COT_F64) ((double *)data)[i] = value;
    else if (type == COT_F32) ((float *)data)[i] = (float)value;
    else ((cot_bf16 *)data)[i] = cot_f32_to_bf16((float)value);
}

/* Uniform in (-1, 1). */
static void *uniform(cot_dtype type, int64_t count, uint64_t from)
{
    void *data = cot_malloc((size_t)count * cot_dtype_size(type));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) set(type, data, i, 2 * cot_rng_uniform(key, from + (uint64_t)i) - 1);
    return data;
}

enum { LARGEST = 1500, TOKENS = 90 };

typedef struct {
    cot_mode   mode;
    cot_matmul shape;
    cot_dtype  y_type, dx_type;  /* of y and dy; of dx */
    bool       accumulate;
} product_case;

typedef struct {
    int64_t    x_count, y_count, w_count, dx_count;
    void      *x, *w, *dy, *y, *dx, *dw;  /* results hold numbers before */
    void      *y_before, *dx_before, *dw_before;
    cot_tensor weights;
} arrays;

static arrays arrays_create(const product_case *c)
{
    const cot_matmul *s = &c->shape;
    const cot_dtype real = cot_mode_real(c->mode), act = cot_mode_act(c->mode);
    arrays            a = {.x_count = (s->x_rows ? TOKENS : s->rows) * s->in,
                           .y_count = s->rows * s->out,
                           .w_count = s->groups * s->out * s->in,
                           .dx_count = s->rows * s->in};
    a.x = uniform(act, a.x_count, 0);
    a.w = uniform(real, a.w_count, 1 << 24);
    a.dy = uniform(c->y_type, (s->y_rows ? TOKENS : s->rows) * s->out, 2 << 24);
    a.y = uniform(c->y_type, a.y_count, 3 << 24);
    a.dx = uniform(c->dx_type, a.dx_count, 4 << 24);
    a.dw = uniform(real, a.w_count, 5 << 24);
    a.y_before = uniform(c->y_type, a.y_count, 3 << 24);
    a.dx_before = uniform(c->dx_type, a.dx_count, 4 << 24);
    a.dw_before = uniform(real, a.w_count, 5 << 24);
    a.weights = (cot_tensor){.dtype = real, .rank = 3, .shape = {s->groups, s->out, s->in, 1}, .data = a.w};
    return a;
}

static void arrays_destroy(arrays *a)
{
    void *all[] = {a->x, a->w, a->dy, a->y, a->dx, a->dw, a->y_before, a->dx_before, a->dw_before};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) cot_free(all[i]);
}

static void run(const product_case *c, arrays *a)
{
    cot_tape *tape = NULL;
    assert_int_equal(cot_tape_create(c->mode, &tape), COT_OK);
    cot_tape_reset(tape, true, true, 0, 0);
    cot_matmul_forward(tape, &c->shape, a->x, &a->weights, a->y, c->y_type, c->accumulate);
    cot_matmul_back_input(tape, &c->shape, a->dy, c->y_type, &a->weights, a->dx, c->dx_type, c->accumulate);
    cot_matmul_back_weight(tape, &c->shape, a->dy, c->y_type, a->x, a->dw, c->accumulate);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    cot_tape_destroy(tape);
}

/* An operand as the product sees it: in bf16 everything is rounded on the way in. */
static double operand(const product_case *c, cot_dtype type, const void *data, int64_t i)
{
    const double value = get(type, data, i);
    return c->mode == COT_MODE_BF16 ? (double)cot_bf16_to_f32(cot_f32_to_bf16((float)value)) : value;
}

/* Sums of `terms` products of numbers below 1, plus what was there: terms + 2 roundings of at most terms + 1, half an
 * epsilon each; a bf16 result is rounded once more, twice where it is added to. */
static void near(const product_case *c, const char *what, cot_dtype type, const void *got, int64_t i, double want,
                 int64_t terms)
{
    const double epsilon = c->mode == COT_MODE_F64 ? DBL_EPSILON : FLT_EPSILON, sum = (double)terms + 1;
    const double tolerance = (sum + 1) * 0.5 * epsilon * sum + (type == COT_BF16 ? (fabs(want) + 1) / 128 : 0);
    if (!(fabs(get(type, got, i) - want) <= tolerance))
        fail_msg("%s, mode %d, %lld rows, %lld to %lld, %lld groups%s: [%lld] is %.9g, expected %.9g", what, c->mode,
                 (long long)c->shape.rows, (long long)c->shape.in, (long long)c->shape.out, (long long)c->shape.groups,
                 c->accumulate ? ", added" : "", (long long)i, get(type, got, i), want);
}

static int64_t group_of(const cot_matmul *s, int64_t row)
{
    int64_t g = 0;
    while (s->offset && row >= s->offset[g + 1]) g++;
    return g;
}

static int64_t x_at(const cot_matmul *s, int64_t r, int64_t i) { return (s->x_rows ? s->x_rows[r] : r) * s->in + i; }
static int64_t dy_at(const cot_matmul *s, int64_t r, int64_t o) { return (s->y_rows ? s->y_rows[r] : r) * s->out + o; }
static int64_t w_at(const cot_matmul *s, int64_t g, int64_t o, int64_t i) { return (g * s->out + o) * s->in + i; }

/* Every stride-th element: all of small cases, a sample of large ones. */
static int64_t stride_of(int64_t elements, int64_t terms)
{
    const int64_t stride = elements * terms / 300000;
    return stride < 1 ? 1 : stride | 1;
}

static void check_rows(const product_case *c, const arrays *a)
{
    const cot_matmul *s = &c->shape;
    const cot_dtype real = cot_mode_real(c->mode), act = cot_mode_act(c->mode);
    for (int64_t e = 0; e < a->y_count; e += stride_of(a->y_count, s->in)) {
        const int64_t r = e / s->out, o = e % s->out, g = group_of(s, r);
        double want = c->accumulate ? get(c->y_type, a->y_before, e) : 0;
        for (int64_t i = 0; i < s->in; i++)
            want += operand(c, act, a->x, x_at(s, r, i)) * operand(c, real, a->w, w_at(s, g, o, i));
        near(c, "y", c->y_type, a->y, e, want, s->in);
    }
    for (int64_t e = 0; e < a->dx_count; e += stride_of(a->dx_count, s->out)) {
        const int64_t r = e / s->in, i = e % s->in, g = group_of(s, r);
        double want = c->accumulate ? get(c->dx_type, a->dx_before, e) : 0;
        for (int64_t o = 0; o < s->out; o++)
            want += operand(c, c->y_type, a->dy, dy_at(s, r, o)) * operand(c, real, a->w, w_at(s, g, o, i));
        near(c, "dx", c->dx_type, a->dx, e, want, s->out);
    }
}

static void check_weights(const product_case *c, const arrays *a)
{
    const cot_matmul *s = &c->shape;
    const cot_dtype real = cot_mode_real(c->mode), act = cot_mode_act(c->mode);
    for (int64_t e = 0; e < a->w_count; e += stride_of(a->w_count, s->rows / s->groups)) {
        const int64_t g = e / (s->out * s->in), o = e / s->in % s->out, i = e % s->in;
        const int64_t from = s->offset ? s->offset[g] : 0, to = s->offset ? s->offset[g + 1] : s->rows;
        double want = c->accumulate ? get(real, a->dw_before, e) : 0;
        for (int64_t r = from; r < to; r++)
            want += operand(c, c->y_type, a->dy, dy_at(s, r, o)) * operand(c, act, a->x, x_at(s, r, i));
        near(c, "dW", real, a->dw, e, want, to - from);
    }
}

static void check(product_case c)
{
    arrays one = arrays_create(&c), two = arrays_create(&c);
    assert_int_equal(cot_set_threads(1), COT_OK);
    run(&c, &one);
    assert_int_equal(cot_set_threads(2), COT_OK);
    run(&c, &two);
    check_rows(&c, &one);
    check_weights(&c, &one);
    assert_memory_equal(one.y, two.y, (size_t)one.y_count * cot_dtype_size(c.y_type));
    assert_memory_equal(one.dx, two.dx, (size_t)one.dx_count * cot_dtype_size(c.dx_type));
    assert_memory_equal(one.dw, two.dw, (size_t)one.w_count * cot_dtype_size(cot_mode_real(c.mode)));
    arrays_destroy(&one);
    arrays_destroy(&two);
}

/* One shape in every combination of types and with and without adding. */
static void check_types(cot_mode mode, cot_matmul shape)
{
    const cot_dtype types[] = {cot_mode_act(mode), cot_mode_real(mode)};
    for (int i = 0; i < (mode == COT_MODE_BF16 ? 2 : 1); i++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            check((product_case){
                .mode = mode, .shape = shape, .y_type = types[i], .dx_type = types[1 - i], .accumulate = accumulate});
}

static void dense(cot_mode mode)
{
    static const int64_t shapes[][3] = {{1, 1, 1},      {1, 64, 64},    {3, 5, 7},      {32, 64, 64},
                                        {33, 65, 65},   {64, 344, 128}, {70, 17, 129},  {37, 128, 65},
                                        {130, 66, 200}, {9, 1030, 70},  {17, 70, 1090}, {1100, 24, 40}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_types(mode, (cot_matmul){.rows = shapes[i][0], .in = shapes[i][1], .out = shapes[i][2], .groups = 1});
}

static void grouped(cot_mode mode)
{
    static const int64_t offset[] = {0, 0, 1, 38, 38, 71, 135, 144, 150, 150};
    static const int64_t sizes[][2] = {{64, 128}, {65, 31}, {20, 150}};
    int32_t rows[150];
    for (int i = 0; i < 150; i++) rows[i] = (int32_t)cot_rng_below(key, (uint64_t)i, TOKENS);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int gathered = 0; gathered < 2; gathered++)
            check_types(mode, (cot_matmul){.rows = 150,
                                           .in = sizes[i][0],
                                           .out = sizes[i][1],
                                           .groups = 9,
                                           .offset = offset,
                                           .x_rows = gathered ? rows : NULL,
                                           .y_rows = gathered ? rows : NULL});
}

/* Groups on both sides of the longest piece of k. */
static void long_groups(cot_mode mode)
{
    static const int64_t offset[] = {0, 513, 1025, 1025, 2500};
    check_types(mode, (cot_matmul){.rows = 2500, .in = 20, .out = 36, .groups = 4, .offset = offset});
}

static void no_rows(void **state)
{
    (void)state;
    static const int64_t offset[] = {0, 0, 0};
    for (cot_mode mode = COT_MODE_F64; mode < COT_MODE_COUNT; mode++)
        check_types(mode, (cot_matmul){.rows = 0, .in = 20, .out = 36, .groups = 2, .offset = offset});
}

/* Panels kept with a parameter give what panels made on the way give, and follow its version. */
static void kept_panels(void **state)
{
    (void)state;
    const int64_t in = 97, out = 130;
    for (cot_mode mode = COT_MODE_F64; mode < COT_MODE_COUNT; mode++) {
        const cot_dtype act = cot_mode_act(mode);
        const cot_matmul shape = {.rows = 3, .in = in, .out = out, .groups = 1};
        cot_params *params = NULL;
        cot_param *param = NULL;
        cot_tape *tape = NULL;
        assert_int_equal(cot_params_create(cot_mode_real(mode), &params), COT_OK);
        const cot_param_spec spec = {.name = "w", .rank = 2, .shape = {out, in, 1, 1}, .init = {COT_INIT_UNIFORM, 1}};
        assert_int_equal(cot_params_add(params, &spec, &param), COT_OK);
        assert_int_equal(cot_params_allocate(params, 3), COT_OK);
        assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
        void *x = uniform(act, 3 * in, 0);
        const size_t bytes = (size_t)(3 * out) * cot_dtype_size(act);
        void *kept = cot_malloc(bytes), *made = cot_malloc(bytes);
        for (int version = 0; version < 3; version++) {
            cot_tape_reset(tape, false, false, 0, 0);
            cot_matmul_forward(tape, &shape, x, cot_tape_param(tape, param), kept, act, false);
            assert_non_null(param->packed);
            cot_tape_reset(tape, true, false, 0, 0);
            cot_matmul_forward(tape, &shape, x, cot_tape_param(tape, param), made, act, false);
            assert_int_equal(cot_tape_status(tape), COT_OK);
            assert_memory_equal(kept, made, bytes);
            set(param->value.dtype, param->value.data, version * 40, 2.5);
            param->version++;
        }
        cot_free(x);
        cot_free(kept);
        cot_free(made);
        cot_tape_destroy(tape);
        cot_params_destroy(params);
    }
}

static void f64(void **state) { (void)state; dense(COT_MODE_F64); grouped(COT_MODE_F64); long_groups(COT_MODE_F64); }
static void f32(void **state) { (void)state; dense(COT_MODE_F32); grouped(COT_MODE_F32); long_groups(COT_MODE_F32); }
static void bf16(void **state)
{
    (void)state;
    dense(COT_MODE_BF16);
    grouped(COT_MODE_BF16);
    long_groups(COT_MODE_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f64),     cmocka_unit_test(f32),         cmocka_unit_test(bf16),
        cmocka_unit_test(no_rows), cmocka_unit_test(kept_panels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
