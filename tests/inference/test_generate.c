/* Sampling by hand-worked cases and by frequency; sessions against the whole sequence at once; generation against a
 * plain loop. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>

#include "data/corpus_fixture.h"
#include "data/tokenizer_fixture.h"

#include <coterie/evaluate.h>
#include <coterie/generate.h>
#include <coterie/runtime.h>

#include "models/model_fixture.h"

/* ---- sampling ---- */

static int32_t draw_with(const float *logits, int64_t count, const cot_sampling *s, uint64_t draw)
{
    int32_t id;
    CHECK_OK(cot_sample(logits, count, NULL, 0, s, draw, &id));
    return id;
}

/* Draws must follow these probabilities: each count within 5 standard errors of a binomial, and never what has none. */
static void check_frequencies(const float *logits, int64_t count, const int32_t *seen, size_t seen_count,
                              const cot_sampling *s, const double *want)
{
    enum { DRAWS = 20000, MOST = 8 };
    int64_t times[MOST] = {0};
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        int32_t id;
        CHECK_OK(cot_sample(logits, count, seen, seen_count, s, draw, &id));
        assert_in_range(id, 0, count - 1);
        times[id]++;
    }
    for (int64_t i = 0; i < count; i++) {
        const double error = sqrt(want[i] * (1 - want[i]) * DRAWS);
        if (fabs((double)times[i] - want[i] * DRAWS) > 5 * error)
            fail_msg("token %d came %d times, expected %g", (int)i, (int)times[i], want[i] * DRAWS);
    }
}

/* Logarithms of 0.15, 0.5, 0.05, 0.3: ranks 1, 3, 0, 2. */
static const float four[4] = {-1.89711998f, -0.69314718f, -2.99573227f, -1.20397280f};

static void temperature_zero_takes_the_best(void **state)
{
    (void)state;
    static const float tie[4] = {1, 3, 2, 3};
    cot_sampling s = cot_sampling_default();
    s.temperature = 0;
    for (uint64_t draw = 0; draw < 20; draw++) {
        assert_int_equal(draw_with(four, 4, &s, draw), 1);
        assert_int_equal(draw_with(tie, 4, &s, draw), 1);  /* equal ones rank by id */
    }
}

static void draws_follow_the_probabilities(void **state)
{
    (void)state;
    cot_sampling s = cot_sampling_default();
    check_frequencies(four, 4, NULL, 0, &s, (const double[]){0.15, 0.5, 0.05, 0.3});
    s.temperature = 0.5;  /* squares: 0.0225, 0.25, 0.0025, 0.09 over 0.365 */
    check_frequencies(four, 4, NULL, 0, &s,
                      (const double[]){0.0225 / 0.365, 0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365});
    s.temperature = 1e-6;  /* no overflow: all but the best vanish */
    check_frequencies(four, 4, NULL, 0, &s, (const double[]){0, 1, 0, 0});
}

static void cuts_keep_what_they_should(void **state)
{
    (void)state;
    static const double two[4] = {0, 0.625, 0, 0.375}, three[4] = {0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95},
                        one[4] = {0, 1, 0, 0};
    const cot_sampling plain = cot_sampling_default();
    static const struct {
        int64_t       top_k;
        double        top_p, min_p;
        const double *want;
    } cases[] = {
        {2, 1, 0, two},       {3, 1, 0, three},     {1, 1, 0, one},
        {0, 0.79, 0, two},    {0, 0.81, 0, three},  {0, 1e-9, 0, one},
        {0, 1, 0.29, three},  {0, 1, 0.31, two},    {0, 1, 0.59, two}, {0, 1, 0.61, one}, {0, 1, 1, one},
        {3, 0.83, 0, two},    /* 0.8 of the 0.95 that top-k left is 0.842: enough */
        {0, 0.83, 0, three},
        {3, 0.9, 0.5, two},   /* top-p lets three through, min-p two of them */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cot_sampling s = plain;
        s.top_k = cases[i].top_k, s.top_p = cases[i].top_p, s.min_p = cases[i].min_p;
        check_frequencies(four, 4, NULL, 0, &s, cases[i].want);
    }
    cot_sampling s = plain;
    s.top_k = 100;  /* more than there are: all */
    check_frequencies(four, 4, NULL, 0, &s, (const double[]){0.15, 0.5, 0.05, 0.3});
    static const float even[4] = {0, 0, 0, 0};
    s.top_k = 2;  /* of equal ones the lower ids */
    check_frequencies(even, 4, NULL, 0, &s, (const double[]){0.5, 0.5, 0, 0});
}

