/* Training runs: the same bits whatever the threads, interruptions and recomputation; accumulation; failures that lose nothing. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/runtime.h>

#include "base/memory.h"
#include "training/run_fixture.h"

static float *run_whole(const char *folder, const char *const *changes, double *loss, size_t *count)
{
    cot_trainer *trainer = start(folder, NULL, changes);
    go(trainer, STEPS, loss);
    float *result = parameters(trainer, count);
    cot_trainer_destroy(trainer);
    return result;
}

static void assert_same_bits(const char *folder, const char *const *a, const char *const *b, int threads_a, int threads_b)
{
    double loss_a[STEPS], loss_b[STEPS];
    size_t count_a, count_b;
    assert_int_equal(cot_set_threads(threads_a), COT_OK);
    float *one = run_whole(folder, a, loss_a, &count_a);
    assert_int_equal(cot_set_threads(threads_b), COT_OK);
    float *two = run_whole(folder, b, loss_b, &count_b);
    assert_int_equal(count_a, count_b);
    assert_memory_equal(loss_a, loss_b, sizeof loss_a);
    assert_memory_equal(one, two, count_a * sizeof *one);
    free(one);
    free(two);
}

static void threads_do_not_matter(void **state)
{
    static const char *const bf16[] = {"train.precision=bf16", NULL}, *const muon[] = {"train.optimizer={kind: muon, lr: 1e-3}", NULL};
    assert_same_bits(*state, NULL, NULL, 1, 2);
    assert_same_bits(*state, bf16, bf16, 1, 2);
    assert_same_bits(*state, muon, muon, 1, 2);
}

static void recomputation_does_not_matter(void **state)
{
    static const char *const again[] = {"train.recompute=true", NULL};
    assert_same_bits(*state, NULL, again, 2, 2);
}

static void loss_falls(void **state)
{
    static const char *const longer[] = {"train.steps=60", NULL};
    cot_trainer *trainer = start(*state, NULL, longer);
    double loss[60];
    go(trainer, 60, loss);
    assert_true(cot_trainer_done(trainer));
    assert_true(loss[0] > 5 && loss[59] < 3.5);  /* ln 300 = 5.7 at the start; twelve words cost ln 12 = 2.5 a word */
    cot_trainer_destroy(trainer);
}

static void resumed_run_is_the_same(void **state)
{
    const char *folder = *state;
    char run[512];
    double loss[STEPS], later[STEPS];
    size_t count, count_resumed;
    cot_trainer *trainer;
    float *whole = run_whole(folder, NULL, loss, &count);
    snprintf(run, sizeof run, "%s/resumed", folder);
    trainer = start(folder, run, NULL);
    go(trainer, 2, later);
    assert_int_equal(cot_trainer_save(trainer), COT_OK);
    go(trainer, 1, later + 2);  /* steps after the checkpoint are lived again */
    cot_trainer_destroy(trainer);
    if (cot_trainer_resume(run, NULL, 0, NULL, NULL, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
    go(trainer, STEPS - 2, later + 2);
    assert_true(cot_trainer_done(trainer));
    float *resumed = parameters(trainer, &count_resumed);
    cot_trainer_destroy(trainer);
    assert_int_equal(count, count_resumed);
    assert_memory_equal(loss, later, sizeof loss);
    assert_memory_equal(whole, resumed, count * sizeof *whole);
    free(whole);
    free(resumed);
    /* metrics.jsonl holds every step once */
    char path[600], *line = NULL;
    size_t size = 0;
    int64_t next = 1;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &size, f) > 0) {
        if (strstr(line, "\"valid\"")) continue;
        assert_int_equal(strtoll(strstr(line, "\"step\":") + 7, NULL, 10), next++);
    }
    assert_int_equal(next, STEPS + 1);
    free(line);
    fclose(f);
}

/* After two steps the next allocation is armed to fail: steps go on, so none is made. Dense, sparse, f32, bf16, recomputed, Muon. */
static void steady_state_allocates_nothing(void **state)
{
    static const char *const plain[] = {NULL}, *const bf16[] = {"train.precision=bf16", NULL}, *const again[] = {"train.recompute=true", NULL},
                             *const muon[] = {"train.optimizer={kind: muon, lr: 1e-3}", "train.accumulation=2", NULL};
    const char *const *const cases[] = {plain, bf16, again, muon};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_trainer *trainer = start(*state, NULL, cases[i]);
        double loss[STEPS];
        go(trainer, 3, loss);
        cot_memory_fail_after(1);
        go(trainer, 2, loss);
        cot_memory_fail_after(0);
        cot_trainer_destroy(trainer);
    }
}

