/* One run of a claim: trained in memory, evaluated, looked at for what leaks from the future, and written down. */
#define _POSIX_C_SOURCE 200809L
#include "study/claim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "formats/file.h"
#include "tensor/tape.h"

/* ---- while training ---- */

/* A mean over part of a run. */
typedef struct {
    double  sum;
    int64_t count;
} mean;

static void mean_add(mean *m, double value)
{
    m->sum += value;
    m->count++;
}

static double mean_of(mean m) { return m.count ? m.sum / (double)m.count : NAN; }

typedef struct {
    mean   early_loss, late_loss, early_max_vio, late_max_vio, early_drops, late_drops;
    mean   curve[COT_CLAIM_CURVE];
} course;

static void follow(course *c, const cot_step_report *r)
{
    const double past = (double)r->step / (double)r->steps;
    const bool first = past <= 0.1, early = past > 0.1 && past <= 0.2, late = past > 0.9;
    const int64_t point = (r->step - 1) * COT_CLAIM_CURVE / r->steps;
    mean_add(&c->curve[point], r->loss);
    if (early) mean_add(&c->early_loss, r->loss);
    if (late) mean_add(&c->late_loss, r->loss);
    for (int64_t i = 0; i < r->layer_count; i++) {
        if (early) mean_add(&c->early_max_vio, r->layers[i].max_vio);
        if (late) mean_add(&c->late_max_vio, r->layers[i].max_vio), mean_add(&c->late_drops, r->layers[i].drop_fraction);
        if (first) mean_add(&c->early_drops, r->layers[i].drop_fraction);
    }
}

static void take_course(const course *c, cot_claim_result *out)
{
    out->value[COT_MEASURE_early_loss] = mean_of(c->early_loss);
    out->value[COT_MEASURE_late_loss] = mean_of(c->late_loss);
    out->value[COT_MEASURE_early_max_vio] = mean_of(c->early_max_vio);
    out->value[COT_MEASURE_late_max_vio] = mean_of(c->late_max_vio);
    out->value[COT_MEASURE_early_drops] = mean_of(c->early_drops);
    out->value[COT_MEASURE_late_drops] = mean_of(c->late_drops);
    for (int i = 0; i < COT_CLAIM_CURVE; i++) out->curve[i] = mean_of(c->curve[i]);
}

/* ---- on held-out text ---- */

static void take_evaluation(const cot_evaluation *e, cot_claim_result *out)
{
    double *v = out->value;
    v[COT_MEASURE_loss] = e->total.loss;
    v[COT_MEASURE_perplexity] = e->total.perplexity;
    v[COT_MEASURE_bits_per_byte] = e->total.bits_per_byte;
    mean cv_importance = {0}, cv_load = {0}, max_vio = {0}, drops = {0}, usage = {0}, unevenness = {0}, bias = {0}, entropy = {0};
    for (int64_t i = 0; i < e->layer_count; i++) {
        const cot_layer_use *layer = &e->layers[i];
        mean_add(&cv_importance, sqrt(layer->importance_cv2));
        mean_add(&cv_load, sqrt(layer->cv2));
        mean_add(&max_vio, layer->max_vio);
        mean_add(&drops, layer->drop_fraction);
        mean_add(&usage, layer->usage);
        mean_add(&unevenness, layer->unevenness);
        mean_add(&bias, layer->unevenness_bias);
        mean_add(&entropy, layer->router_entropy);
    }
    v[COT_MEASURE_cv_importance] = mean_of(cv_importance);
    v[COT_MEASURE_cv_load] = mean_of(cv_load);
    v[COT_MEASURE_max_vio] = mean_of(max_vio);
    v[COT_MEASURE_max_over_mean] = 1 + mean_of(max_vio);
    v[COT_MEASURE_drop_fraction] = mean_of(drops);
    v[COT_MEASURE_usage] = mean_of(usage);
    v[COT_MEASURE_unevenness] = mean_of(unevenness);
    v[COT_MEASURE_unevenness_bias] = mean_of(bias);
    v[COT_MEASURE_router_entropy] = mean_of(entropy);
}

/* ---- the leak ---- */

enum { LEAK_WINDOWS = 16, LEAK_PLACES = 7 };

static double nll_at(const float *logits, int64_t symbols, int32_t target)
{
    double largest = -HUGE_VAL, sum = 0;
    for (int64_t v = 0; v < symbols; v++) largest = fmax(largest, (double)logits[v]);
    for (int64_t v = 0; v < symbols; v++) sum += exp((double)logits[v] - largest);
    return largest + log(sum) - (double)logits[target];
}

/* What exchanging the tokens behind a place by others costs the prediction made there. */
static cot_status leak_of_window(cot_model *model, const int32_t *ids, const int32_t *others, int64_t length, int64_t symbols, int32_t *mixed, float *logits, mean *out)
{
    double with[LEAK_PLACES];
    COT_TRY(cot_model_logits_of(model, ids, length, logits));
    for (int64_t i = 0; i < LEAK_PLACES; i++) {
        const int64_t at = length * (i + 1) / (LEAK_PLACES + 1);
        with[i] = nll_at(logits + at * symbols, symbols, ids[at + 1]);
    }
    for (int64_t i = 0; i < LEAK_PLACES; i++) {
        const int64_t at = length * (i + 1) / (LEAK_PLACES + 1);
        memcpy(mixed, ids, (size_t)(at + 1) * sizeof *mixed);
        memcpy(mixed + at + 1, others + at + 1, (size_t)(length - at - 1) * sizeof *mixed);
        COT_TRY(cot_model_logits_of(model, mixed, length, logits));
        mean_add(out, nll_at(logits + at * symbols, symbols, ids[at + 1]) - with[i]);
    }
    return COT_OK;
}