static void repetition_is_penalised_once(void **state)
{
    (void)state;
    static const float logits[4] = {2, -1, 1, -2};
    static const int32_t seen[] = {0, 1, 0, 0, -1, 4};  /* ids out of range are nobody's */
    cot_sampling s = cot_sampling_default();
    s.repetition_penalty = 4;  /* 2 / 4, -1 * 4 */
    const double e[4] = {exp(0.5), exp(-4), exp(1), exp(-2)}, sum = e[0] + e[1] + e[2] + e[3];
    check_frequencies(logits, 4, seen, 6, &s, (const double[]){e[0] / sum, e[1] / sum, e[2] / sum, e[3] / sum});
    s.temperature = 0;
    int32_t id;
    CHECK_OK(cot_sample(logits, 4, seen, 6, &s, 0, &id));
    assert_int_equal(id, 2);
    CHECK_OK(cot_sample(logits, 4, NULL, 0, &s, 0, &id));
    assert_int_equal(id, 0);
}

static void what_is_not_finite_is_named(void **state)
{
    (void)state;
    const cot_sampling s = cot_sampling_default();
    int32_t id;
    const float bad[3] = {0, NAN, 0}, large[3] = {0, 0, INFINITY}, none[2] = {-INFINITY, -INFINITY},
                masked[3] = {-INFINITY, 0, -INFINITY};
    CHECK_FAILS(cot_sample(bad, 3, NULL, 0, &s, 0, &id), COT_NOT_FINITE, "token 1");
    CHECK_FAILS(cot_sample(large, 3, NULL, 0, &s, 0, &id), COT_NOT_FINITE, "token 2");
    CHECK_FAILS(cot_sample(none, 2, NULL, 0, &s, 0, &id), COT_NOT_FINITE, "no token");
    for (uint64_t draw = 0; draw < 100; draw++) assert_int_equal(draw_with(masked, 3, &s, draw), 1);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct {
        cot_sampling s;
        const char  *says;
    } cases[] = {
        {{.temperature = -1, .top_p = 1, .repetition_penalty = 1}, "temperature is -1"},
        {{.temperature = NAN, .top_p = 1, .repetition_penalty = 1}, "temperature"},
        {{.temperature = 1, .top_k = -1, .top_p = 1, .repetition_penalty = 1}, "top_k is -1"},
        {{.temperature = 1, .top_p = 0, .repetition_penalty = 1}, "top_p is 0"},
        {{.temperature = 1, .top_p = 1.5, .repetition_penalty = 1}, "top_p is 1.5"},
        {{.temperature = 1, .top_p = 1, .min_p = -0.5, .repetition_penalty = 1}, "min_p is -0.5"},
        {{.temperature = 1, .top_p = 1, .min_p = NAN, .repetition_penalty = 1}, "min_p"},
        {{.temperature = 1, .top_p = 1}, "repetition_penalty is 0"},
    };
    int32_t id;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_FAILS(cot_sample(four, 4, NULL, 0, &cases[i].s, 0, &id), COT_INVALID, cases[i].says);
    const cot_sampling s = cot_sampling_default();
    CHECK_FAILS(cot_sample(four, 0, NULL, 0, &s, 0, &id), COT_INVALID, "0 logits");
}

