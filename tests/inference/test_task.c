/* Prompts, scores worked by hand, and whole tasks against the logits of each request alone. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>

#include "inference/task_fixture.h"

#include <coterie/runtime.h>
#include <jansson.h>

#include "base/memory.h"
#include "models/model_fixture.h"

enum { V = 257, CONTEXT = 64 };

static const char section[] =
    "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.4, tie_word_embeddings: false, mixer: {kind: attention, num_heads: 2},"
    " ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, intermediate_size: 8}}}";

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance)) fail_msg("%.9g, expected %.9g within %g", got, want, tolerance);
}

/* ---- prompts ---- */

static void check_prompt(const cot_task *t, const cot_task_options *o, int64_t question, int64_t alternative,
                         const char *context, const char *continuation)
{
    char *got[2];
    CHECK_OK(cot_task_prompt(t, o, question, alternative, &got[0], &got[1]));
    assert_string_equal(got[0], context);
    assert_string_equal(got[1], continuation);
    free(got[0]);
    free(got[1]);
}

static void prompts_are_joined(void **state)
{
    (void)state;
    scratch files = scratch_make();
    cot_task *t = task_of(&files, "a.jsonl",
                          "{\"query\": \"Q1\", \"choices\": [\"x\", \" y\"], \"gold\": 1}\n{\"query\": \"Q2 \", \"choices\": [\"v\", \"w\"], \"gold\": 0}\n"
                          "{\"query\": \"Q3\\u2003\", \"choices\": [\"m\", \"n\"], \"gold\": 1}\n");
    cot_task *from = task_of(&files, "b.jsonl",
                             "{\"query\": \"E1\", \"choices\": [\"a\", \"b\"], \"gold\": 1}\n{\"query\": \"E2\", "
                             "\"choices\": [\"c\", \"d\"], \"gold\": 0}\n");
    cot_task_options o = {0};
    check_prompt(t, &o, 0, 0, "Q1", " x");
    check_prompt(t, &o, 0, 1, "Q1", " y");   /* the choice brings its space */
    check_prompt(t, &o, 1, 0, "Q2 ", "v");   /* the question does */
    check_prompt(t, &o, 2, 1, "Q3\u2003", "n");
    o.target_delimiter = "=";
    check_prompt(t, &o, 1, 0, "Q2 ", "=v");
    o = (cot_task_options){.query_end = "\nAnswer:", .description = "Do this.\n", .shots = 2, .shots_from = from};
    check_prompt(t, &o, 1, 1, "Do this.\nE1\nAnswer: b\n\nE2\nAnswer: c\n\nQ2 \nAnswer:", " w");
    o.fewshot_delimiter = "#";
    o.shots = 1;
    check_prompt(t, &o, 0, 0, "Do this.\nE1\nAnswer: b#Q1\nAnswer:", " x");
    o = (cot_task_options){.shots = 2, .seed = 3};
    char *context, *continuation;
    CHECK_OK(cot_task_prompt(t, &o, 1, 0, &context, &continuation));
    if (strcmp(context, "Q1 y\n\nQ3\u2003n\n\nQ2 ") != 0) assert_string_equal(context, "Q3\u2003n\n\nQ1 y\n\nQ2 ");
    free(context);
    free(continuation);
    o.shots = 3;
    CHECK_FAILS(cot_task_prompt(t, &o, 1, 0, &context, &continuation), COT_INVALID,
                "a.jsonl has only 2 other questions");
    o.shots_from = from;
    CHECK_FAILS(cot_task_prompt(t, &o, 1, 0, &context, &continuation), COT_INVALID, "b.jsonl has only 2");
    CHECK_FAILS(cot_task_prompt(t, &o, 3, 0, &context, &continuation), COT_INVALID,
                "question 3 of 'a', expected 0 to 2");
    CHECK_FAILS(cot_task_prompt(t, &o, 0, 2, &context, &continuation), COT_INVALID,
                "alternative 2 of question 0 of 'a', expected 0 to 1");
    cot_task_destroy(t);
    t = task_of(&files, "c.jsonl",
                "{\"context_options\": [\"one\", \"two\"], \"continuation\": \"end\", \"gold\": 1}\n");
    o = (cot_task_options){.shots = 1, .shots_from = t};
    check_prompt(t, &o, 0, 0, "two end\n\none", " end");
    cot_task_destroy(t);
    cot_task_destroy(from);
    scratch_remove(&files);
}

