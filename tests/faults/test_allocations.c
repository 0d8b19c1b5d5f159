/* Every allocation failing in turn through cot_set_allocator(): whatever was going on ends with COT_OUT_OF_MEMORY or,
 * where memory was needed for convenience only, as if nothing had been; nothing is leaked; and the next time all is as
 * it was. What other libraries take for themselves is left out (docs/memory.md).
 *
 * usage: test_allocations [--every]     without it a sample of the places is taken */
#define _GNU_SOURCE
#include "training/run_fixture.h"

#include <stdatomic.h>

#include <coterie/runtime.h>

#include "base/memory.h"
#include "formats/file.h"

enum { SAMPLE = 40 };

static bool every;

/* ---- memory that is counted and fails when told ---- */

static atomic_long calls, live;
static long fails_at;

static bool fails(void) { return atomic_fetch_add(&calls, 1) + 1 == fails_at; }

static void *allocate(void *context, size_t alignment, size_t bytes)
{
    assert_ptr_equal(context, &live);
    void *block = fails() ? NULL : aligned_alloc(alignment, bytes);
    if (block) {
        live++;
        memset(block, 0xa5, bytes);  /* nobody may count on zeroes */
    }
    return block;
}

static void release(void *context, void *block)
{
    assert_ptr_equal(context, &live);
    assert_non_null(block);
    live--;
    free(block);
}

/* ---- what is going on while memory is short; each leaves a number that tells what came of it ---- */

typedef struct {
    const char *folder;
    double      result;
} work;

typedef cot_status (*workload)(work *w);

static void path_in(const work *w, const char *name, char path[256]) { snprintf(path, 256, "%s/%s", w->folder, name); }

static double sum_of(const cot_trainer *trainer)
{
    size_t count;
    float *all = parameters(trainer, &count);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)all[i] * (double)(1 + i % 7);
    free(all);
    return sum;
}

static const char *const one_step[] = {"train.steps=1", NULL};

/* From a recipe's text to a trained, evaluated, saved model: one step. */
static cot_status train(work *w)
{
    char run[256], text[4096], *yaml = NULL;
    cot_config *config = NULL;
    cot_plan *plan = NULL;
    cot_trainer *trainer = NULL;
    cot_step_report report;
    path_in(w, "run", run);
    path_in(w, "recipe.yaml", text);
    scratch_remove_folder(run);
    cot_status status = cot_config_read(text, &config);
    if (status == COT_OK) status = cot_config_to_yaml(config, &yaml);
    free(yaml);
    if (status == COT_OK) status = cot_plan_create(config, NULL, NULL, &plan);
    cot_config_destroy(config);
    if (status == COT_OK) status = cot_trainer_create(plan, run, &trainer);
    if (status == COT_OK) status = cot_trainer_step(trainer, &report);
    if (status == COT_OK) w->result = report.loss + report.valid->total.loss + sum_of(trainer);
    cot_trainer_destroy(trainer);
    return status;
}

/* A model trained on, some of it frozen. */
static cot_status train_on(work *w)
{
    static const char *const changes[] = {"train.steps=1", "train.freeze=['layers.0.*', '!*_norm.weight']",
                                          "model.dropout=0.2",
                                          "train.optimizer.groups=[{match: '*.router.*', lr_scale: 2}]", NULL};
    char path[256];
    cot_config *config = NULL;
    cot_plan *plan = NULL;
    cot_trainer *trainer = NULL;
    cot_step_report report;
    path_in(w, "recipe.yaml", path);
    cot_status status = cot_config_read(path, &config);
    if (status == COT_OK) cot_config_remove(config, "model");
    if (status == COT_OK) cot_config_remove(config, "data.tokenizer");
    path_in(w, "kept", path);
    if (status == COT_OK) status = cot_config_set_text(config, "from", path);
    for (int i = 0; status == COT_OK && changes[i]; i++) status = cot_config_set(config, changes[i]);
    if (status == COT_OK) status = cot_plan_create(config, NULL, NULL, &plan);
    cot_config_destroy(config);
    if (status == COT_OK) status = cot_trainer_create(plan, NULL, &trainer);
    if (status == COT_OK) status = cot_trainer_step(trainer, &report);
    if (status == COT_OK) w->result = report.loss + sum_of(trainer);
    cot_trainer_destroy(trainer);
    return status;
}