static void seed_and_draw_decide(void **state)
{
    (void)state;
    cot_sampling a = cot_sampling_default(), b = a;
    a.seed = 7, b.seed = 8;
    int same_seed = 0, other_seed = 0, other_draw = 0;
    for (uint64_t draw = 0; draw < 200; draw++) {
        const int32_t id = draw_with(four, 4, &a, draw);
        same_seed += id == draw_with(four, 4, &a, draw);
        other_seed += id == draw_with(four, 4, &b, draw);
        other_draw += id == draw_with(four, 4, &a, draw + 1);
    }
    assert_int_equal(same_seed, 200);
    /* Two draws agree with probability 0.365: 73 of 200, standard deviation 6.8. */
    assert_in_range(other_seed, 39, 107);
    assert_in_range(other_draw, 39, 107);
}

/* ---- sessions ---- */

enum { V = 257, CONTEXT = 24 };

/* Weights large enough that attention and routing matter. */
#define MODEL(attention, more)                                                                                                     \
    "{kind: lm, hidden_size: 32, num_layers: 3, init_std: 0.15, tie_word_embeddings: false, mixer: {kind: attention, num_heads: 4, "  \
    attention "}, ffn: {kind: dense, intermediate_size: 24}, layers: [{at: 1, ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, " \
    "experts: {kind: ffn, num_experts: 4, intermediate_size: 16}" more "}}]}"

static const char *const models[] = {
    MODEL("num_kv_heads: 2", ""),
    MODEL("num_kv_heads: 1, sliding_window: 5, qk_norm: true, bias: true",
          ", shared: {intermediate_size: 8, gate: sigmoid}"),
    MODEL("rope_theta: 0", ", shared: {intermediate_size: 8}"),
};

static const char *const windowed[] = {
    MODEL("num_kv_heads: 1, sliding_window: 5", ""),
    "{kind: lm, hidden_size: 32, num_layers: 3, init_std: 0.15, mixer: {kind: attention, num_kv_heads: 1, sliding_window: 5}, "
    "ffn: {kind: dense, intermediate_size: 24}, layers: [{at: 1, mixer: {kind: attention, num_kv_heads: 1}}]}",
};

static void some_ids(int32_t *ids, int count)
{
    for (int i = 0; i < count; i++) ids[i] = (i * 73 + i * i * 5 + 11) % V;
}

/* Sums of up to 32 products in another order, through three layers: far below 1e-4 of logits of size 1. */
static void check_logits(const float *got, const float *want, const char *what, int where)
{
    for (int v = 0; v < V; v++)
        if (!(fabsf(got[v] - want[v]) <= 1e-4f * (1 + fabsf(want[v]))))
            fail_msg("%s: logit %d after token %d is %g, expected %g", what, v, where, (double)got[v], (double)want[v]);
}

static void feeding_in_any_parts_is_the_same(void **state)
{
    (void)state;
    static float want[CONTEXT * V];
    int32_t ids[CONTEXT];
    const float *logits;
    some_ids(ids, CONTEXT);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        cot_model *model = made_model(models[m], V, CONTEXT, 3);
        cot_session *one, *all, *parts;
        CHECK_OK(cot_model_logits_of(model, ids, CONTEXT, want));
        CHECK_OK(cot_session_create(model, 0, false, &one));
        CHECK_OK(cot_session_create(model, CONTEXT, false, &all));
        CHECK_OK(cot_session_create(model, 2 * CONTEXT, false, &parts));
        for (int i = 0; i < CONTEXT; i++) {
            CHECK_OK(cot_session_feed(one, ids + i, 1, &logits));
            assert_int_equal(cot_session_length(one), i + 1);
            check_logits(logits, want + i * V, "one by one", i);
        }
        CHECK_OK(cot_session_feed(all, ids, CONTEXT, &logits));
        check_logits(logits, want + (CONTEXT - 1) * V, "at once", CONTEXT - 1);
        for (int i = 0, n = 1; i < CONTEXT; i += n, n = n % 7 + 1) {
            const int count = n < CONTEXT - i ? n : CONTEXT - i;
            CHECK_OK(cot_session_feed(parts, ids + i, count, &logits));
            check_logits(logits, want + (i + count - 1) * V, "in parts", i + count - 1);
        }
        /* The first choice for the last token is known for sparse layers only. */
        assert_int_equal(cot_session_expert(one, 0), -1);
        assert_in_range(cot_session_expert(one, 1), 0, 3);
        assert_int_equal(cot_session_expert(one, 1), cot_session_expert(all, 1));
        assert_int_equal(cot_session_expert(one, 1), cot_session_expert(parts, 1));
        assert_int_equal(cot_session_expert(one, 3), -1);
        assert_int_equal(cot_session_expert(one, -1), -1);
        cot_session_destroy(one);
        cot_session_destroy(all);
        cot_session_destroy(parts);
        cot_model_destroy(model);
    }
}