/* 10 of 20 others, 2000 times: each is drawn about half the time, none twice, never the question itself. */
static void shots_are_drawn_evenly(void **state)
{
    (void)state;
    int64_t shots[10], again[10], count[21] = {0};
    for (uint64_t seed = 0; seed < 2000; seed++) {
        cot_task_draw_shots(seed, 7, 21, 10, shots);
        cot_task_draw_shots(seed, 7, 21, 10, again);
        assert_memory_equal(shots, again, sizeof shots);
        unsigned seen = 1u << 7;
        for (int i = 0; i < 10; i++) {
            assert_true(shots[i] >= 0 && shots[i] < 21 && !(seen & 1u << shots[i]));
            seen |= 1u << shots[i];
            count[shots[i]]++;
        }
    }
    /* binomial: 1000 +- 22; five of these */
    for (int i = 0; i < 21; i++) assert_true(i == 7 ? count[i] == 0 : labs((long)count[i] - 1000) < 112);
}

/* ---- scores ---- */

static void check_score(const cot_task_result *r, const char *name, double value, double error, double ties)
{
    const cot_task_score *s = cot_task_result_score(r, name);
    if (!s) fail_msg("no score '%s'", name);
    near(s->value, value, 1e-6);
    if (!isnan(error)) near(s->standard_error, error, 1e-6);
    if (isnan(ties)) assert_true(isnan(s->tie_rate));
    else near(s->tie_rate, ties, 1e-12);
}

/* Worked by hand. Rows: what is chosen by sum, by character, by byte, by token, by information; right ones marked.
 *   1  -2 -3        0*  -.5 -.3      1  -.4 -.3    1  -2 -1       1  -1 1    1     p .731059 .268941          Brier
 *      .144659
 *   2  -4 -4 -6     0=  -2 -1 -2     1* the same   1* -2 -4 -3    0   0 1 3  2     p .468311 .468311 .063379  Brier
 *      .506026
 *   3  -5 -1        1*  -1 -1        0= -1 -.5     1* -5 -1       1*  0 2    1*    p .017986 .982014          Brier
 *      .000647 */
static void scores_by_hand(void **state)
{
    (void)state;
    double l1[] = {-2, -3}, u1[] = {-1, -4}, l2[] = {-4, -4, -6}, u2[] = {-4, -5, -9}, l3[] = {-5, -1}, u3[] = {-5, -3};
    int32_t c1[] = {4, 10}, b1[] = {5, 10}, t1[] = {1, 3}, c2[] = {2, 4, 3}, t2[] = {2, 1, 2}, c3[] = {5, 1},
            b3[] = {5, 2}, t3[] = {1, 1};
    cot_task_answer answers[] = {
        {.alternatives = 2, .gold = 0, .log_probability = l1, .unconditional = u1, .tokens = t1, .characters = c1, .bytes = b1},
        {.alternatives = 3, .gold = 1, .log_probability = l2, .unconditional = u2, .tokens = t2, .characters = c2, .bytes = c2},
        {.alternatives = 2, .gold = 1, .log_probability = l3, .unconditional = u3, .tokens = t3, .characters = c3, .bytes = b3},
    };
    cot_task_result r = {.kind = COT_TASK_CHOICES, .questions = 3, .answers = answers};
    CHECK_OK(cot_task_measure(&r, 10, NULL, 0));
    near(r.chance, 4.0 / 9, 1e-12);
    check_score(&r, "acc", 2.0 / 3, 1.0 / 3, 1.0 / 3);
    check_score(&r, "acc_norm", 1.0 / 3, 1.0 / 3, 1.0 / 3);
    check_score(&r, "acc_bytes", 2.0 / 3, 1.0 / 3, 0);
    check_score(&r, "acc_token", 1.0 / 3, 1.0 / 3, 0);
    check_score(&r, "acc_mutual_info", 1.0 / 3, 1.0 / 3, 0);
    check_score(&r, "brier_score", (.144659 + .506026 + .000647) / 3, .150321, NAN);
    check_score(&r, "bits_per_byte", 7 / 0.693147 / 11, NAN, NAN);
    /* Confidences .468311 (wrong), .731059, .982014 (right): three bins of one. */
    near(r.top.ece_width, (.468311 + .268941 + .017986) / 3, 1e-6);
    near(r.top.ece_mass, r.top.ece_width, 1e-12);
    assert_int_equal(r.top.count, 3);
    assert_int_equal(r.all.count, 7);
    assert_null(cot_task_result_score(&r, "perplexity"));
    cot_calibration_release(&r.top);
    cot_calibration_release(&r.all);
    cot_free(r.scores);
}