static cot_status measure_leak(cot_model *model, const cot_corpus *corpus, int64_t length, double *out)
{
    const int64_t tokens = (int64_t)cot_corpus_size(corpus, COT_SPLIT_VALID, -1).tokens, symbols = cot_model_describe(model, 0).vocab_size;
    *out = NAN;
    if (tokens < 2 * length || length < LEAK_PLACES + 2) return COT_OK;
    int32_t *ids = cot_malloc((size_t)tokens * sizeof *ids), *mixed = cot_malloc((size_t)length * sizeof *mixed);
    float *logits = cot_malloc((size_t)(length * symbols) * sizeof *logits);
    cot_status status = ids && mixed && logits ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory to measure the leak");
    mean leak = {0};
    if (status == COT_OK) cot_corpus_tokens(corpus, COT_SPLIT_VALID, -1, ids, NULL);
    for (int64_t i = 0; status == COT_OK && i < LEAK_WINDOWS; i++) {
        const int64_t from = (tokens - length) * i / LEAK_WINDOWS, other = (tokens - length) * ((i + LEAK_WINDOWS / 2) % LEAK_WINDOWS) / LEAK_WINDOWS;
        status = leak_of_window(model, ids + from, ids + other, length, symbols, mixed, logits, &leak);
    }
    cot_free(ids);
    cot_free(mixed);
    cot_free(logits);
    *out = mean_of(leak);
    return status;
}

/* ---- a run ---- */

typedef struct {
    cot_prepare_progress preparing;
    cot_claim_progress   progress;
    void                *context;
} telling;

static double processor_seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static cot_status train(cot_trainer *trainer, const telling *tell, cot_claim_result *out)
{
    const double start = cot_now(), worked = processor_seconds();
    const cot_plan *plan = cot_trainer_plan(trainer);
    course c = {0};
    cot_step_report report = {0};
    while (!cot_trainer_done(trainer)) {
        COT_TRY(cot_trainer_step(trainer, &report));
        follow(&c, &report);
        if (tell->progress && !tell->progress(tell->context, (double)report.step / (double)report.steps, report.loss))
            return cot_fail(COT_STOPPED, "stopped");
    }
    take_course(&c, out);
    out->value[COT_MEASURE_tokens_per_cpu_s] = (double)report.tokens / (processor_seconds() - worked);
    if (report.valid) take_evaluation(report.valid, out);
    out->value[COT_MEASURE_seconds] = cot_now() - start;
    out->value[COT_MEASURE_cpu_seconds] = processor_seconds() - worked;
    return measure_leak(cot_trainer_model(trainer), cot_plan_corpus(plan), cot_plan_describe(plan).context, &out->value[COT_MEASURE_leak]);
}

static cot_status make_run(const cot_config *recipe, const telling *tell, cot_claim_result *out)
{
    cot_plan *plan;
    cot_trainer *trainer;
    COT_TRY(cot_plan_create(recipe, tell->preparing, tell->context, &plan));
    COT_TRY(cot_trainer_create(plan, NULL, &trainer));
    const cot_status status = train(trainer, tell, out);
    cot_trainer_destroy(trainer);
    if (status != COT_NOT_FINITE) return status;
    out->failed = true;
    snprintf(out->trouble, sizeof out->trouble, "%s", cot_last_error());
    return COT_OK;
}

static void sign(const cot_claim_arm_state *arm, int64_t seed, cot_claim_result *out)
{
    const time_t now = time(NULL);
    struct tm day;
    *out = (cot_claim_result){.seed = seed, .threads = cot_threads()};
    for (size_t i = 0; i < COT_MEASURE_COUNT; i++) out->value[i] = NAN;
    for (size_t i = 0; i < COT_CLAIM_CURVE; i++) out->curve[i] = NAN;
    snprintf(out->arm, sizeof out->arm, "%s", arm->name);
    memcpy(out->hash, arm->hash, sizeof out->hash);
    snprintf(out->cpu, sizeof out->cpu, "%s", cot_cpu_model());
    snprintf(out->kernels, sizeof out->kernels, "%s", cot_cpu_name(cot_cpu()));
    snprintf(out->version, sizeof out->version, "%s", cot_version());
    if (gmtime_r(&now, &day)) strftime(out->date, sizeof out->date, "%Y-%m-%d", &day);
}

static cot_status run_locked(cot_claim *claim, cot_claim_job job, const telling *tell)
{
    cot_config *recipe;
    cot_claim_result result;
    sign(&claim->arm[job.arm], job.seed, &result);
    COT_TRY(cot_claim_recipe(claim, job.arm, job.seed, &recipe));
    const cot_status status = make_run(recipe, tell, &result);
    cot_config_destroy(recipe);
    return status == COT_OK ? cot_claim_results_add(claim, &result) : status;
}

static cot_status make_folder_of(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder) return COT_OK;
    *slash = '\0';
    return cot_folder_make(folder);
}

cot_status cot_claim_run(cot_claim *claim, cot_claim_job job, cot_prepare_progress preparing, cot_claim_progress progress, void *context)
{
    const telling tell = {preparing, progress, context};
    char lock_path[4200];
    int lock;
    if (job.arm >= claim->arms) return cot_fail(COT_INVALID, "arm %zu of %zu", job.arm, claim->arms);
    COT_TRY(make_folder_of(claim->results));
    snprintf(lock_path, sizeof lock_path, "%s.lock", claim->results);
    cot_status status = cot_file_lock(lock_path, &lock);
    if (status == COT_INVALID) return cot_fail(COT_INVALID, "another process adds to %s: wait for it, or stop it first", claim->results);
    COT_TRY(status);
    status = run_locked(claim, job, &tell);
    cot_file_unlock(lock_path, lock);
    return status;
}
