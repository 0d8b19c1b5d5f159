/* Tables of rows in bf16: rounding at random is unbiased, so small updates arrive and second moments decay in expectation;
 * runs reach the loss of f32 rows, are the same on any number of threads and resumed, and their files keep the bits. */
#define _GNU_SOURCE
#include "training/run_fixture.h"

#include <math.h>

#include <coterie/runtime.h>

#include "ops/values.h"
#include "training/optimizers/row_updates.h"
#include "training/room.h"

enum { ROWS = 256, WIDTH = 64, COUNT = ROWS * WIDTH };

/* The mean of many roundings is the number: its error is at most five standard deviations, sd = ulp sqrt(p (1 - p) / n).
 * Representable numbers stay; both signs. */
static void rounding_is_unbiased(void **state)
{
    (void)state;
    const cot_mode modes[] = {COT_MODE_F32, COT_MODE_BF16};
    const double ulp = 1.0 / 128, parts[] = {0, 0.001, 0.25, 0.5, 0.9};
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            for (int sign = -1; sign <= 1; sign += 2) {
                float from[WIDTH];
                cot_bf16 to[WIDTH];
                double sum = 0;
                for (int j = 0; j < WIDTH; j++) from[j] = (float)(sign * (1 + parts[i] * ulp));
                for (uint32_t row = 0; row < 1024; row++) {
                    uint32_t random[4];
                    cot_rng_bits((cot_rng_key){.seed = 7, .stream = COT_RNG_TEST}, row, random);
                    cot_update_kernels_for(modes[m])->round(WIDTH, from, (cot_rounding){random[0], random[3]}, to);
                    for (int j = 0; j < WIDTH; j++) sum += (double)cot_bf16_to_f32(to[j]);
                }
                const double n = 1024.0 * WIDTH, error = fabs(sum / n - (double)from[0]);
                assert_true(error <= 5 * ulp * sqrt(parts[i] * (1 - parts[i]) / n) + 1e-7);
            }
}

static void what_is_no_number_stays(void **state)
{
    (void)state;
    float from[3] = {INFINITY, -INFINITY, NAN};
    cot_bf16 to[3];
    cot_update_kernels_for(COT_MODE_F32)->round(3, from, (cot_rounding){~0u, ~0u}, to);
    assert_true(cot_bf16_to_f32(to[0]) == INFINITY && cot_bf16_to_f32(to[1]) == -INFINITY && isnan(cot_bf16_to_f32(to[2])));
}

typedef struct {
    cot_params    *params;
    cot_param     *table;
    cot_row_grads *grads;
    cot_optimizer *optimizer;
} bench;

static void set_up(bench *b, const char *optimizer, double value)
{
    cot_config *spec;
    const cot_param_spec table = {.name = "table", .rank = 2, .shape = {ROWS, WIDTH}, .update = COT_UPDATE_TOUCHED_ROWS, .bf16 = true};
    assert_int_equal(cot_params_create(COT_F32, &b->params), COT_OK);
    assert_int_equal(cot_params_add(b->params, &table, &b->table), COT_OK);
    assert_int_equal(cot_row_grads_create(COT_F32, WIDTH, &b->grads), COT_OK);
    b->table->rows = b->grads;
    b->table->rows_term = COT_ROW_WRITES;
    assert_int_equal(cot_params_allocate(b->params, 1), COT_OK);
    assert_int_equal(cot_config_parse(optimizer, "test", &spec), COT_OK);
    assert_int_equal(cot_optimizer_create(spec, b->params, 1, &b->optimizer), COT_OK);
    cot_config_destroy(spec);
    for (int64_t i = 0; i < COUNT; i++) cot_value_set(b->table->value.data, COT_BF16, i, value);
}

