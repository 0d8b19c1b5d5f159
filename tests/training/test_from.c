/* Training a model on: it starts from a folder's parameters, architecture and tokenizer; what is frozen keeps its bits;
 * groups have rates of their own. */
#define _GNU_SOURCE
#include "formats/file.h"
#include "models/model_fixture.h"
#include "training/run_fixture.h"

#include <coterie/runtime.h>

/* A recipe that starts from `source`: what it says about model and tokenizer is left out, then come the changes. */
static cot_config *recipe_from(const char *folder, const char *source, const char *const *changes)
{
    cot_config *config = recipe(folder, NULL);
    cot_config_remove(config, "model");
    cot_config_remove(config, "data.tokenizer");
    assert_int_equal(cot_config_set_text(config, "from", source), COT_OK);
    for (; changes && *changes; changes++) assert_int_equal(cot_config_set(config, *changes), COT_OK);
    return config;
}

static cot_status try_from(const char *folder, const char *source, const char *run, const char *const *changes,
                           cot_trainer **out)
{
    cot_plan *plan;
    cot_config *config = recipe_from(folder, source, changes);
    cot_status status = cot_plan_create(config, NULL, NULL, &plan);
    cot_config_destroy(config);
    if (status == COT_OK) status = cot_trainer_create(plan, run, out);
    return status;
}

