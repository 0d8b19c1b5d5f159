/* Optimizers against their formulas in plain double arithmetic, schedules at hand-worked steps, groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "training/optimizers/matrices.h"
#include "training/optimizers/optimizer.h"
#include "training/schedules/schedule.h"

enum { R = 6, C = 10, STEPS = 5 };

static double draw(uint64_t seed, int64_t i) { return cot_rng_normal((cot_rng_key){.seed = seed, .stream = COT_RNG_TEST}, (uint64_t)i); }

typedef struct {
    cot_params    *params;
    cot_param     *matrix, *vector;
    cot_optimizer *optimizer;
} fixture;

static cot_config *config_of(const char *text)
{
    cot_config *config;
    if (cot_config_parse(text, "test", &config) != COT_OK) fail_msg("%s", cot_last_error());
    return config;
}

/* A matrix "layers.0.w" [R, C] and a vector "norm" [C] in f64, filled with draws. */
static fixture make(const char *spec)
{
    fixture f;
    cot_param_spec matrix = {.name = "layers.0.w", .rank = 2, .shape = {R, C}}, vector = {.name = "norm", .rank = 1, .shape = {C}, .no_decay = true};
    assert_int_equal(cot_params_create(COT_F64, &f.params), COT_OK);
    assert_int_equal(cot_params_add(f.params, &matrix, &f.matrix), COT_OK);
    assert_int_equal(cot_params_add(f.params, &vector, &f.vector), COT_OK);
    assert_int_equal(cot_params_allocate(f.params, 1), COT_OK);
    assert_int_equal(cot_params_allocate_grads(f.params), COT_OK);
    for (int i = 0; i < R * C; i++) ((double *)f.matrix->value.data)[i] = draw(1, i);
    for (int i = 0; i < C; i++) ((double *)f.vector->value.data)[i] = draw(2, i);
    cot_config *config = config_of(spec);
    if (cot_optimizer_create(config, f.params, 1, &f.optimizer) != COT_OK) fail_msg("%s", cot_last_error());
    cot_config_destroy(config);
    return f;
}

static void unmake(fixture *f)
{
    cot_optimizer_destroy(f->optimizer);
    cot_params_destroy(f->params);
}

static double gradient(int step, int64_t i) { return draw(100 + (uint64_t)step, i); }

static void step_with_draws(fixture *f, int step, double factor, double scale)
{
    for (int i = 0; i < R * C; i++) ((double *)f->matrix->value.grad)[i] = gradient(step, i);
    for (int i = 0; i < C; i++) ((double *)f->vector->value.grad)[i] = gradient(step, 1000 + i);
    cot_optimizer_step(f->optimizer, factor, step, scale);
}

/* Decoupled decay on the matrix, none on the vector; bias correction; clipping scales the gradient first. */
static void adamw_follows_its_formula(void **state)
{
    (void)state;
    fixture f = make("{kind: adamw, lr: 0.01, weight_decay: 0.3, beta1: 0.8, beta2: 0.9, eps: 1e-6}");
    double w[R * C], m[R * C] = {0}, v[R * C] = {0}, u[C], mu[C] = {0}, vu[C] = {0};
    for (int i = 0; i < R * C; i++) w[i] = draw(1, i);
    for (int i = 0; i < C; i++) u[i] = draw(2, i);
    for (int step = 1; step <= STEPS; step++) {
        const double lr = 0.01 * 0.5, c1 = 1 - pow(0.8, step), c2 = 1 - pow(0.9, step);
        step_with_draws(&f, step, 0.5, 0.7);
        for (int i = 0; i < R * C; i++) {
            const double g = 0.7 * gradient(step, i);
            m[i] = 0.8 * m[i] + 0.2 * g, v[i] = 0.9 * v[i] + 0.1 * g * g;
            w[i] = w[i] * (1 - lr * 0.3) - lr * (m[i] / c1) / (sqrt(v[i] / c2) + 1e-6);
        }
        for (int i = 0; i < C; i++) {
            const double g = 0.7 * gradient(step, 1000 + i);
            mu[i] = 0.8 * mu[i] + 0.2 * g, vu[i] = 0.9 * vu[i] + 0.1 * g * g;
            u[i] -= lr * (mu[i] / c1) / (sqrt(vu[i] / c2) + 1e-6);
        }
    }
    for (int i = 0; i < R * C; i++) assert_true(fabs(((double *)f.matrix->value.data)[i] - w[i]) < 1e-13);
    for (int i = 0; i < C; i++) assert_true(fabs(((double *)f.vector->value.data)[i] - u[i]) < 1e-13);
    unmake(&f);
}