static void completions_by_hand(void **state)
{
    (void)state;
    double  l[] = {-1, -3};
    int32_t tokens[] = {2, 3}, bytes[] = {4, 6};
    cot_task_answer answers[2];
    for (int i = 0; i < 2; i++)
        answers[i] = (cot_task_answer){.alternatives = 1,
                                       .log_probability = l + i,
                                       .unconditional = l,
                                       .tokens = tokens + i,
                                       .characters = bytes + i,
                                       .bytes = bytes + i,
                                       .greedy = i == 0};
    cot_confidence top[] = {{.9, true}, {.8, true}, {.3, false}, {.5, true}, {.25, false}};
    cot_task_result r = {.kind = COT_TASK_COMPLETION, .questions = 2, .answers = answers};
    CHECK_OK(cot_task_measure(&r, 10, top, 5));
    check_score(&r, "acc", 0.5, 0.5, NAN);
    check_score(&r, "perplexity", exp(2), exp(2) * 1, NAN);  /* mean ln p -2, its standard error 1 */
    check_score(&r, "loss", 4.0 / 5, sqrt(2 * (.6 * .6 + .6 * .6)) / 5, NAN);
    check_score(&r, "token_acc", 3.0 / 5, NAN, NAN);
    check_score(&r, "bits_per_byte", 4 / 0.693147 / 10, NAN, NAN);
    near(r.top.ece_width, (.1 + .2 + .3 + .5 + .25) / 5, 1e-12);
    assert_true(isnan(r.chance) && isnan(r.temperature));
    cot_calibration_release(&r.top);
    cot_free(r.scores);
}

static void calibration_by_hand(void **state)
{
    (void)state;
    cot_confidence list[] = {{.95, true}, {.85, true}, {.75, false}, {.65, true}, {.55, false}, {.92, false}};
    cot_calibration c;
    CHECK_OK(cot_calibrate(list, 6, 10, &c));
    near(c.ece_width, 0.445, 1e-12);
    assert_int_equal(c.width[9].count, 2);
    assert_int_equal(c.width[0].count, 0);
    assert_true(isnan(c.width[0].accuracy) && isnan(c.mass[0].confidence));
    cot_calibration_release(&c);
    CHECK_OK(cot_calibrate(list, 6, 2, &c));
    /* .55 .65 .75: mean .65, 1 of 3 right; .85 .92 .95: mean .906667, 2 of 3 right */
    near(c.ece_mass, ((.65 - 1.0 / 3) + (.906667 - 2.0 / 3)) / 2, 1e-6);
    near(c.ece_width, fabs((.55 + .65 + .75 + .85 + .92 + .95) / 6 - .5), 1e-12);
    near(c.mass[0].from, .55, 0);
    near(c.mass[1].to, .95, 0);
    cot_calibration_release(&c);
    cot_confidence edges[] = {{0, false}, {1, true}, {.5, true}, {.5, false}};  /* the border belongs to the upper bin, 1 to the last */
    CHECK_OK(cot_calibrate(edges, 4, 2, &c));
    assert_int_equal(c.width[0].count, 1);
    assert_int_equal(c.width[1].count, 3);
    near(c.ece_width, 0, 1e-12);
    cot_calibration_release(&c);
    CHECK_OK(cot_calibrate(NULL, 0, 3, &c));
    assert_true(isnan(c.ece_width));
    cot_calibration_release(&c);
}