static void what_was_truncated_is_forgotten(void **state)
{
    (void)state;
    static float want[CONTEXT * V];
    int32_t ids[CONTEXT], other[CONTEXT];
    const float *logits;
    cot_session *session;
    cot_model *model = made_model(models[0], V, CONTEXT, 3);
    some_ids(ids, CONTEXT);
    some_ids(other, CONTEXT);
    for (int i = 9; i < CONTEXT; i++) other[i] = (other[i] + 100) % V;
    CHECK_OK(cot_model_logits_of(model, ids, CONTEXT, want));
    CHECK_OK(cot_session_create(model, 0, false, &session));
    CHECK_OK(cot_session_feed(session, other, CONTEXT, &logits));
    cot_session_truncate(session, CONTEXT + 5);  /* nothing to forget */
    assert_int_equal(cot_session_length(session), CONTEXT);
    cot_session_truncate(session, 9);
    assert_int_equal(cot_session_length(session), 9);
    CHECK_OK(cot_session_feed(session, ids + 9, CONTEXT - 9, &logits));
    check_logits(logits, want + (CONTEXT - 1) * V, "after truncation", CONTEXT - 1);
    cot_session_truncate(session, -3);
    assert_int_equal(cot_session_length(session), 0);
    CHECK_OK(cot_session_feed(session, ids, 1, &logits));
    check_logits(logits, want, "from the start", 0);
    cot_session_destroy(session);
    cot_model_destroy(model);
}

/* Beyond a sliding window a session drops what nobody sees, in the layers that have one; it can still go back
 * anywhere. */
static void sessions_keep_a_window(void **state)
{
    (void)state;
    enum { LONG = 1300, FEW = 40 };
    static const int cuts[] = {FEW, FEW + 1, 700, 701, 702, LONG};
    static float want[LONG * V];
    static int32_t ids[LONG];
    const float *logits;
    cot_session *session;
    some_ids(ids, LONG);
    for (int m = 0; m < 2; m++) {
        cot_model *model = made_model(windowed[m], V, LONG, 3);
        const cot_model_info all = cot_model_describe(model, LONG), few = cot_model_describe(model, FEW);
        const int64_t rows = 516 - FEW, more = m == 0 ? 3 * rows : 2 * rows + LONG - FEW;  /* 512 beyond the window's 4 */
        assert_int_equal(all.bytes_serving - few.bytes_serving, more * 2 * 8 * 4);
        CHECK_OK(cot_model_logits_of(model, ids, LONG, want));
        CHECK_OK(cot_session_create(model, LONG, false, &session));
        for (int round = 0; round < 2; round++) {
            for (int i = 0, from = 0; from < LONG; from = cuts[i++]) {
                CHECK_OK(cot_session_feed(session, ids + from, cuts[i] - from, &logits));
                check_logits(logits, want + (cuts[i] - 1) * V, "beyond the window", cuts[i] - 1);
            }
            cot_session_truncate(session, LONG - 3);  /* still there */
            CHECK_OK(cot_session_feed(session, ids + LONG - 3, 3, &logits));
            check_logits(logits, want + (LONG - 1) * V, "three again", LONG - 1);
            cot_session_truncate(session, FEW);       /* dropped: read again with what follows */
            assert_int_equal(cot_session_length(session), FEW);
            CHECK_OK(cot_session_feed(session, ids + FEW, 5, &logits));
            check_logits(logits, want + (FEW + 4) * V, "far back", FEW + 4);
            cot_session_truncate(session, 0);
        }
        cot_session_destroy(session);
        cot_model_destroy(model);
    }
}