static void sgd_follows_its_formula(void **state)
{
    (void)state;
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        fixture f = make(nesterov ? "{kind: sgd, lr: 0.1, momentum: 0.6, nesterov: true, weight_decay: 0.2}" : "{kind: sgd, lr: 0.1, momentum: 0.6, weight_decay: 0.2}");
        double w[R * C], m[R * C] = {0};
        for (int i = 0; i < R * C; i++) w[i] = draw(1, i);
        for (int step = 1; step <= STEPS; step++) {
            step_with_draws(&f, step, 1, 1);
            for (int i = 0; i < R * C; i++) {
                const double g = gradient(step, i);
                m[i] = 0.6 * m[i] + g;
                w[i] = w[i] * (1 - 0.1 * 0.2) - 0.1 * (nesterov ? g + 0.6 * m[i] : m[i]);
            }
        }
        for (int i = 0; i < R * C; i++) assert_true(fabs(((double *)f.matrix->value.data)[i] - w[i]) < 1e-13);
        unmake(&f);
    }
}

/* The matrix from row and column averages, written out; b = 1 - step^-0.8 is 0 at the first step. */
static void adafactor_follows_its_formula(void **state)
{
    (void)state;
    fixture f = make("{kind: adafactor, lr: 0.02, clip_threshold: 0.5}");
    double w[R][C], row[R] = {0}, column[C] = {0};
    for (int i = 0; i < R * C; i++) w[i / C][i % C] = draw(1, i);
    for (int step = 1; step <= STEPS; step++) {
        const double b = 1 - pow(step, -0.8);
        double u[R][C], squares = 0, size = 0, mean = 0;
        step_with_draws(&f, step, 1, 1);
        for (int r = 0; r < R; r++) {
            double sum = 0;
            for (int c = 0; c < C; c++) sum += pow(gradient(step, r * C + c), 2) + 1e-30;
            row[r] = b * row[r] + (1 - b) * sum / C;
            mean += row[r] / R;
        }
        for (int c = 0; c < C; c++) {
            double sum = 0;
            for (int r = 0; r < R; r++) sum += pow(gradient(step, r * C + c), 2) + 1e-30;
            column[c] = b * column[c] + (1 - b) * sum / R;
        }
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                u[r][c] = gradient(step, r * C + c) / sqrt(row[r] * column[c] / mean);
                squares += u[r][c] * u[r][c];
                size += w[r][c] * w[r][c];
            }
        const double clip = fmax(1, sqrt(squares / (R * C)) / 0.5), scale = fmax(1e-3, sqrt(size / (R * C)));
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) w[r][c] -= 0.02 * scale / clip * u[r][c];
    }
    for (int i = 0; i < R * C; i++) assert_true(fabs(((double *)f.matrix->value.data)[i] - w[i / C][i % C]) < 1e-12);
    unmake(&f);
}

/* Newton-Schulz written out with plain loops on X [R, C]. */
static void newton_schulz(double x[R][C])
{
    for (int round = 0; round < 5; round++) {
        double a[R][R], b[R][R], next[R][C];
        for (int i = 0; i < R; i++)
            for (int j = 0; j < R; j++) {
                a[i][j] = 0;
                for (int p = 0; p < C; p++) a[i][j] += x[i][p] * x[j][p];
            }
        for (int i = 0; i < R; i++)
            for (int j = 0; j < R; j++) {
                b[i][j] = -4.7750 * a[i][j];
                for (int p = 0; p < R; p++) b[i][j] += 2.0315 * a[i][p] * a[p][j];
            }
        for (int i = 0; i < R; i++)
            for (int j = 0; j < C; j++) {
                next[i][j] = 3.4445 * x[i][j];
                for (int p = 0; p < R; p++) next[i][j] += b[i][p] * x[p][j];
            }
        memcpy(x, next, sizeof next);
    }
}