static cot_status go_on(work *w)
{
    static const char *const more[] = {"train.steps=8"};
    char run[256];
    cot_trainer *trainer = NULL;
    cot_step_report report;
    path_in(w, "kept", run);
    cot_status status = cot_trainer_resume(run, more, 1, NULL, NULL, &trainer);
    if (status == COT_OK) status = cot_trainer_step(trainer, &report);
    if (status == COT_OK) w->result = report.loss + sum_of(trainer);
    cot_trainer_destroy(trainer);
    return status;
}

static cot_status load(work *w)
{
    char run[256], copy[256];
    cot_model *model = NULL;
    cot_tokenizer *tokenizer = NULL;
    path_in(w, "kept", run);
    path_in(w, "copy", copy);
    cot_status status = cot_model_load(run, &model, &tokenizer);
    if (status == COT_OK) status = cot_model_save(model, tokenizer, copy);
    if (status == COT_OK) w->result = (double)cot_model_describe(model, 0).parameters_total + (tokenizer ? 0.5 : 0);
    cot_model_destroy(model);
    cot_tokenizer_destroy(tokenizer);
    return status;
}

static const char *const words[] = {"the old sailor ", "sang to a grey sea ", "and mountains answered slowly\n"};

static cot_status next_text(void *context, const char **text, size_t *length)
{
    int *at = context;
    *text = *at < 30 ? words[(*at)++ % 3] : NULL;
    *length = *text ? strlen(*text) : 0;
    return COT_OK;
}

static cot_status tokenise(work *w)
{
    const cot_tokenizer_options o = {.vocab_size = 280};
    static const char text[] = "the mountains sang \xc3\xa9\xff and slowly answered <|endoftext|> the sea";
    cot_tokenizer *trained = NULL, *loaded = NULL;
    int32_t *ids = NULL;
    char *back = NULL, run[256];
    size_t count = 0, length = 0;
    int at = 0;
    path_in(w, "kept", run);
    cot_status status = cot_tokenizer_train(&o, next_text, &at, &trained);
    if (status == COT_OK) status = cot_tokenizer_load(run, &loaded);
    if (status == COT_OK) status = cot_tokenizer_encode(loaded, text, sizeof text - 1, true, &ids, &count);
    if (status == COT_OK) status = cot_tokenizer_decode(loaded, ids, count, false, &back, &length);
    if (status == COT_OK)
        w->result = (double)count + (double)cot_tokenizer_vocab_size(trained) + (memcmp(back, text, length) != 0);
    free(ids);
    free(back);
    cot_tokenizer_destroy(trained);
    cot_tokenizer_destroy(loaded);
    return status;
}

/* ---- one place after the other ---- */

static double whole(workload run, work *w, const char *name)
{
    fails_at = 0, calls = 0;
    const cot_status status = run(w);
    if (status != COT_OK) fail_msg("%s: %s", name, cot_last_error());
    assert_int_equal(live, 0);
    return w->result;
}

static void one_place(workload run, work *w, const char *name, long place, double want)
{
    fails_at = place, calls = 0;
    const cot_status status = run(w);
    const long left = live;
    fails_at = 0;
    if (status != COT_OK && status != COT_OUT_OF_MEMORY)
        fail_msg("%s, allocation %ld: status %d, '%s'", name, place, (int)status, cot_last_error());
    if (status == COT_OK && w->result != want)
        fail_msg("%s, allocation %ld: %.17g instead of %.17g", name, place, w->result, want);
    if (left != 0) fail_msg("%s, allocation %ld: %ld blocks are leaked", name, place, left);
}