static void failures_leave_a_session_as_it_was(void **state)
{
    (void)state;
    static float want[CONTEXT * V];
    int32_t ids[CONTEXT];
    const int32_t wrong[2] = {1, V}, negative[1] = {-1};
    const float *logits;
    cot_session *session;
    cot_model *model = made_model(models[0], V, CONTEXT, 3);
    some_ids(ids, CONTEXT);
    CHECK_OK(cot_model_logits_of(model, ids, CONTEXT, want));
    CHECK_FAILS(cot_session_create(model, -1, false, &session), COT_INVALID, "-1");
    assert_null(session);
    CHECK_OK(cot_session_create(model, 8, false, &session));
    CHECK_OK(cot_session_feed(session, ids, 5, &logits));
    CHECK_FAILS(cot_session_feed(session, ids + 5, 4, &logits), COT_INVALID, "the session holds 5 of 8");
    CHECK_FAILS(cot_session_feed(session, ids + 5, 0, &logits), COT_INVALID, "expected 1 to 3");
    CHECK_FAILS(cot_session_feed(session, wrong, 2, &logits), COT_INVALID, "257");
    CHECK_FAILS(cot_session_feed(session, negative, 1, &logits), COT_INVALID, "-1");
    assert_int_equal(cot_session_length(session), 5);
    CHECK_OK(cot_session_feed(session, ids + 5, 3, &logits));
    check_logits(logits, want + 7 * V, "after failures", 7);
    CHECK_FAILS(cot_session_feed(session, ids + 8, 1, &logits), COT_INVALID, "the session holds 8 of 8");
    static float two[2 * V];
    CHECK_FAILS(cot_model_logits_of(model, wrong, 2, two), COT_INVALID, "257");
    CHECK_FAILS(cot_model_logits_of(model, ids, 0, two), COT_INVALID, "0 tokens");
    cot_session_destroy(session);
    cot_model_destroy(model);
}

/* bf16 keeps 8 bits: sums of products in it are a few per cent off, not wrong. */
static void sessions_in_bf16_are_near(void **state)
{
    (void)state;
    static float want[CONTEXT * V];
    int32_t ids[CONTEXT];
    const float *logits;
    cot_session *session;
    cot_model *model = made_model("{kind: lm, hidden_size: 32, num_layers: 2, init_std: 0.15, mixer: {kind: "
                                  "attention}, ffn: {kind: dense, intermediate_size: 24}}",
                                  V, CONTEXT, 3);
    some_ids(ids, CONTEXT);
    CHECK_OK(cot_model_logits_of(model, ids, CONTEXT, want));
    CHECK_OK(cot_session_create(model, 0, true, &session));
    double error = 0, size = 0;
    for (int i = 0; i < CONTEXT; i++) {
        CHECK_OK(cot_session_feed(session, ids + i, 1, &logits));
        for (int v = 0; v < V; v++)
            error += pow((double)(logits[v] - want[i * V + v]), 2), size += pow((double)want[i * V + v], 2);
    }
    assert_true(sqrt(error / size) < 0.02);
    cot_session_destroy(session);
    cot_model_destroy(model);
}

/* ---- generation ---- */

typedef struct {
    char    text[4096];
    size_t  length, calls, most_calls;  /* most_calls 0: no end */
    int32_t ids[1024], experts[1024];
} heard;

static bool hear(void *context, const char *bytes, size_t length, int32_t id, int32_t expert)
{
    heard *h = context;
    assert_true(h->length + length < sizeof h->text && h->calls < 1024);
    if (length) memcpy(h->text + h->length, bytes, length);
    h->length += length;
    h->ids[h->calls] = id;
    h->experts[h->calls++] = expert;
    return h->calls != h->most_calls;
}

typedef struct {
    cot_model     *model;
    cot_tokenizer *tokenizer;
} writer;

