/* Small runs to test with. Include it with _GNU_SOURCE defined. */
#ifndef COT_TESTS_TRAINING_RUN_FIXTURE_H
#define COT_TESTS_TRAINING_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/train.h>

#include "formats/scratch.h"
#include "models/model.h"
#include "ops/values.h"
#include "training/trainer_state.h"

enum { STEPS = 6 };

static const char recipe_text[] =
    "model:\n"
    "  kind: lm\n"
    "  hidden_size: 24\n"
    "  num_layers: 2\n"
    "  dropout: 0.1\n"
    "  mixer: {kind: attention, num_heads: 2}\n"
    "  ffn: {kind: dense, intermediate_size: 20}\n"
    "  layers:\n"
    "    - at: 1\n"
    "      ffn:\n"
    "        kind: sparse\n"
    "        router: {kind: noisy_top_k, top_k: 2}\n"
    "        experts: {kind: ffn, num_experts: 4, intermediate_size: 12, expert_dropout: 0.1}\n"
    "        balance: [{kind: importance, coef: 0.01}, {kind: load, coef: 0.01}, {kind: z_loss, coef: 0.001}]\n"
    "        capacity: {capacity_factor: 1.25, policy: random}\n"
    "        shared: {intermediate_size: 8, gate: sigmoid}\n"
    "data: {path: CORPUS, cache_dir: CACHE, tokenizer: {kind: bpe, vocab_size: 300}, context: 16}\n"
    "train:\n"
    "  steps: 6\n"
    "  batch: 8\n"
    "  precision: f32\n"
    "  optimizer: {kind: adamw, lr: 3e-3}\n"
    "  schedule: {kind: cosine, warmup: 2}\n"
    "  seed: 3\n";

/* Pseudo-English: enough words to learn from, different in every sentence. */
static inline void write_corpus(const char *path)
{
    static const char *const words[] = {"the", "old", "sailor", "sang", "to", "a", "grey", "sea", "and", "mountains", "answered", "slowly"};
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (unsigned i = 0, x = 1; i < 4000; i++) {
        x = x * 1103515245u + 12345u;
        fprintf(f, "%s%s", words[(x >> 16) % 12], i % 11 == 10 ? ".\n" : " ");
    }
    assert_int_equal(fclose(f), 0);
}

static inline cot_config *recipe(const char *folder, const char *const *changes)
{
    cot_config *config;
    char line[512];
    snprintf(line, sizeof line, "%s/corpus.txt", folder);
    write_corpus(line);
    assert_int_equal(cot_config_parse(recipe_text, "recipe", &config), COT_OK);
    snprintf(line, sizeof line, "data.path=%s/corpus.txt", folder);
    assert_int_equal(cot_config_set(config, line), COT_OK);
    snprintf(line, sizeof line, "data.cache_dir=%s/cache", folder);
    assert_int_equal(cot_config_set(config, line), COT_OK);
    for (; changes && *changes; changes++) assert_int_equal(cot_config_set(config, *changes), COT_OK);
    return config;
}

static inline cot_trainer *start(const char *folder, const char *run, const char *const *changes)
{
    cot_plan *plan;
    cot_trainer *trainer;
    cot_config *config = recipe(folder, changes);
    if (cot_plan_create(config, NULL, NULL, &plan) != COT_OK) fail_msg("%s", cot_last_error());
    cot_config_destroy(config);
    if (cot_trainer_create(plan, run, &trainer) != COT_OK) fail_msg("%s", cot_last_error());
    return trainer;
}

static inline void go(cot_trainer *trainer, int steps, double *loss)
{
    for (int i = 0; i < steps; i++) {
        cot_step_report report;
        if (cot_trainer_step(trainer, &report) != COT_OK) fail_msg("%s", cot_last_error());
        loss[i] = report.loss;
    }
}

/* All parameters, one after the other. */
static inline float *parameters(const cot_trainer *trainer, size_t *count)
{
    const cot_params *params = trainer->plan->model->params;
    float *all = malloc((size_t)cot_params_elements(params, false) * sizeof *all);
    *count = 0;
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_tensor *value = &cot_params_at(params, i)->value;
        for (int64_t j = 0; j < cot_tensor_count(value); j++) all[(*count)++] = (float)cot_value_at(value->data, value->dtype, j);
    }
    return all;
}

static inline int make_folder(void **state)
{
    static scratch s;
    s = scratch_make();
    *state = s.folder;
    return 0;
}

static inline int remove_folder(void **state)
{
    scratch_remove_folder(*state);
    return 0;
}

#endif