/* A step in which every row has the same gradient in every element. */
static void step(bench *b, int64_t at, float gradient)
{
    cot_params_clear_grads(b->params);
    assert_int_equal(cot_row_grads_append(b->grads, ROWS, 1), COT_OK);
    for (int32_t r = 0; r < ROWS; r++) {
        b->grads->row[r] = r;
        b->grads->vector[r] = 0;
        ((float *)b->grads->scale[COT_ROW_WRITES])[r] = gradient;
    }
    for (int i = 0; i < WIDTH; i++) ((float *)b->grads->data[1])[i] = 1;
    cot_optimizer_step(b->optimizer, 1, at, 1);
}

static double mean(const void *data)
{
    double sum = 0;
    for (int64_t i = 0; i < COUNT; i++) sum += cot_value_at(data, COT_BF16, i);
    return sum / COUNT;
}

static void take_down(bench *b)
{
    cot_optimizer_destroy(b->optimizer);
    cot_row_grads_destroy(b->grads);
    cot_params_destroy(b->params);
}

/* Adam's steps of 1e-5 at 1, where bf16 numbers lie 1/256 and 1/128 apart: rounding to the nearest would lose all of them.
 * 200 steps make 0.002. An element's standard deviation is at most sqrt(200 * 1e-5 / 128) = 0.004, the mean's 3.1e-5. */
static void small_updates_arrive(void **state)
{
    (void)state;
    bench b;
    set_up(&b, "{kind: adamw, lr: 1e-5, weight_decay: 0}", 1);
    for (int64_t i = 1; i <= 200; i++) step(&b, i, 1);
    assert_true(fabs(mean(b.table->value.data) - (1 - 200 * 1e-5)) < 5 * 3.1e-5);
    take_down(&b);
}

/* By 0.1 % a step, from 1; rounding to the nearest would keep 1. After 300 steps 0.7407; an element's variance is at most
 * the sum of 0.001 / 256 over steps, its standard deviation 0.034, the mean's 2.7e-4. */
static void second_moments_decay(void **state)
{
    (void)state;
    bench b;
    set_up(&b, "{kind: adamw, lr: 0, beta2: 0.999}", 1);
    cot_bf16 *second = b.optimizer->slots[0].slot[1];
    for (int64_t i = 0; i < COUNT; i++) second[i] = cot_f32_to_bf16(1);
    for (int64_t i = 1; i <= 300; i++) step(&b, i, 0);
    assert_true(fabs(mean(second) - pow(0.999, 300)) < 5 * 2.7e-4);
    assert_true(mean(b.table->value.data) == 1);  /* a step of nothing moves nothing */
    take_down(&b);
}

/* ---- whole runs ---- */

#define PEER "model.layers.0.ffn={kind: sparse, router: {kind: product_key, heads: 2, top_k: 4, query_dim: 8}, experts: {kind: neuron, num_experts: 256, storage: %s}}"

typedef struct {
    char        peer[256];
    const char *list[4];
} changes;

static changes peer(const char *storage, const char *steps)
{
    changes c;
    snprintf(c.peer, sizeof c.peer, PEER, storage);
    memcpy(c.list, (const char *[]){NULL, steps, "model.dropout=0", NULL}, sizeof c.list);
    return c;
}

/* Mean of the last hundred of 500 steps. */
static double learn(const char *folder, const char *storage)
{
    static double loss[500];
    changes c = peer(storage, "train.steps=500");
    c.list[0] = c.peer;
    cot_trainer *trainer = start(folder, NULL, c.list);
    go(trainer, 500, loss);
    cot_trainer_destroy(trainer);
    double sum = 0;
    for (int i = 400; i < 500; i++) sum += loss[i] / 100;
    return sum;
}

static void loss_is_that_of_f32(void **state)
{
    const double f32 = learn(*state, "f32"), bf16 = learn(*state, "bf16");
    assert_true(f32 < 3 && fabs(bf16 - f32) <= 0.01 * f32);
}