/* A tokenizer with merges (" the", "at"), and a model over its symbols. */
static writer make_writer(int64_t context)
{
    writer w = {
        .tokenizer = train_on(
            "the cat and the dog and the rat that sat on the mat with the hat and that was that, said the cat", 269)};
    assert_non_null(w.tokenizer);
    w.model = made_model(models[0], cot_tokenizer_vocab_size(w.tokenizer) + 7, context, 5);  /* seven rows pad the embedding */
    cot_param *head = parameter_of(w.model, "head.weight");
    float *row = head->value.data;
    for (int64_t i = 257 * head->value.shape[1]; i < cot_tensor_count(&head->value); i++) row[i] *= 4;  /* so that merged tokens come often */
    head->version++;
    return w;
}

static void drop_writer(writer *w)
{
    cot_tokenizer_destroy(w->tokenizer);
    cot_model_destroy(w->model);
}

static cot_generate_options plain_options(uint64_t seed, int64_t max_tokens)
{
    cot_generate_options o = {.sampling = cot_sampling_default(), .max_tokens = max_tokens, .layer = 1};
    o.sampling.seed = seed;
    return o;
}

static cot_generated generate(const writer *w, const char *prompt, const cot_generate_options *o, heard *h)
{
    cot_generated done;
    const size_t most = h->most_calls;
    *h = (heard){.most_calls = most};
    CHECK_OK(cot_generate(w->model, w->tokenizer, prompt, strlen(prompt), o, hear, h, &done));
    return done;
}

/* Without stop texts: the loop that anyone would write, on logits of whole sequences. */
static size_t plain_loop(const writer *w, const char *prompt, const cot_generate_options *o, int32_t *ids,
                         size_t *prompt_count)
{
    const int64_t context = w->model->context, vocab_size = w->model->vocab_size,
                  known = cot_tokenizer_vocab_size(w->tokenizer);
    float  *logits = malloc((size_t)(context * vocab_size) * sizeof *logits);
    int32_t *start;
    size_t  count, from = 0, made = 0;
    CHECK_OK(cot_tokenizer_encode(w->tokenizer, prompt, strlen(prompt), true, &start, &count));
    memcpy(ids, start, count * sizeof *ids);
    free(start);
    *prompt_count = count;
    for (; made < (size_t)o->max_tokens; made++) {
        if ((int64_t)(count - from) > context) from = count - (size_t)((context + 1) / 2);
        CHECK_OK(cot_model_logits_of(w->model, ids + from, (int64_t)(count - from), logits));
        float *last = logits + (int64_t)(count - from - 1) * vocab_size;
        for (int64_t i = known; i < vocab_size; i++) last[i] = -INFINITY;
        CHECK_OK(cot_sample(last, vocab_size, ids, count, &o->sampling, made, &ids[count]));
        if (ids[count++] == cot_tokenizer_end_of_text(w->tokenizer)) break;
    }
    free(logits);
    return made;
}

static void check_against_loop(const writer *w, const char *prompt, const cot_generate_options *o)
{
    int32_t ids[1024];
    size_t prompt_count, length;
    heard h = {0};
    char *text;
    const size_t made = plain_loop(w, prompt, o, ids, &prompt_count);
    const cot_generated done = generate(w, prompt, o, &h);
    assert_int_equal(done.prompt_tokens, prompt_count);
    assert_int_equal(done.tokens, made);
    assert_int_equal(done.ended, made < (size_t)o->max_tokens);
    assert_int_equal(h.calls, made);
    assert_memory_equal(h.ids, ids + prompt_count, made * sizeof *ids);
    CHECK_OK(cot_tokenizer_decode(w->tokenizer, ids + prompt_count, made, false, &text, &length));
    assert_int_equal(h.length, length);
    assert_memory_equal(h.text, text, length);
    free(text);
    for (size_t i = 0; i < h.calls; i++) assert_in_range(h.experts[i], 0, 3);
}

static void generation_is_the_plain_loop(void **state)
{
    (void)state;
    writer w = make_writer(64);
    for (uint64_t seed = 0; seed < 4; seed++) {
        cot_generate_options o = plain_options(seed, 40);
        check_against_loop(&w, "the cat", &o);
        o.sampling.repetition_penalty = 1.3, o.sampling.top_k = 12, o.sampling.temperature = 0.7;
        check_against_loop(&w, "the cat", &o);
    }
    drop_writer(&w);
}