/* Answers made with logits three times too large: the temperature is 3. Gold answers come in proportion to the true
 * p. */
static void temperature_is_found(void **state)
{
    (void)state;
    enum { N = 1000 };
    static cot_task_answer answers[N];
    static double l[2] = {0, 0};
    int32_t one[] = {1, 1};
    l[0] = 3 * log(.7 / .3);
    for (int i = 0; i < N; i++)
        answers[i] = (cot_task_answer){.alternatives = 2,
                                       .gold = i >= 700,
                                       .log_probability = l,
                                       .unconditional = l,
                                       .tokens = one,
                                       .characters = one,
                                       .bytes = one};
    cot_task_result r = {.kind = COT_TASK_PAIRS, .questions = N, .answers = answers};
    CHECK_OK(cot_task_measure(&r, 10, NULL, 0));
    near(r.temperature, 3, 1e-6);
    cot_calibration_release(&r.top);
    cot_calibration_release(&r.all);
    cot_free(r.scores);
    r = (cot_task_result){.kind = COT_TASK_PAIRS, .questions = 700, .answers = answers};  /* all right: the colder the better */
    CHECK_OK(cot_task_measure(&r, 10, NULL, 0));
    assert_true(isnan(r.temperature));
    cot_calibration_release(&r.top);
    cot_calibration_release(&r.all);
    cot_free(r.scores);
}

/* ---- whole tasks ---- */

typedef struct {
    scratch        files;
    cot_tokenizer *tokenizer;
    cot_model     *model;
} fixture;

static fixture make_fixture(void)
{
    return (fixture){
        .files = scratch_make(), .tokenizer = byte_tokenizer(), .model = made_model(section, V, CONTEXT, 6)};
}

static void drop_fixture(fixture *f)
{
    cot_tokenizer_destroy(f->tokenizer);
    cot_model_destroy(f->model);
    scratch_remove(&f->files);
}

/* Bytes of `text` as tokens behind an end of text; the last `scored` of them scored with at most `window` before
 * each. */
static double slow(const fixture *f, const char *text, bool prefixed, size_t scored, int64_t window, bool *greedy)
{
    static float logits[CONTEXT * V];
    int32_t ids[1024] = {0};
    size_t  n = 0;
    if (prefixed) ids[n++] = 0;
    for (const char *c = text; *c; c++) ids[n++] = id_of(f->tokenizer, *c);
    const size_t most = (size_t)window + 1, from = n > most ? n - most : 0;
    CHECK_OK(cot_model_logits_of(f->model, ids + from, (int64_t)(n - from - 1), logits));
    double sum = 0;
    *greedy = true;
    for (size_t i = n - scored; i < n; i++) {
        const float *x = logits + (i - from - 1) * V;
        double z = 0;
        for (int v = 0; v < V; v++) {
            z += exp((double)x[v]);
            *greedy &= x[v] <= x[ids[i]];
        }
        sum += (double)x[ids[i]] - log(z);
    }
    return sum;
}

/* Where context ends and continuation begins is written in the prompts themselves: with a byte tokenizer nothing else
 * counts. */
