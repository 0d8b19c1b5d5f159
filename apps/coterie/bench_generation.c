/* coterie bench generation: time per token of the model with a PEER layer and of its dense twin, in turn, so that both
 * meet the same neighbours. */
#include <stdio.h>
#include <stdlib.h>

#include <coterie/generate.h>

#include "bench_parts.h"
#include "progress.h"

enum { PROMPT = 32, TOKENS = 96, ROUND = 8, MODELS = 2, VOCABULARY = 8192, CONTEXT = 512 };

static const char *const names[MODELS] = {"dense", "peer"};
static const double      most = 1.3; /* times the dense twin */

typedef struct {
    cot_model   *model;
    cot_session *session;
    double       seconds[TOKENS];
} runner;

static int32_t token_at(int64_t i)
{
    return (int32_t)(i * 2654435761 % VOCABULARY);
}

/* A bench recipe's model with random parameters: what it says does not change the time. */
static int start(const cli_args *args, const char *name, bool bf16, runner *r)
{
    char         file[64];
    cot_config  *recipe;
    const float *logits;
    int32_t      prompt[PROMPT];
    snprintf(file, sizeof file, "bench-%s", name);
    CLI_TRY(cli_read_recipe(args, file, NULL, &recipe));
    cot_status status = cot_model_create(cot_config_get(recipe, "model"), VOCABULARY, CONTEXT, &r->model);
    cot_config_destroy(recipe);
    if (status == COT_OK) status = cot_model_initialise(r->model, 1);
    if (status == COT_OK) status = cot_session_create(r->model, 0, bf16, &r->session);
    for (int64_t i = 0; i < PROMPT; i++) prompt[i] = token_at(i);
    if (status == COT_OK) status = cot_session_feed(r->session, prompt, PROMPT, &logits);
    return status == COT_OK ? CLI_OK : cli_failed();
}

static int feed(runner *r, int64_t from, int64_t to)
{
    const float *logits;
    for (int64_t i = from; i < to; i++) {
        const int32_t id = token_at(PROMPT + i);
        const double  since = cot_bench_now();
        CLI_TRY(cot_session_feed(r->session, &id, 1, &logits));
        r->seconds[i] = cot_bench_now() - since;
    }
    return CLI_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(runner *r)
{
    qsort(r->seconds, TOKENS, sizeof *r->seconds, by_size);
    return (r->seconds[TOKENS / 2 - 1] + r->seconds[TOKENS / 2]) / 2;
}

static int measure(const cli_args *args, bool bf16, double seconds[MODELS])
{
    runner r[MODELS] = {{.session = NULL}};
    int    code = CLI_OK;
    for (int i = 0; i < MODELS && code == CLI_OK; i++) code = start(args, names[i], bf16, &r[i]);
    for (int64_t t = 0; t < TOKENS && code == CLI_OK; t += ROUND)
        for (int i = 0; i < MODELS && code == CLI_OK; i++) code = feed(&r[i], t, t + ROUND);
    for (int i = 0; i < MODELS; i++) {
        seconds[i] = median(&r[i]);
        cot_session_destroy(r[i].session);
        cot_model_destroy(r[i].model);
    }
    return code;
}

static int run_precision(const cli_args *args, bool bf16, json_t *list)
{
    double      seconds[MODELS];
    const char *dtype = bf16 ? "bf16" : "f32";
    const int   code = measure(args, bf16, seconds);
    if (code != CLI_OK) return code;
    const double times = seconds[1] / seconds[0];
    if (list)
        json_array_append_new(list, json_pack("{s:s, s:f, s:f, s:f, s:f, s:b}", "dtype", dtype, "dense_ms",
                                              1e3 * seconds[0], "peer_ms", 1e3 * seconds[1], "ratio", times, "target",
                                              most, "met", times <= most));
    else
        printf("%-5s dense %.3f ms a token, with PEER %.3f ms, %.2f times   at most %g: %s\n", dtype, 1e3 * seconds[0],
               1e3 * seconds[1], times, most, times <= most ? "met" : "MISSED");
    fflush(stdout);
    return CLI_OK;
}

int bench_generation(const cli_args *args, const cot_machine *machine, json_t *json)
{
    bool     precision[2];
    json_t  *list = json ? json_array() : NULL;
    progress p;
    int      code = CLI_OK;
    if (json)
        json_object_set_new(json, "generation", list);
    else
        printf("generation, one token at a time after %d: models of bench-dense and bench-peer (3.3 GB)\n", PROMPT);
    bench_precisions(args, machine, precision);
    progress_start(&p, "generation", NULL, 2, 0);
    for (int bf16 = 0; bf16 < 2 && code == CLI_OK; bf16++) {
        if (!precision[bf16]) continue;
        progress_update(&p, bf16, bf16 ? "bf16" : "f32");
        progress_clear(&p);
        code = run_precision(args, bf16, list);
    }
    return code;
}