static float *run_on(const char *folder, int threads, double *loss, size_t *count)
{
    changes c = peer("bf16", "train.steps=6");
    c.list[0] = c.peer;
    assert_int_equal(cot_set_threads(threads), COT_OK);
    cot_trainer *trainer = start(folder, NULL, c.list);
    go(trainer, STEPS, loss);
    float *all = parameters(trainer, count);
    cot_trainer_destroy(trainer);
    return all;
}

static void threads_do_not_matter(void **state)
{
    double loss[2][STEPS];
    size_t count;
    float *one = run_on(*state, 1, loss[0], &count), *two = run_on(*state, 2, loss[1], &count);
    assert_memory_equal(loss[0], loss[1], sizeof loss[0]);
    assert_memory_equal(one, two, count * sizeof *one);
    free(one);
    free(two);
}

/* Also: the model folder holds the same bits, in bf16. */
static void files_keep_the_bits(void **state)
{
    char run[512];
    double loss[STEPS], later[STEPS];
    size_t count, resumed_count;
    float *whole = run_on(*state, 2, loss, &count);
    changes c = peer("bf16", "train.steps=6");
    c.list[0] = c.peer;
    snprintf(run, sizeof run, "%s/rows", (const char *)*state);
    cot_trainer *trainer = start(*state, run, c.list);
    go(trainer, 3, later);
    assert_int_equal(cot_trainer_save(trainer), COT_OK);
    cot_trainer_destroy(trainer);
    if (cot_trainer_resume(run, NULL, 0, NULL, NULL, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
    go(trainer, STEPS - 3, later + 3);
    float *resumed = parameters(trainer, &resumed_count);
    assert_memory_equal(loss, later, sizeof loss);
    assert_int_equal(count, resumed_count);
    assert_memory_equal(whole, resumed, count * sizeof *whole);
    cot_model *model;
    if (cot_model_load(run, &model, NULL) != COT_OK) fail_msg("%s", cot_last_error());
    const cot_param *saved = cot_params_find(model->params, "layers.1.ffn.experts.up");
    const cot_param *trained = cot_params_find(trainer->plan->model->params, "layers.1.ffn.experts.up");
    assert_int_equal(saved->value.dtype, COT_BF16);
    assert_true(saved->mapped && cot_params_find(model->params, "layers.1.ffn.experts.down")->mapped);
    assert_true(!cot_params_find(model->params, "embed.weight")->mapped);
    assert_memory_equal(saved->value.data, trained->value.data, (size_t)cot_tensor_count(&saved->value) * sizeof(cot_bf16));
    cot_model_destroy(model);
    cot_trainer_destroy(trainer);
    free(whole);
    free(resumed);
}

static double first_norm(const char *folder, const char *clip_tables)
{
    cot_step_report report;
    changes c = peer("f32", clip_tables);
    c.list[0] = c.peer;
    cot_trainer *trainer = start(folder, NULL, c.list);
    assert_int_equal(cot_trainer_step(trainer, &report), COT_OK);
    const double norm = report.grad_norm;
    double tables = 0;
    for (size_t i = 0; i < cot_params_count(trainer->plan->model->params); i++) {
        const cot_param *param = cot_params_at(trainer->plan->model->params, i);
        if (param->rows) tables += cot_rows_sum_squares(trainer->tape, param);
    }
    assert_true(tables > 0);
    cot_trainer_destroy(trainer);
    return strstr(clip_tables, "true") ? norm * norm - tables : norm * norm;
}

/* By default tables do not count in the norm. Sums of squares in f64. */
static void norm_counts_tables_when_asked(void **state)
{
    const double without = first_norm(*state, "train.clip_tables=false");
    assert_true(first_norm(*state, "train.steps=6") == without);
    assert_true(fabs(first_norm(*state, "train.clip_tables=true") - without) < 1e-6 * without);
}

/* ---- room and shapes ---- */

/* A table of 1024 rows of 100 reals takes 1.2288 MB in training, half of that in bf16; 0.2 MB are needed besides. */
static void names_what_would_fit(void **state)
{
    (void)state;
    cot_params *params;
    cot_param *table;
    const cot_param_spec spec = {.name = "table", .rank = 2, .shape = {1024, 100}, .update = COT_UPDATE_TOUCHED_ROWS};
    assert_int_equal(cot_params_create(COT_F32, &params), COT_OK);
    assert_int_equal(cot_params_add(params, &spec, &table), COT_OK);
    const int64_t needed = 1228800 + 200000;
    assert_int_equal(cot_room_check(params, needed, needed), COT_OK);
    assert_int_equal(cot_room_check(params, needed * 1000, needed), COT_OUT_OF_MEMORY);
    assert_non_null(strstr(cot_last_error(), "needs about 1.4 GB (102400 parameters), 0.0 GB are free: make the model"));
    assert_int_equal(cot_room_check(params, needed, 614400 + 200000), COT_OUT_OF_MEMORY);
    assert_non_null(strstr(cot_last_error(), "with experts.storage: bf16 it needs about 0.0 GB"));
    assert_int_equal(cot_room_check(params, needed, 200000 + 200 * 600), COT_OUT_OF_MEMORY);  /* 200 rows of bf16 */
    assert_non_null(strstr(cot_last_error(), "196 experts instead of 1024 would fit"));
    cot_params_destroy(params);
}

/* Before any memory is taken: the largest pool that can be asked for. */
static void refuses_what_does_not_fit(void **state)
{
    static const struct { const char *change, *message; } cases[] = {
        {"model.layers.0.ffn.experts.num_experts=1073741824", "GB are free"},
        {"model.layers.0.ffn.experts.num_experts=250", "has 250 experts for router 'product_key', expected a square such as 225 or 256"},
        {"model.layers.0.ffn.router.top_k=17", "asks router 'product_key' for top_k = 17 of 16 sub-keys, expected at most as many"},
        {"model.layers.0.ffn.router.query_dim=7", "has query_dim 7, expected an even number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_plan *plan;
        changes c = peer("f32", "train.steps=6");
        c.list[0] = c.peer;
        cot_config *config = recipe(*state, c.list);
        assert_int_equal(cot_config_set(config, cases[i].change), COT_OK);
        assert_int_not_equal(cot_plan_create(config, NULL, NULL, &plan), COT_OK);
        if (!strstr(cot_last_error(), cases[i].message)) fail_msg("%s", cot_last_error());
        cot_config_destroy(config);
    }
}

/* Beside a dense feed-forward, in every layer; every norm of queries, every score. */
static void stands_beside_dense_layers(void **state)
{
    static const char *const routers[] = {"query_norm: none, score: sigmoid", "query_norm: layer, score: relu, shared_keys: false", "query_norm: rms"};
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++) {
        char ffn[512];
        double loss[60];
        snprintf(ffn, sizeof ffn, "model.ffn=[{kind: dense, intermediate_size: 20}, {kind: sparse, router: {kind: product_key, heads: 2, top_k: 4, "
                 "query_dim: 8, %s}, experts: {kind: neuron, num_experts: 256, gated: true}}]", routers[i]);
        const char *const list[] = {ffn, "model.layers=[]", "train.steps=60", NULL};
        cot_trainer *trainer = start(*state, NULL, list);
        assert_int_equal(cot_model_layer_experts(cot_trainer_model(trainer), 0), 256);
        go(trainer, 60, loss);
        assert_true(loss[0] > 5 && loss[59] < 3.5);
        cot_trainer_destroy(trainer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_unbiased),  cmocka_unit_test(what_is_no_number_stays), cmocka_unit_test(small_updates_arrive),
        cmocka_unit_test(second_moments_decay),  cmocka_unit_test(loss_is_that_of_f32),     cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(files_keep_the_bits),   cmocka_unit_test(norm_counts_tables_when_asked),
        cmocka_unit_test(names_what_would_fit),  cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(stands_beside_dense_layers),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