static void check_run(const fixture *f, const cot_task *task, const cot_task_options *o)
{
    cot_task_result *r;
    const int64_t window = o->window ? o->window : CONTEXT;
    int64_t cut = 0;
    CHECK_OK(cot_task_run(f->model, f->tokenizer, task, o, NULL, NULL, &r));
    for (int64_t q = 0; q < r->questions; q++) {
        bool longer = false;
        for (int32_t i = 0; i < r->answers[q].alternatives; i++) {
            char *context, *continuation, both[1024];
            bool  greedy;
            CHECK_OK(cot_task_prompt(task, o, r->answers[q].question, i, &context, &continuation));
            snprintf(both, sizeof both, "%s%s", context, continuation);
            size_t trailing = 0;
            while (trailing < strlen(context) && strchr(" \n\t", context[strlen(context) - 1 - trailing])) trailing++;
            const size_t scored = strlen(continuation) + trailing, kept = strlen(context) - trailing;
            const double want = slow(f, both, kept == 0, scored, window, &greedy);
            near(r->answers[q].log_probability[i], want, 1e-4);
            assert_int_equal(r->answers[q].tokens[i], scored);
            if (i == r->answers[q].gold) assert_int_equal(r->answers[q].greedy, greedy);
            if (task->kind == COT_TASK_CHOICES)
                near(r->answers[q].unconditional[i], slow(f, continuation, true, strlen(continuation), window, &greedy),
                     1e-4);
            longer |= (int64_t)(strlen(both) + (kept == 0)) > window + 1;
            free(context);
            free(continuation);
        }
        cut += longer;
        assert_int_equal(r->answers[q].cut, longer);
    }
    assert_int_equal(r->cut, cut);
    cot_task_result_destroy(r);
}

static void tasks_are_the_slow_computation(void **state)
{
    (void)state;
    fixture f = make_fixture();
    cot_task *t = task_of(&f.files, "a.jsonl",
                          "{\"query\": \"What is the sea?\", \"choices\": [\"water\", \"stone is hard\"], \"gold\": 0}\n"
                          "{\"query\": \"Answer: \", \"choices\": [\"yes\", \"no\", \"yes and no\"], \"gold\": 2}\n"
                          "{\"query\": \"\", \"choices\": [\"a\", \"b\"], \"gold\": 1}\n"
                          "{\"query\": \" \\n\", \"choices\": [\"a\", \"bc\"], \"gold\": 1}\n"
                          "{\"query\": \"a question that is much longer than what the model can look at, by far\", \"choices\": [\"so it is\", \"no\"], \"gold\": 0}\n");
    const cot_task_options options[] = {{0},
                                        {.window = 33},
                                        {.shots = 2, .seed = 5},
                                        {.shots = 1, .shots_from = t, .query_end = "\n", .description = "x"},
                                        {.limit = 2}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) check_run(&f, t, &options[i]);
    cot_task_destroy(t);
    t = task_of(&f.files, "b.jsonl",
                "{\"context_options\": [\"one\", \"two \"], \"continuation\": \"end\", \"gold\": 1}\n");
    check_run(&f, t, &options[0]);
    cot_task_destroy(t);
    t = task_of(&f.files, "c.jsonl",
                "{\"sentence_good\": \"the cat sits\", \"sentence_bad\": \"the sits cat\"}\n{\"sentence_good\": \"a\", "
                "\"sentence_bad\": \"b c\"}\n");
    check_run(&f, t, &options[0]);
    cot_task_destroy(t);
    t = task_of(
        &f.files, "d.jsonl",
        "{\"context\": \"2 + 2 =\", \"continuation\": \" 4\"}\n{\"context\": \"x\\n\", \"continuation\": \"y\"}\n");
    check_run(&f, t, &options[0]);
    cot_task_destroy(t);
    drop_fixture(&f);
}

/* A model that knows nothing chooses by ties, and says so: all log probabilities are -n ln V. */
static void a_uniform_model_ties(void **state)
{
    (void)state;
    fixture f = make_fixture();
    cot_task_result *r;
    fill_parameter(f.model, "head.weight", 0);
    cot_task *t = task_of(&f.files, "a.jsonl",
                          "{\"query\": \"q\", \"choices\": [\"ab\", \"cd\", \"ef\", \"gh\"], \"gold\": 0}\n{\"query\": "
                          "\"q\", \"choices\": [\"ab\", \"cd\", \"ef\", \"gh\"], \"gold\": 3}\n");
    CHECK_OK(cot_task_run(f.model, f.tokenizer, t, &(cot_task_options){0}, NULL, NULL, &r));
    static const char *const names[] = {"acc", "acc_norm", "acc_bytes", "acc_token", "acc_mutual_info"};
    for (size_t i = 0; i < 5; i++) check_score(r, names[i], 0.5, 0.5, 1);
    check_score(r, "brier_score", .75, 0, NAN);
    check_score(r, "bits_per_byte", 3 * log(V) / log(2) / 2, 0, NAN);  /* the delimiter is a token, and no byte of the choice */
    near(r->top.ece_width, 0.25, 1e-6);
    near(r->all.ece_width, 0, 1e-6);
    cot_task_result_destroy(r);
    cot_task_destroy(t);
    drop_fixture(&f);
}

