/* The expert pool: f64 against loops over assignments and against finite differences in every input, f32 and bf16
 * against f64, drops, expert dropout, 1 and 2 threads. Run under every COTERIE_CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <coterie/runtime.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/experts_ffn.h"

enum { T = 70, D = 12, E = 5, F = 10, A = 2 * T + 3 };

static const cot_rng_key key = {.seed = 5, .stream = COT_RNG_TEST};

/* A routing with tokens of 0 to 4 choices, an expert nobody takes, and some assignments dropped. */
typedef struct {
    int64_t offset[E + 1], kept;
    int32_t order[A], row_token[A], row_of[A], token[A], expert[A];
} routing;

static routing routing_make(void)
{
    routing r = {.kept = 0};
    for (int a = 0; a < A; a++) {
        r.token[a] = (int32_t)(a < 4    ? 0
                               : a < 10 ? 1 + (a - 4) / 3
                                        : (a - 10) / 2 + 3); /* token T - 1 and others beyond have none */
        r.expert[a] =
            (int32_t)cot_rng_below(key, (uint64_t)a + 1000, E - 1) + (cot_rng_uniform(key, (uint64_t)a + 2000) < 0.5);
        if (r.expert[a] == 2) r.expert[a] = 3;
        r.row_of[a] = -1;
    }
    for (int e = 0; e < E; e++) {
        r.offset[e] = r.kept;
        for (int a = 0; a < A; a++) {
            if (r.expert[a] != e || a % 17 == 16) continue;
            r.order[r.kept] = a;
            r.row_token[r.kept] = r.token[a];
            r.row_of[a] = (int32_t)r.kept++;
        }
    }
    r.offset[E] = r.kept;
    return r;
}

enum { X, GATE, UP, DOWN, RESIDUAL, INPUTS };
static const int64_t counts[INPUTS] = {T * D, A, E * 2 * F * D, E * D * F, T * D};

/* All numbers of a case in f64. */
typedef struct {
    double in[INPUTS][E * 2 * F * D], y[T * D], d[INPUTS][E * 2 * F * D], loss;
} numbers;

static numbers *numbers_make(void)
{
    numbers *n = cot_calloc(sizeof *n);
    assert_non_null(n);
    for (int i = 0; i < INPUTS; i++)
        for (int64_t j = 0; j < counts[i]; j++) n->in[i][j] = 2 * cot_rng_uniform(key, (uint64_t)(i * 100000 + j)) - 1;
    return n;
}

static double weight_of(int64_t i)
{
    return 2 * cot_rng_uniform(key, (uint64_t)i + 900000) - 1;
} /* the loss is sum of weight * y */

static cot_dtype type_of(cot_mode mode, int input) { return input == X ? cot_mode_act(mode) : cot_mode_real(mode); }

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

typedef struct {
    cot_tensor *y, *loss;
} weigh_saved;

static void weigh_backward(cot_tape *tape, void *saved_)
{
    const weigh_saved *s = saved_;
    bool accumulate = false;
    void *dy = cot_tape_grad(tape, s->y, &accumulate);
    for (int64_t i = 0; i < T * D; i++) set(s->y->dtype, dy, i, weight_of(i));
}

static cot_tensor *weigh(cot_tape *tape, cot_tensor *y)
{
    cot_tensor *loss = cot_tape_tensor(tape, y->dtype, 1, (const int64_t[]){1}, true);
    weigh_saved *s = cot_tape_alloc(tape, sizeof *s);
    double sum = 0;
    for (int64_t i = 0; i < T * D; i++) sum += weight_of(i) * get(y->dtype, y->data, i);
    set(loss->dtype, loss->data, 0, sum);
    *s = (weigh_saved){y, loss};
    cot_tape_record(tape, weigh_backward, s, &loss, 1);
    return loss;
}