static void each_in_turn(workload run, const char *folder, const char *name)
{
    work w = {.folder = folder};
    whole(run, &w, name);  /* caches are filled, code is generated */
    const double want = whole(run, &w, name);
    const long count = atomic_load(&calls), step = every || count < SAMPLE ? 1 : count / SAMPLE;
    for (long place = 1; place <= count; place += step) one_place(run, &w, name, place, want);
    if (whole(run, &w, name) != want) fail_msg("%s: another result afterwards", name);
    print_message("%s: %ld allocations, one in %ld has failed\n", name, count, step);
}

static void a_step(void **state) { each_in_turn(train, *state, "a step"); }
static void a_resumed_step(void **state) { each_in_turn(go_on, *state, "a resumed step"); }
static void a_step_of_a_model_trained_on(void **state)
{
    each_in_turn(train_on, *state, "a step of a model trained on");
}
static void a_load(void **state) { each_in_turn(load, *state, "a load"); }
static void a_tokenisation(void **state) { each_in_turn(tokenise, *state, "a tokenisation"); }

/* Whose turn it is to fail differs from time to time. */
static void a_step_on_two_threads(void **state)
{
    if (!every) skip();
    assert_int_equal(cot_set_threads(2), COT_OK);
    each_in_turn(train, *state, "a step on two threads");
    assert_int_equal(cot_set_threads(1), COT_OK);
}

/* What callers free is plain memory, and fails by the library's own counter. */
static void plain_memory_fails_too(void **state)
{
    work w = {.folder = *state};
    const double want = whole(tokenise, &w, "plain");
    bool failed = true;
    for (int64_t place = 1; failed; place += every ? 1 : 7) {
        cot_memory_fail_after(place);
        const cot_status status = tokenise(&w);
        cot_memory_fail_after(0);
        failed = status != COT_OK;
        if (failed) assert_int_equal(status, COT_OUT_OF_MEMORY);
        else assert_true(w.result == want);
        assert_int_equal(live, 0);
    }
}

static void allocators_change_between_uses_only(void **state)
{
    (void)state;
    const cot_allocator half = {.allocate = allocate}, ours = {allocate, release, &live};
    cot_config *config;
    assert_int_equal(cot_set_allocator(&half), COT_INVALID);
    assert_int_equal(cot_config_parse("{a: 1}", "x", &config), COT_OK);
    assert_int_equal(cot_set_allocator(NULL), COT_INVALID);
    cot_config_destroy(config);
    assert_int_equal(cot_set_allocator(NULL), COT_OK);
    assert_int_equal(cot_set_allocator(&ours), COT_OK);
}

static int prepare(void **state)
{
    static const cot_allocator ours = {allocate, release, &live};
    double loss[STEPS];
    char path[256], *yaml;
    make_folder(state);
    assert_int_equal(cot_set_threads(1), COT_OK);
    assert_int_equal(cot_set_allocator(&ours), COT_OK);
    snprintf(path, sizeof path, "%s/kept", (const char *)*state);
    cot_trainer *trainer = start(*state, path, NULL);
    go(trainer, STEPS, loss);
    cot_trainer_destroy(trainer);
    cot_config *config = recipe(*state, one_step);
    assert_int_equal(cot_config_to_yaml(config, &yaml), COT_OK);
    snprintf(path, sizeof path, "%s/recipe.yaml", (const char *)*state);
    assert_int_equal(cot_file_write(path, yaml, strlen(yaml)), COT_OK);
    free(yaml);
    cot_config_destroy(config);
    assert_int_equal(live, 0);
    return 0;
}

int main(int argc, char **argv)
{
    every = argc > 1 && strcmp(argv[1], "--every") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocators_change_between_uses_only),
        cmocka_unit_test(a_tokenisation),
        cmocka_unit_test(a_load),
        cmocka_unit_test(a_step),
        cmocka_unit_test(a_resumed_step),
        cmocka_unit_test(a_step_of_a_model_trained_on),
        cmocka_unit_test(a_step_on_two_threads),
        cmocka_unit_test(plain_memory_fails_too),
    };
    return cmocka_run_group_tests(tests, prepare, remove_folder);
}