static cot_trainer *start_from(const char *folder, const char *source, const char *run, const char *const *changes)
{
    cot_trainer *trainer;
    if (try_from(folder, source, run, changes, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
    return trainer;
}

/* A trained model of the fixture's recipe, made once; its parameters. */
static const char *source_model(const char *folder, float **values, size_t *count)
{
    static char path[128];
    double loss[STEPS];
    snprintf(path, sizeof path, "%s/source", folder);
    cot_trainer *trainer;
    if (cot_folder_exists(path)) {
        if (cot_trainer_resume(path, NULL, 0, NULL, NULL, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
    } else {
        trainer = start(folder, path, NULL);
        go(trainer, STEPS, loss);
    }
    *values = parameters(trainer, count);
    cot_trainer_destroy(trainer);
    return path;
}

static const cot_param *named(const cot_trainer *trainer, const char *name)
{
    return parameter_of(trainer->plan->model, name);
}

/* Does the tensor hold what it held in the source? `values` are all parameters, one after the other. */
static bool unchanged(const cot_trainer *trainer, const char *name, const float *values)
{
    const cot_params *params = trainer->plan->model->params;
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_tensor *value = &cot_params_at(params, i)->value;
        const size_t elements = (size_t)cot_tensor_count(value);
        if (strcmp(cot_params_at(params, i)->name, name) == 0)
            return memcmp(value->data, values, elements * sizeof *values) == 0;
        values += elements;
    }
    fail_msg("no parameter '%s'", name);
    return false;
}

static void starts_where_the_model_stands(void **state)
{
    float *before, *now;
    size_t count, count_now;
    const char *source = source_model(*state, &before, &count);
    static const char *const changes[] = {"model.dropout=0.2", "model.init_std=0.5", NULL};
    cot_trainer *trainer = start_from(*state, source, NULL, changes);
    now = parameters(trainer, &count_now);
    assert_int_equal(count, count_now);
    assert_memory_equal(before, now, count * sizeof *now);
    /* The folder's section with the changes on top; its symbols and tokenizer. */
    const cot_config *section = cot_model_section(trainer->plan->model);
    assert_string_equal(cot_config_text(cot_config_get(section, "dropout")), "0.2");
    assert_string_equal(cot_config_text(cot_config_get(section, "hidden_size")), "24");
    assert_int_equal(trainer->plan->model->vocab_size, cot_tokenizer_vocab_size(trainer->plan->tokenizer));
    assert_string_equal(cot_plan_describe(trainer->plan).from, source);
    cot_trainer_destroy(trainer);
    free(before);
    free(now);
}

/* Frozen tensors keep their bits, take no gradient and no optimizer state; the others learn. On any threads, recomputed
 * or not. */
static void frozen_stays(void **state)
{
    static const char *const one[] = {"train.freeze=['*', '!*.router.*', '!*.experts.down', '!head.weight']",
                                      "train.recompute=false", NULL};
    static const char *const two[] = {"train.freeze=['*', '!*.router.*', '!*.experts.down', '!head.weight']",
                                      "train.recompute=true", NULL};
    const char *const *const cases[] = {one, two};
    float *before, *after[2];
    size_t count;
    double loss[STEPS];
    static const char *const untied[] = {"model.tie_word_embeddings=false", NULL};
    char source[128];
    snprintf(source, sizeof source, "%s/untied", (const char *)*state);
    cot_trainer *trainer = start(*state, source, untied);
    go(trainer, STEPS, loss);
    before = parameters(trainer, &count);
    cot_trainer_destroy(trainer);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cot_set_threads(1 + i), COT_OK);
        trainer = start_from(*state, source, NULL, cases[i]);
        go(trainer, STEPS, loss);
        static const char *const learn[] = {"layers.1.ffn.router.weight", "layers.1.ffn.router.noise_weight",
                                            "layers.1.ffn.experts.down", "head.weight"};
        static const char *const stay[] = {"embed.weight",
                                           "layers.0.mixer.qkv.weight",
                                           "layers.0.ffn.gate_up.weight",
                                           "layers.1.ffn.experts.gate_up",
                                           "layers.1.ffn.shared.gate.weight",
                                           "layers.1.mixer_norm.weight",
                                           "final_norm.weight"};
        for (size_t j = 0; j < sizeof learn / sizeof *learn; j++)
            if (unchanged(trainer, learn[j], before) || !named(trainer, learn[j])->value.grad)
                fail_msg("%s does not learn", learn[j]);
        for (size_t j = 0; j < sizeof stay / sizeof *stay; j++)
            if (!unchanged(trainer, stay[j], before) || named(trainer, stay[j])->value.grad)
                fail_msg("%s is not frozen", stay[j]);
        assert_int_equal(trainer->optimizer->count, sizeof learn / sizeof *learn);
        const int64_t trained = cot_plan_describe(trainer->plan).parameters_trained;
        assert_int_equal(trained, 4 * 24 + 4 * 24 + 4 * 24 * 12 + trainer->plan->model->vocab_size * 24);
        after[i] = parameters(trainer, &count);
        cot_trainer_destroy(trainer);
    }
    assert_memory_equal(after[0], after[1], count * sizeof **after);
    free(before);
    free(after[0]);
    free(after[1]);
}

/* Everything below the output frozen: nothing is recorded there, and the loss still falls. */
static void only_the_end_learns(void **state)
{
    static const char *const changes[] = {"train.freeze=['*', '!final_norm.weight']", "train.optimizer.lr=3e-2",
                                          "train.steps=30", NULL};
    float *before;
    size_t count;
    double loss[30];
    cot_trainer *trainer = start_from(*state, source_model(*state, &before, &count), NULL, changes);
    go(trainer, 30, loss);
    assert_true(loss[29] < loss[0] - 0.02);
    assert_true(unchanged(trainer, "layers.1.mixer.out.weight", before));
    assert_false(unchanged(trainer, "final_norm.weight", before));
    cot_trainer_destroy(trainer);
    free(before);
}

/* The run's folder holds all it needs from the start: the source goes away, the run is resumed, and nothing is
 * different. */
static void resumes_without_its_source(void **state)
{
    static const char *const changes[] = {
        "train.freeze=['layers.0.*', 'embed.*']",
        "train.optimizer.groups=[{match: '*.experts.*', lr_scale: 0.5, weight_decay: 0}]", "model.dropout=0.2", NULL};
    float *before, *whole, *resumed;
    size_t count;
    double loss[STEPS], later[STEPS];
    char copy[128], run[128], command[320];
    const char *source = source_model(*state, &before, &count);
    snprintf(copy, sizeof copy, "%s/copy", (const char *)*state);
    snprintf(run, sizeof run, "%s/on", (const char *)*state);
    snprintf(command, sizeof command, "cp -r %s %s", source, copy);
    assert_int_equal(system(command), 0);
    cot_trainer *trainer = start_from(*state, copy, NULL, changes);
    go(trainer, STEPS, loss);
    whole = parameters(trainer, &count);
    cot_trainer_destroy(trainer);

    trainer = start_from(*state, copy, run, changes);
    go(trainer, 1, later);
    cot_trainer_destroy(trainer);
    snprintf(command, sizeof command, "rm -r %s", copy);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 2; i++) {  /* from its start, then from a checkpoint */
        if (cot_trainer_resume(run, NULL, 0, NULL, NULL, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
        assert_int_equal(trainer->step, 3 * i);
        go(trainer, 3, later + 3 * i);
        if (i == 0) assert_int_equal(cot_trainer_save(trainer), COT_OK);
        if (i == 0) cot_trainer_destroy(trainer);
    }
    resumed = parameters(trainer, &count);
    cot_trainer_destroy(trainer);
    assert_memory_equal(loss, later, sizeof loss);
    assert_memory_equal(whole, resumed, count * sizeof *whole);
    free(before);
    free(whole);
    free(resumed);
}

static void what_does_not_fit_is_refused(void **state)
{
    static const struct {
        const char *change, *says;
    } cases[] = {
        {"from=/nonexistent/model", "/nonexistent/model"},
        {"from=[1]", "from is a list, expected a text"},
        {"model.hidden_size=48", "tensor '"},
        {"model.layers.0.ffn.router={kind: top_k, top_k: 9}", "9"},
        {"model.drop=1", "did you mean 'dropout'"},
        {"train.freeze=['layers.7.*']", "'layers.7.*' is the name of no parameter"},
        {"train.freeze=['*']", "leaves no parameter to train"},
        {"train.freeze=[{match: x}]", "expected a pattern of parameter names"},
        {"train.optimizer.groups=[{match: '*.gate.*', lr_scale: 2}]", ""},
        {"train.optimizer.groups=[{match: '*.gates.*', lr_scale: 2}]", "'*.gates.*' is the name of no parameter"},
        {"train.optimizer.groups=[{lr_scale: 2}]", "'' is the name of no parameter"},
        {"train.optimizer.groups={match: '*'}", "expected a list"},
        {"data={kind: random, vocab_size: 5000, context: 16}", "the data have 5000 symbols, the model in"},
    };
    float *before;
    size_t count;
    const char *source = source_model(*state, &before, &count);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const change[] = {cases[i].change, NULL};
        cot_trainer *trainer = NULL;
        const cot_status status = try_from(*state, source, NULL, change, &trainer);
        if ((status == COT_OK) != (*cases[i].says == '\0')) fail_msg("'%s' gave %d", cases[i].change, (int)status);
        if (status != COT_OK && !strstr(cot_last_error(), cases[i].says))
            fail_msg("'%s' gave '%s', expected it to say '%s'", cases[i].change, cot_last_error(), cases[i].says);
        cot_trainer_destroy(trainer);
    }
    cot_trainer *trainer;
    assert_int_equal(try_from(*state, source, source, NULL, &trainer), COT_INVALID);  /* a model is not overwritten by its own continuation */
    assert_non_null(strstr(cot_last_error(), "holds a run already"));
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_where_the_model_stands), cmocka_unit_test(frozen_stays),
        cmocka_unit_test(only_the_end_learns),           cmocka_unit_test(resumes_without_its_source),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