static bool stop(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    assert_true(done <= total && total == 1);
    return false;
}

static void what_cannot_be_asked(void **state)
{
    (void)state;
    fixture f = make_fixture();
    cot_task_result *r;
    cot_task *t =
        task_of(&f.files, "a.jsonl",
                "{\"query\": \"q\", \"choices\": [\"ab\", \"a continuation of thirty bytes\"], \"gold\": 0}\n");
    cot_task *pairs = task_of(&f.files, "p.jsonl", "{\"sentence_good\": \"a\", \"sentence_bad\": \"b\"}\n");
    const struct { const cot_task *task; cot_task_options options; const char *said; } wrong[] = {
        {t, {.window = 30}, "a.jsonl:1: a continuation of 31 tokens, expected at most 30, the window; no question fits into it"},
        {t, {.window = 65}, "a window of 65 tokens, expected 1 to 64, the model's context"},
        {t, {.window = -1}, "a window of -1 tokens"},
        {t, {.shots = -1}, "-1 examples"},
        {t, {.limit = -2}, "a limit of -2"},
        {t, {.bins = -1}, "-1 bins"},
        {t, {.shots = 1}, "1 examples are asked for, and "},
        {t, {.shots = 1, .shots_from = pairs}, "p.jsonl: examples of another kind, minimal pairs; expected multiple choice"},
        {pairs, {.shots = 1}, "p.jsonl: minimal pairs are scored without examples"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_FAILS(cot_task_run(f.model, f.tokenizer, wrong[i].task, &wrong[i].options, NULL, NULL, &r), COT_INVALID,
                    wrong[i].said);
        assert_null(r);
    }
    assert_int_equal(cot_task_run(f.model, f.tokenizer, t, &(cot_task_options){.window = 31}, stop, NULL, &r),
                     COT_STOPPED);
    cot_task_destroy(t);
    cot_task_destroy(pairs);
    drop_fixture(&f);
}

static cot_status read_and_run(fixture *f, const char *path)
{
    cot_task *t = NULL;
    cot_task_result *r = NULL;
    char *json = NULL;
    cot_status status = cot_task_read(path, &t);
    if (status == COT_OK)
        status = cot_task_run(f->model, f->tokenizer, t, &(cot_task_options){.shots = 1}, NULL, NULL, &r);
    if (status == COT_OK) status = cot_task_result_to_json(r, &json);
    free(json);
    cot_task_result_destroy(r);
    cot_task_destroy(t);
    return status;
}

static void memory_may_be_short(void **state)
{
    (void)state;
    fixture f = make_fixture();
    put_text(&f.files, "a.jsonl",
             "{\"query\": \"q\", \"choices\": [\"ab\", \"c\"], \"gold\": 0}\n{\"query\": \"r\", \"choices\": [\"d\", "
             "\"e\"], \"gold\": 0}\n");
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path(&f.files, "a.jsonl"));
    CHECK_OK(read_and_run(&f, path));  /* what the model keeps is there now */
    const int64_t blocks = cot_memory_blocks();
    cot_status status = COT_OUT_OF_MEMORY;
    int64_t n = 0;
    while (status != COT_OK && ++n < 2000) {
        cot_memory_fail_after(n);
        status = read_and_run(&f, path);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || status == COT_OUT_OF_MEMORY);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_true(n > 50 && n < 2000);
    drop_fixture(&f);
}