/* Runs the operation; with gradients when asked. */
static void run(cot_mode mode, const routing *r, numbers *n, double dropout, bool gradients)
{
    static const int64_t shapes[INPUTS][3] = {{T, D, 1}, {A, 1, 1}, {E, 2 * F, D}, {E, D, F}, {T, D, 1}};
    static const int ranks[INPUTS] = {2, 1, 3, 3, 2};
    cot_tape *tape = NULL;
    cot_tensor *in[INPUTS];
    assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
    cot_tape_reset(tape, gradients, true, 9, 4);
    for (int i = 0; i < INPUTS; i++) {
        in[i] = cot_tape_tensor(tape, type_of(mode, i), ranks[i], shapes[i], true);
        for (int64_t j = 0; j < counts[i]; j++) set(in[i]->dtype, in[i]->data, j, n->in[i][j]);
    }
    const cot_expert_rows rows = {.tokens = T,
                                  .experts = E,
                                  .assignments = A,
                                  .kept = r->kept,
                                  .offset = r->offset,
                                  .order = r->order,
                                  .row_token = r->row_token,
                                  .row_of = r->row_of,
                                  .token = r->token,
                                  .gate = in[GATE]};
    cot_tensor *y = cot_experts_ffn(tape, in[X], &rows, in[UP], in[DOWN], dropout, 3, in[RESIDUAL]);
    for (int64_t j = 0; j < T * D; j++) n->y[j] = get(y->dtype, y->data, j);
    cot_tensor *loss = weigh(tape, y);
    n->loss = get(loss->dtype, loss->data, 0);
    if (gradients) cot_tape_backward(tape, loss, 1);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    for (int i = 0; gradients && i < INPUTS; i++)
        for (int64_t j = 0; j < counts[i]; j++) n->d[i][j] = get(in[i]->dtype, in[i]->grad, j);
    cot_tape_destroy(tape);
}

static double silu(double g) { return g / (1 + exp(-g)); }

static void naive(const routing *r, numbers *n)
{
    memcpy(n->y, n->in[RESIDUAL], sizeof n->y);
    for (int a = 0; a < A; a++) {
        if (r->row_of[a] < 0) continue;
        const double *x = n->in[X] + r->token[a] * D, *up = n->in[UP] + r->expert[a] * 2 * F * D,
                     *down = n->in[DOWN] + r->expert[a] * D * F;
        double h[F];
        for (int f = 0; f < F; f++) {
            double g = 0, u = 0;
            for (int i = 0; i < D; i++) {
                g += up[f * D + i] * x[i];
                u += up[(F + f) * D + i] * x[i];
            }
            h[f] = silu(g) * u;
        }
        for (int i = 0; i < D; i++)
            for (int f = 0; f < F; f++) n->y[r->token[a] * D + i] += n->in[GATE][a] * down[i * F + f] * h[f];
    }
}

static double largest(const double *values, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

static void near(const char *what, const double *got, const double *want, int64_t count, double relative)
{
    const double tolerance = relative * largest(want, count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance))
            fail_msg("%s[%lld] is %.12g, expected %.12g within %.3g", what, (long long)i, got[i], want[i], tolerance);
}

/* Some 30 roundings on the longest path of sums, so 1e-13 of the largest value is generous in f64. */
static void matches_loops(void **state)
{
    (void)state;
    const routing r = routing_make();
    numbers *got = numbers_make(), *want = numbers_make();
    run(COT_MODE_F64, &r, got, 0, false);
    naive(&r, want);
    near("y", got->y, want->y, T * D, 1e-13);
    cot_free(got);
    cot_free(want);
}

/* Central differences of step 1e-5: the error is of third derivatives, some 1e-10, and of rounding, 1e-16 * |loss| /
 * 1e-5. */