/* Longer than the context: the later half is read anew, as often as need be; so is a prompt that is too long. */
static void the_context_slides(void **state)
{
    (void)state;
    static const int64_t contexts[] = {1, 2, 7, 16};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        writer w = make_writer(contexts[i]);
        cot_generate_options o = plain_options(9, 50);
        check_against_loop(&w, "the cat sat on the dog and said that the rat was on the mat", &o);
        check_against_loop(&w, "t", &o);
        o.sampling.temperature = 0;
        check_against_loop(&w, "t", &o);
        drop_writer(&w);
    }
}

static void the_same_seed_gives_the_same_text(void **state)
{
    (void)state;
    writer w = make_writer(32);
    static heard a, b, c;
    cot_generate_options o = plain_options(4, 60);
    generate(&w, "the ", &o, &a);
    generate(&w, "the ", &o, &b);
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.text, b.text, a.length);
    o.sampling.seed = 5;
    generate(&w, "the ", &o, &c);
    assert_true(a.length != c.length || memcmp(a.text, c.text, a.length) != 0);
    o = plain_options(4, 0);
    const cot_generated none = generate(&w, "the ", &o, &c);
    assert_int_equal(none.tokens, 0);
    assert_int_equal(c.calls, 0);
    assert_false(none.ended);
    drop_writer(&w);
}

static void an_end_of_text_ends_it(void **state)
{
    (void)state;
    writer w = make_writer(32);
    static heard h;
    fill_parameter(w.model, "head.weight", 0);  /* all equal: the best is id 0, which is the end of text */
    cot_generate_options o = plain_options(0, 10);
    o.sampling.temperature = 0;
    const cot_generated done = generate(&w, "the", &o, &h);
    assert_true(done.ended);
    assert_int_equal(done.tokens, 0);
    assert_int_equal(h.calls, 0);
    const cot_generated empty = generate(&w, "", &o, &h);  /* starts from the end of text */
    assert_int_equal(empty.prompt_tokens, 1);
    drop_writer(&w);
}

static void a_listener_can_stop(void **state)
{
    (void)state;
    writer w = make_writer(32);
    static heard whole, part = {.most_calls = 7};
    const cot_generate_options o = plain_options(2, 30);
    generate(&w, "the", &o, &whole);
    assert_int_equal(whole.calls, 30);
    const cot_generated done = generate(&w, "the", &o, &part);
    assert_int_equal(part.calls, 7);
    assert_int_equal(done.tokens, 7);
    assert_false(done.ended);
    assert_memory_equal(part.text, whole.text, part.length);
    drop_writer(&w);
}

/* ---- stop texts ---- */

/* What must be told with these stop texts, from the tokens of the text without any: where it is cut, and after how many
 * tokens. */
static size_t cut_at(const cot_tokenizer *tokenizer, const heard *whole, const char *const *stop, size_t count,
                     size_t *tokens)
{
    size_t length = 0;
    for (*tokens = 0; *tokens < whole->calls;) {
        size_t bytes, first = SIZE_MAX;
        cot_tokenizer_token(tokenizer, whole->ids[(*tokens)++], &bytes);
        length += bytes;
        for (size_t i = 0; i < count; i++) {
            const char *at = *stop[i] ? memmem(whole->text, length, stop[i], strlen(stop[i])) : NULL;
            if (at && (size_t)(at - whole->text) < first) first = (size_t)(at - whole->text);
        }
        if (first != SIZE_MAX) return first;
    }
    return length;
}

