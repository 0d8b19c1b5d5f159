/* Tables that learn by touched row: with every row touched in every step the same as a dense table; other rows and their
 * moments stay as they are; the number of threads does not matter; whole models resume bit for bit (see test_trainer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include <coterie/config.h>
#include <coterie/runtime.h>

#include "base/rng.h"
#include "tensor/params.h"
#include "training/optimizers/row_updates.h"

enum { ROWS = 300, WIDTH = 24, ENTRIES = 900, VECTORS = 50, STEPS = 4 };

static double draw(uint64_t seed, int64_t i) { return cot_rng_normal((cot_rng_key){.seed = seed, .stream = COT_RNG_TEST}, (uint64_t)i); }

typedef struct {
    cot_params    *params;
    cot_param     *dense, *table;
    cot_row_grads *rows;
    cot_optimizer *optimizer;
} twins;

/* Two tables that start the same; one of them learns by touched row. */
static void set_up(twins *w, const char *optimizer)
{
    cot_config *spec;
    const cot_param_spec dense = {.name = "dense", .rank = 2, .shape = {ROWS, WIDTH}};
    const cot_param_spec table = {.name = "table", .rank = 2, .shape = {ROWS, WIDTH}, .update = COT_UPDATE_TOUCHED_ROWS};
    assert_int_equal(cot_params_create(COT_F32, &w->params), COT_OK);
    assert_int_equal(cot_params_add(w->params, &dense, &w->dense), COT_OK);
    assert_int_equal(cot_params_add(w->params, &table, &w->table), COT_OK);
    assert_int_equal(cot_row_grads_create(COT_F32, WIDTH, &w->rows), COT_OK);
    w->table->rows = w->rows;
    w->table->rows_term = 1;
    assert_int_equal(cot_params_allocate(w->params, 1), COT_OK);
    assert_int_equal(cot_params_allocate_grads(w->params), COT_OK);
    assert_null(w->table->value.grad);
    for (int64_t i = 0; i < ROWS * WIDTH; i++)
        ((float *)w->dense->value.data)[i] = ((float *)w->table->value.data)[i] = (float)draw(1, i);
    assert_int_equal(cot_config_parse(optimizer, "test", &spec), COT_OK);
    assert_int_equal(cot_optimizer_create(spec, w->params, 1, &w->optimizer), COT_OK);
    cot_config_destroy(spec);
}

static void take_down(twins *w)
{
    cot_optimizer_destroy(w->optimizer);
    cot_row_grads_destroy(w->rows);
    cot_params_destroy(w->params);
}

/* Entries for the table, in two passes, and their sum for the dense twin. Rows from `least` on are touched, all of them. */
static void give_gradients(twins *w, uint64_t seed, int32_t least)
{
    float *dense = w->dense->value.grad;
    cot_params_clear_grads(w->params);
    memset(dense, 0, ROWS * WIDTH * sizeof *dense);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(cot_row_grads_append(w->rows, ENTRIES / 2, VECTORS), COT_OK);
        float *scale = w->rows->scale[1], *data = w->rows->data[1];
        for (int64_t i = pass * VECTORS * WIDTH; i < (pass + 1) * VECTORS * WIDTH; i++) data[i] = (float)draw(seed + 1, i);
        for (int64_t e = pass * ENTRIES / 2; e < (pass + 1) * ENTRIES / 2; e++) {
            w->rows->row[e] = least + (int32_t)(e * 7919 % (ROWS - least));
            w->rows->vector[e] = (int32_t)(pass * VECTORS + e % VECTORS);
            scale[e] = (float)draw(seed + 2, e);
            for (int64_t j = 0; j < WIDTH; j++) dense[w->rows->row[e] * WIDTH + j] += scale[e] * data[w->rows->vector[e] * WIDTH + j];
        }
    }
    w->dense->grad_fresh = false;
}

static void check_dense(const char *optimizer)
{
    static float one[ROWS * WIDTH];
    for (int threads = 1; threads <= 2; threads++) {
        twins w;
        assert_int_equal(cot_set_threads(threads), COT_OK);
        set_up(&w, optimizer);
        for (int64_t step = 1; step <= STEPS; step++) {
            give_gradients(&w, 10 * (uint64_t)step, 0);
            cot_optimizer_step(w.optimizer, 1, step, 0.5);
        }
        const float *dense = w.dense->value.data, *table = w.table->value.data;
        for (int64_t i = 0; i < ROWS * WIDTH; i++) assert_true(fabsf(dense[i] - table[i]) <= 2e-6f * fmaxf(1, fabsf(dense[i])));
        if (threads == 1) memcpy(one, table, sizeof one);
        else assert_memory_equal(one, table, sizeof one);
        take_down(&w);
    }
}