static void finite_differences(double dropout)
{
    static const char *const names[INPUTS] = {"dx", "dgate", "dgate_up", "ddown", "dresidual"};
    const routing r = routing_make();
    numbers *n = numbers_make(), *side = numbers_make();
    const double step = 1e-5;
    assert_int_equal(cot_set_threads(1), COT_OK);
    run(COT_MODE_F64, &r, n, dropout, true);
    for (int i = 0; i < INPUTS; i++) {
        const double scale = largest(n->d[i], counts[i]);
        assert_true(scale > 0);
        for (int64_t j = 0; j < counts[i]; j += counts[i] > 200 ? 11 : 3) {
            const double value = side->in[i][j];
            side->in[i][j] = value + step;
            run(COT_MODE_F64, &r, side, dropout, false);
            const double above = side->loss;
            side->in[i][j] = value - step;
            run(COT_MODE_F64, &r, side, dropout, false);
            side->in[i][j] = value;
            const double want = (above - side->loss) / (2 * step);
            if (!(fabs(n->d[i][j] - want) <= 1e-7 * scale))
                fail_msg("%s[%lld] is %.12g, expected %.12g", names[i], (long long)j, n->d[i][j], want);
        }
    }
    cot_free(n);
    cot_free(side);
}

static void gradients(void **state) { (void)state; finite_differences(0); }
static void gradients_with_dropout(void **state) { (void)state; finite_differences(0.3); }

/* f32 rounds some 30 times at 6e-8; bf16 rounds x, both layers' weights, gu, h and the outputs at 4e-3 each. */
static void other_modes(void **state)
{
    (void)state;
    static const double relative[COT_MODE_COUNT] = {0, 5e-6, 4e-2};
    const routing r = routing_make();
    numbers *want = numbers_make(), *got = numbers_make();
    for (cot_mode mode = COT_MODE_F32; mode < COT_MODE_COUNT; mode++)
        for (int dropped = 0; dropped < 2; dropped++) {
            run(COT_MODE_F64, &r, want, dropped * 0.3, true);
            run(mode, &r, got, dropped * 0.3, true);
            near("y", got->y, want->y, T * D, relative[mode]);
            for (int i = 0; i < INPUTS; i++) near("gradient", got->d[i], want->d[i], counts[i], relative[mode]);
        }
    cot_free(want);
    cot_free(got);
}

static void threads_agree(void **state)
{
    (void)state;
    const routing r = routing_make();
    numbers *one = numbers_make(), *two = numbers_make();
    for (cot_mode mode = COT_MODE_F64; mode < COT_MODE_COUNT; mode++) {
        assert_int_equal(cot_set_threads(1), COT_OK);
        run(mode, &r, one, 0.1, true);
        assert_int_equal(cot_set_threads(2), COT_OK);
        run(mode, &r, two, 0.1, true);
        assert_memory_equal(one, two, sizeof *one);
    }
    cot_free(one);
    cot_free(two);
}

static void bad_shapes(void **state)
{
    (void)state;
    const routing r = routing_make();
    cot_tape *tape = NULL;
    assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
    cot_tape_reset(tape, false, false, 0, 0);
    cot_tensor *x = cot_tape_matrix(tape, COT_F32, T, D + 1, false),
               *gate = cot_tape_tensor(tape, COT_F32, 1, (const int64_t[]){A}, false);
    cot_tensor *up = cot_tape_tensor(tape, COT_F32, 3, (const int64_t[]){E, 2 * F, D}, false);
    cot_tensor *down = cot_tape_tensor(tape, COT_F32, 3, (const int64_t[]){E, D, F}, false);
    const cot_expert_rows rows = {.tokens = T,
                                  .experts = E,
                                  .assignments = A,
                                  .kept = r.kept,
                                  .offset = r.offset,
                                  .order = r.order,
                                  .row_token = r.row_token,
                                  .row_of = r.row_of,
                                  .token = r.token,
                                  .gate = gate};
    cot_experts_ffn(tape, x, &rows, up, down, 0, 0, NULL);
    assert_int_equal(cot_tape_status(tape), COT_SHAPE_MISMATCH);
    cot_tape_destroy(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_loops), cmocka_unit_test(gradients),     cmocka_unit_test(gradients_with_dropout),
        cmocka_unit_test(other_modes),   cmocka_unit_test(threads_agree), cmocka_unit_test(bad_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