static void check_stops(const writer *w, const heard *whole, const char *const *stop, size_t count)
{
    static heard h;
    size_t tokens;
    cot_generate_options o = plain_options(11, (int64_t)whole->calls);
    o.stop = stop, o.stop_count = count;
    const size_t length = cut_at(w->tokenizer, whole, stop, count, &tokens);
    h.most_calls = 0;
    const cot_generated done = generate(w, "the", &o, &h);
    if (h.length != length || memcmp(h.text, whole->text, length) != 0)
        fail_msg("stop '%s': %zu bytes were told, expected %zu", stop[0], h.length, length);
    assert_int_equal(done.tokens, tokens);
    assert_int_equal(done.ended, length < whole->length);
}

/* A part of the text as a stop text; false where it holds a zero byte. */
static bool part_of(const heard *whole, size_t at, size_t length, char *out)
{
    if (at + length > whole->length || memchr(whole->text + at, 0, length)) return false;
    memcpy(out, whole->text + at, length);
    out[length] = '\0';
    return true;
}

static void stop_texts_cut_at_the_right_byte(void **state)
{
    (void)state;
    writer w = make_writer(64);
    static heard whole;
    const cot_generate_options o = plain_options(11, 24);
    generate(&w, "the", &o, &whole);
    assert_int_equal(whole.calls, 24);
    assert_true(whole.length > 30);  /* some tokens are longer than a byte */
    for (size_t at = 0; at < whole.length; at++)
        for (size_t length = 1; length <= 9; length += 2) {
            char one[16], two[16];
            if (!part_of(&whole, at, length, one)) continue;
            check_stops(&w, &whole, (const char *const[]){one}, 1);
            if (!part_of(&whole, (at * 7 + 3) % whole.length, 1 + at % 4, two)) continue;
            check_stops(&w, &whole, (const char *const[]){one, two}, 2);
        }
    check_stops(&w, &whole, (const char *const[]){""}, 1);  /* no text at all stops nothing */
    drop_writer(&w);
}

/* Text is told as soon as it cannot be the start of a stop text, and no sooner. */
static void text_is_held_back_no_longer_than_needed(void **state)
{
    (void)state;
    writer w = make_writer(64);
    static heard whole, h;
    cot_generate_options o = plain_options(11, 24);
    generate(&w, "the", &o, &whole);
    char almost[16];
    size_t at = 5;
    while (!part_of(&whole, at, 6, almost)) at++;
    almost[5] = (char)(almost[5] ^ 1);  /* five bytes of it come, the sixth does not */
    const char *const stop[] = {almost};
    o.stop = stop, o.stop_count = 1;
    for (size_t tokens = 1; tokens <= whole.calls; tokens++) {  /* a run cut short tells all that it has */
        o.max_tokens = (int64_t)tokens;
        h.most_calls = 0;
        generate(&w, "the", &o, &h);
        size_t length = 0;
        for (size_t i = 0; i < tokens; i++) {
            size_t bytes;
            cot_tokenizer_token(w.tokenizer, whole.ids[i], &bytes);
            length += bytes;
        }
        assert_int_equal(h.length, length);
    }
    assert_int_equal(h.calls, whole.calls);
    assert_memory_equal(h.ids, whole.ids, whole.calls * sizeof *h.ids);
    drop_writer(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_zero_takes_the_best),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(cuts_keep_what_they_should),
        cmocka_unit_test(repetition_is_penalised_once),
        cmocka_unit_test(what_is_not_finite_is_named),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(seed_and_draw_decide),
        cmocka_unit_test(feeding_in_any_parts_is_the_same),
        cmocka_unit_test(what_was_truncated_is_forgotten),
        cmocka_unit_test(sessions_keep_a_window),
        cmocka_unit_test(failures_leave_a_session_as_it_was),
        cmocka_unit_test(sessions_in_bf16_are_near),
        cmocka_unit_test(generation_is_the_plain_loop),
        cmocka_unit_test(the_context_slides),
        cmocka_unit_test(the_same_seed_gives_the_same_text),
        cmocka_unit_test(an_end_of_text_ends_it),
        cmocka_unit_test(a_listener_can_stop),
        cmocka_unit_test(stop_texts_cut_at_the_right_byte),
        cmocka_unit_test(text_is_held_back_no_longer_than_needed),
    };
    (void)cot_set_threads(1);  /* models this small gain nothing from more */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