static void equals_a_dense_table_when_all_is_touched(void **state)
{
    (void)state;
    check_dense("{kind: adamw, lr: 0.01, weight_decay: 0.1}");
    check_dense("{kind: adagrad, lr: 0.01, weight_decay: 0.1}");
}

/* One element, by hand: s = 0.25, 0.5; w = 1 - 0.1 * 0.5 / 0.5 - 0.1 * -0.5 / sqrt(0.5). */
static void adagrad_says_the_worked_case(void **state)
{
    (void)state;
    float w = 1, s = 0;
    const float gradients[] = {1, -1};
    for (int i = 0; i < 2; i++) cot_update_kernels_for(COT_MODE_F32)->adagrad(0, 1, 0.1, 0, 0, 0.5, &w, &gradients[i], &s);
    assert_true(fabsf(s - 0.5f) < 1e-6f && fabsf(w - 0.9707107f) < 1e-6f);
}

/* The sum of squares of a table's gradient is that of the dense one, in any number of threads. */
static void norms_of_tables(void **state)
{
    (void)state;
    double first = 0;
    for (int threads = 1; threads <= 2; threads++) {
        twins w;
        cot_tape *tape;
        double want = 0;
        assert_int_equal(cot_set_threads(threads), COT_OK);
        assert_int_equal(cot_tape_create(COT_MODE_F32, &tape), COT_OK);
        set_up(&w, "{kind: adamw}");
        give_gradients(&w, 3, 100);
        for (int64_t i = 0; i < ROWS * WIDTH; i++) want += (double)((float *)w.dense->value.grad)[i] * (double)((float *)w.dense->value.grad)[i];
        const double got = cot_rows_sum_squares(tape, w.table);
        assert_true(fabs(got - want) <= 1e-5 * want);
        if (threads == 1) first = got;
        else assert_true(got == first);
        cot_tape_destroy(tape);
        take_down(&w);
    }
}

static void other_rows_stay(void **state)
{
    (void)state;
    const char *const optimizers[] = {"{kind: adamw, lr: 0.01, weight_decay: 0.1}", "{kind: muon, lr: 0.01, weight_decay: 0.1}",
                                     "{kind: adagrad, lr: 0.01, weight_decay: 0.1}"};
    static float before[ROWS * WIDTH];
    for (int i = 0; i < 3; i++) {
        twins w;
        set_up(&w, optimizers[i]);
        memcpy(before, w.table->value.data, sizeof before);
        give_gradients(&w, 5, 100);
        cot_optimizer_step(w.optimizer, 1, 1, 1);
        const float *after = w.table->value.data;
        assert_memory_equal(before, after, 100 * WIDTH * sizeof *before);
        for (int64_t r = 100; r < ROWS; r++) assert_memory_not_equal(before + r * WIDTH, after + r * WIDTH, WIDTH * sizeof *before);
        take_down(&w);
    }
}

static void optimizers_that_cannot_say_so(void **state)
{
    (void)state;
    twins w;
    cot_config *spec;
    set_up(&w, "{kind: adamw}");
    assert_int_equal(cot_config_parse("{kind: adafactor}", "recipe.yaml", &spec), COT_OK);
    assert_int_equal(cot_optimizer_check(spec, w.params), COT_INVALID);
    assert_non_null(strstr(cot_last_error(), "cannot update 'table' by touched row"));
    cot_config_destroy(spec);
    take_down(&w);
}

static void sorting_is_stable(void **state)
{
    (void)state;
    cot_row_grads *g;
    const int32_t rows[] = {5, 70000, 5, 0, 70000, 5, 4000000};
    assert_int_equal(cot_row_grads_create(COT_F32, 1, &g), COT_OK);
    assert_int_equal(cot_row_grads_append(g, 7, 1), COT_OK);
    memcpy(g->row, rows, sizeof rows);
    cot_row_grads_sort(g);
    const int32_t order[] = {3, 0, 2, 5, 1, 4, 6}, touched[] = {0, 5, 70000, 4000000};
    const int64_t start[] = {0, 1, 4, 6, 7};
    assert_int_equal(g->touched_count, 4);
    assert_memory_equal(g->order, order, sizeof order);
    assert_memory_equal(g->touched, touched, sizeof touched);
    assert_memory_equal(g->start, start, sizeof start);
    cot_row_grads_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_a_dense_table_when_all_is_touched),
        cmocka_unit_test(adagrad_says_the_worked_case),
        cmocka_unit_test(norms_of_tables),
        cmocka_unit_test(other_rows_stay),
        cmocka_unit_test(optimizers_that_cannot_say_so),
        cmocka_unit_test(sorting_is_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