/* Without noise, dropout and rules over the whole batch, parts of a batch add up to it: to rounding of f32 sums. */
static void accumulation_is_one_batch(void **state)
{
    static const char *const one[] = {"model.dropout=0", "model.layers.0.ffn={kind: sparse, router: {kind: top_k}, experts: {kind: ffn, num_experts: 4, intermediate_size: 12}}",
                                      "train.optimizer={kind: sgd, lr: 0.1}", "train.accumulation=1", NULL};
    const char *four[5];
    double loss_one[STEPS], loss_four[STEPS];
    size_t count, count_four;
    memcpy(four, one, sizeof four);
    four[3] = "train.accumulation=4";
    float *a = run_whole(*state, one, loss_one, &count), *b = run_whole(*state, four, loss_four, &count_four);
    for (int i = 0; i < STEPS; i++) assert_true(fabs(loss_one[i] - loss_four[i]) <= 1e-5 * loss_one[i]);
    double worst = 0;
    for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)(a[i] - b[i])));
    assert_true(worst < 1e-5);
    free(a);
    free(b);
}

static void divergence_is_named_and_loses_nothing(void **state)
{
    static const char *const wild[] = {"train.optimizer={kind: sgd, lr: 50}", "train.clip_grad_norm=0", "train.steps=200", "model.dropout=0", "model.init_std=2", NULL};
    cot_trainer *trainer = start(*state, NULL, wild);
    cot_status status = COT_OK;
    cot_step_report report;
    size_t count;
    float *before = NULL;
    while (status == COT_OK && !cot_trainer_done(trainer)) {
        free(before);
        before = parameters(trainer, &count);
        status = cot_trainer_step(trainer, &report);
    }
    assert_int_equal(status, COT_NOT_FINITE);
    assert_non_null(strstr(cot_last_error(), "step "));
    assert_non_null(strstr(cot_last_error(), "not finite"));
    float *after = parameters(trainer, &count);
    assert_memory_equal(before, after, count * sizeof *after);
    free(before);
    free(after);
    cot_trainer_destroy(trainer);
}

static void a_run_is_not_overwritten(void **state)
{
    char run[512];
    snprintf(run, sizeof run, "%s/once", (const char *)*state);
    cot_trainer_destroy(start(*state, run, NULL));
    cot_plan *plan;
    cot_trainer *trainer;
    cot_config *config = recipe(*state, NULL);
    assert_int_equal(cot_plan_create(config, NULL, NULL, &plan), COT_OK);
    cot_config_destroy(config);
    assert_int_equal(cot_trainer_create(plan, run, &trainer), COT_INVALID);
    assert_null(trainer);
    assert_non_null(strstr(cot_last_error(), "--resume"));
}

/* Each takes no memory for the model: it fails while the recipe is read. */
static void impossible_recipes_are_refused(void **state)
{
    static const struct {
        const char *change, *says;
    } cases[] = {
        {"model.mixer={kind: attention, num_heads: 5}", "model.mixer.num_heads asks for 5 heads, expected a divisor of hidden_size, 24"},
        {"model.layers.0.ffn.router.top_k=9", "9"},
        {"model.layers.0.at=7", "expected a layer from 0 to 1"},
        {"model.hidden_sise=8", "did you mean 'hidden_size'"},
        {"train.optimizer.lrr=1", "did you mean 'lr'"},
        {"train.batch=0", "from 1"},
        {"train.accumulation=3", "a divisor of batch, 8"},
        {"trane.steps=1", "did you mean 'train'"},
        {"data.context=100000", "data.context asks for rows of 100000 tokens, but the corpus is too short"},
        {"train.optimizer.lr=-1", "train.optimizer.lr is '-1', expected a number from 0"},
        {"train.optimizer.groups=[{mtch: x}]", "did you mean 'match'"},
        {"train.schedule.kind=cosin", "did you mean 'cosine'"},
        {"train.objective={kind: next_tokn}", "did you mean 'next_token'"},
        {"data.path=/nonexistent/text", "/nonexistent/text"},
        {"model.ffn={kind: sparce}", "did you mean 'sparse'"},
        {"model.hidden_size=100000000000", "hidden_size"},
        {"model.layers=[{at: '::1', ffn: {kind: dense, intermediate_size: 9000000}}, {at: 0, mixer: {kind: attention, num_heads: 1024, head_dim: 1024}}]", "GB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const change[] = {cases[i].change, NULL};
        cot_plan *plan;
        cot_config *config = recipe(*state, change);
        const cot_status status = cot_plan_create(config, NULL, NULL, &plan);
        cot_config_destroy(config);
        if (status == COT_OK || plan) {
            cot_trainer *trainer;  /* some things are only known when rows are made */
            if (plan && cot_trainer_create(plan, NULL, &trainer) == COT_OK) fail_msg("'%s' was accepted", cases[i].change);
        }
        if (!strstr(cot_last_error(), cases[i].says)) fail_msg("'%s' gave '%s', expected it to say '%s'", cases[i].change, cot_last_error(), cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter),     cmocka_unit_test(recomputation_does_not_matter),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(loss_falls),                cmocka_unit_test(resumed_run_is_the_same),
        cmocka_unit_test(accumulation_is_one_batch), cmocka_unit_test(divergence_is_named_and_loses_nothing),
        cmocka_unit_test(a_run_is_not_overwritten),  cmocka_unit_test(impossible_recipes_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