/* What does not fit is left out, and what is left is what a task without it gives. */
static void long_answers_are_left_out(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 1}\n",
        "{\"query\": \"long\", \"choices\": [\"c\", \"longer than ten tokens\"], \"gold\": 1}\n",
        "{\"query\": \"r\", \"choices\": [\"dd\", \"e\"], \"gold\": 0}\n",
    };
    fixture f = make_fixture();
    char some[512], all[512];
    snprintf(all, sizeof all, "%s%s%s", rows[0], rows[1], rows[2]);
    snprintf(some, sizeof some, "%s%s", rows[0], rows[2]);
    cot_task *t[2] = {task_of(&f.files, "all.jsonl", all), task_of(&f.files, "some.jsonl", some)};
    cot_task_result *r[2];
    for (int i = 0; i < 2; i++)
        CHECK_OK(cot_task_run(f.model, f.tokenizer, t[i], &(cot_task_options){.window = 10}, NULL, NULL, &r[i]));
    assert_int_equal(r[0]->left_out, 1);
    assert_int_equal(r[1]->left_out, 0);
    assert_int_equal(r[0]->questions, 2);
    assert_int_equal(r[0]->answers[1].question, 2);
    assert_int_equal(r[0]->answers[1].line, 3);
    for (size_t i = 0; i < r[1]->score_count; i++) assert_true(r[0]->scores[i].value == r[1]->scores[i].value);
    for (int i = 0; i < 2; i++) {
        cot_task_result_destroy(r[i]);
        cot_task_destroy(t[i]);
    }
    drop_fixture(&f);
}

/* JSON and answers, by one number of each. */
static void json_holds_it_all(void **state)
{
    (void)state;
    fixture f = make_fixture();
    cot_task_result *r;
    char *text;
    cot_task *t = task_of(&f.files, "a.jsonl", "{\"query\": \"q\", \"choices\": [\"ab\", \"c\u00e9\"], \"gold\": 1}\n");
    CHECK_OK(cot_task_run(f.model, f.tokenizer, t, &(cot_task_options){.bins = 4}, NULL, NULL, &r));
    CHECK_OK(cot_task_result_to_json(r, &text));
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    const json_t *acc = json_object_get(json_object_get(root, "scores"), "acc"),
                 *calibration = json_object_get(root, "calibration");
    assert_true(json_number_value(json_object_get(acc, "value")) == cot_task_result_score(r, "acc")->value);
    assert_true(json_is_null(json_object_get(acc, "stderr")));  /* of one question */
    assert_int_equal(json_array_size(json_object_get(json_object_get(calibration, "all"), "mass")), 4);
    assert_true(json_number_value(json_object_get(json_object_get(calibration, "top"), "ece_width")) ==
                r->top.ece_width);
    json_decref(root);
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path(&f.files, "answers.jsonl"));
    CHECK_OK(cot_task_result_write_answers(r, t, &(cot_task_options){0}, path));
    root = json_load_file(path, 0, NULL);
    const json_t *second = json_array_get(json_object_get(root, "alternatives"), 1);
    assert_string_equal(json_string_value(json_object_get(root, "context")), "q");
    assert_string_equal(json_string_value(json_object_get(second, "continuation")), " c\u00e9");
    assert_true(json_number_value(json_object_get(second, "log_probability")) == r->answers[0].log_probability[1]);
    assert_int_equal(json_integer_value(json_object_get(second, "characters")), 2);
    assert_int_equal(json_integer_value(json_object_get(second, "bytes")), 3);
    assert_int_equal(json_integer_value(json_object_get(second, "tokens")), 4);
    json_decref(root);
    CHECK_FAILS(cot_task_result_write_answers(r, t, &(cot_task_options){0}, "/absent/answers.jsonl"), COT_IO,
                "/absent");
    cot_task_result_destroy(r);
    cot_task_destroy(t);
    drop_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_joined),
        cmocka_unit_test(shots_are_drawn_evenly),
        cmocka_unit_test(scores_by_hand),
        cmocka_unit_test(completions_by_hand),
        cmocka_unit_test(calibration_by_hand),
        cmocka_unit_test(temperature_is_found),
        cmocka_unit_test(tasks_are_the_slow_computation),
        cmocka_unit_test(a_uniform_model_ties),
        cmocka_unit_test(what_cannot_be_asked),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(json_holds_it_all),
        cmocka_unit_test(long_answers_are_left_out),
    };
    (void)cot_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