static void muon_follows_its_formula(void **state)
{
    (void)state;
    fixture f = make("{kind: muon, lr: 0.01, momentum: 0.9, weight_decay: 0.1}");
    double w[R][C], m[R][C] = {{0}};
    for (int i = 0; i < R * C; i++) w[i / C][i % C] = draw(1, i);
    for (int step = 1; step <= STEPS; step++) {
        double x[R][C], squares = 0;
        step_with_draws(&f, step, 1, 1);
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) {
                m[r][c] = 0.9 * m[r][c] + gradient(step, r * C + c);
                x[r][c] = gradient(step, r * C + c) + 0.9 * m[r][c];
                squares += x[r][c] * x[r][c];
            }
        for (int i = 0; i < R * C; i++) x[i / C][i % C] /= sqrt(squares);
        newton_schulz(x);
        for (int i = 0; i < R * C; i++) w[i / C][i % C] = w[i / C][i % C] * (1 - 0.01 * 0.1) - 0.01 * 0.2 * sqrt(C) * x[i / C][i % C];
    }
    for (int i = 0; i < R * C; i++) assert_true(fabs(((double *)f.matrix->value.data)[i] - w[i / C][i % C]) < 1e-10);
    unmake(&f);
}

/* q, k, v and experts are matrices of their own: views tile the parameter without gap or overlap. */
static void joined_matrices_are_told_apart(void **state)
{
    (void)state;
    cot_param stack = {.value = {.rank = 3, .shape = {3, 8, 5, 1}}, .spec = {.row_parts = 2, .row_part = {4, 4}}};
    cot_param joined = {.value = {.rank = 2, .shape = {12, 5, 1, 1}}, .spec = {.row_parts = 3, .row_part = {6, 3, 3}}};
    const cot_param *params[] = {&stack, &joined};
    const int64_t counts[] = {6, 3};
    for (int p = 0; p < 2; p++) {
        int64_t next = 0;
        assert_int_equal(cot_matrix_count(params[p]), counts[p]);
        for (int64_t i = 0; i < counts[p]; i++) {
            const cot_matrix_view view = cot_matrix_at(params[p], i);
            assert_int_equal(view.offset, next);
            assert_int_equal(view.columns, 5);
            next += view.rows * view.columns;
        }
        assert_int_equal(next, cot_tensor_count(&params[p]->value));
    }
}

static void groups_set_rates(void **state)
{
    (void)state;
    fixture f = make("{kind: sgd, lr: 1, momentum: 0, groups: [{match: 'layers.*', lr_scale: 0.5, weight_decay: 0}, {match: norm, lr_scale: 0}, {match: ~, lr_scale: 7}]}");
    step_with_draws(&f, 1, 1, 1);
    for (int i = 0; i < R * C; i++) assert_true(fabs(((double *)f.matrix->value.data)[i] - (draw(1, i) - 0.5 * gradient(1, i))) < 1e-14);
    for (int i = 0; i < C; i++) assert_true(((double *)f.vector->value.data)[i] == draw(2, i));
    unmake(&f);
}

static void schedules_at_hand_worked_steps(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int64_t     step;
        double      want;
    } cases[] = {
        {"{kind: constant, warmup: 10}", 5, 0.5},
        {"{kind: constant, warmup: 10}", 50, 1},
        {"{kind: cosine, warmup: 10, min_ratio: 0.1}", 10, 1},
        {"{kind: cosine, warmup: 10, min_ratio: 0.1}", 55, 0.55},  /* half way between: (1 + 0.1) / 2 */
        {"{kind: cosine, warmup: 10, min_ratio: 0.1}", 100, 0.1},
        {"{kind: cosine, warmup: 0.1}", 5, 0.5},                   /* a share of the 100 steps */
        {"{kind: wsd, warmup: 10, decay: 0.2}", 80, 1},
        {"{kind: wsd, warmup: 10, decay: 0.2}", 90, 0.5},
        {"{kind: wsd, warmup: 10, decay: 0.2}", 100, 0},
        {"{kind: inverse_sqrt, warmup: 25}", 100, 0.5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_schedule *schedule;
        cot_config *config = config_of(cases[i].spec);
        assert_int_equal(cot_schedule_create(config, &schedule), COT_OK);
        const double got = cot_schedule_factor(schedule, cases[i].step, 100);
        if (fabs(got - cases[i].want) > 1e-12) fail_msg("%s at %lld: %g, expected %g", cases[i].spec, (long long)cases[i].step, got, cases[i].want);
        cot_schedule_destroy(schedule);
        cot_config_destroy(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw_follows_its_formula),      cmocka_unit_test(sgd_follows_its_formula),
        cmocka_unit_test(adafactor_follows_its_formula),  cmocka_unit_test(muon_follows_its_formula),
        cmocka_unit_test(joined_matrices_are_told_apart), cmocka_unit_test(groups_set_rates),
        cmocka_unit_test(schedules_at_hand_worked_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
