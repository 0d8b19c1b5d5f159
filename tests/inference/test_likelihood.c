/* Scores of many sequences against the logits of each alone: sequences that share beginnings in every way, batches of
 * several, mixed lengths, one thread and several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <coterie/evaluate.h>
#include <coterie/runtime.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "inference/likelihood.h"
#include "models/model_fixture.h"

enum { V = 61, CONTEXT = 700, MOST = 400, TOKENS = 200000 };

static const cot_rng_key key = {.seed = 9, .stream = COT_RNG_TEST};

static const char section[] =
    "{kind: lm, hidden_size: 16, num_layers: 2, init_std: 0.4, tie_word_embeddings: false,"
    " mixer: {kind: attention, num_heads: 2, num_kv_heads: 1, sliding_window: 90}, ffn: {kind: dense, intermediate_size: 16},"
    " layers: [{at: 1, ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 4, intermediate_size: 8}}}]}";

typedef struct {
    cot_scored_sequence list[MOST];
    size_t  count, used, scored;
    int32_t ids[TOKENS];
    uint64_t draws;
} sequences;

static int32_t draw(sequences *s, int32_t below) { return (int32_t)cot_rng_below(key, s->draws++, (uint64_t)below); }

/* A sequence that starts as `from` does (NULL: as nothing) for `same` tokens. */
static void add(sequences *s, const cot_scored_sequence *from, int32_t same, int32_t count, int32_t scored)
{
    int32_t *ids = s->ids + s->used;
    assert_true(s->count < MOST && s->used + (size_t)count <= TOKENS && count <= CONTEXT + 1);
    for (int32_t i = 0; i < count; i++) ids[i] = i < same ? from->ids[i] : draw(s, V);
    s->list[s->count++] = (cot_scored_sequence){ids, count, scored};
    s->used += (size_t)count;
    s->scored += (size_t)scored;
}

/* Each against its own logits. f32 sums of up to 90 terms through two layers: 2e-5 nats. */
static void check(cot_model *model, const sequences *s, const cot_token_likelihood *got)
{
    float *logits = cot_malloc(sizeof(float) * CONTEXT * V);
    for (size_t i = 0; i < s->count; i++) {
        const cot_scored_sequence *q = &s->list[i];
        assert_int_equal(cot_model_logits_of(model, q->ids, q->count - 1, logits), COT_OK);
        for (int32_t j = q->count - q->scored; j < q->count; j++, got++) {
            const float *x = logits + (j - 1) * V;
            double sum = 0, most = -INFINITY;
            int best = 0;
            for (int v = 0; v < V; v++) {
                sum += exp((double)x[v]);
                if ((double)x[v] > most) most = (double)x[v], best = v;
            }
            const double want = (double)x[q->ids[j]] - log(sum);
            if (!(fabs(got->log_probability - want) < 2e-5))
                fail_msg("sequence %zu, token %d: %.8g, expected %.8g", i, j, got->log_probability, want);
            if (!(fabs((double)got->best - exp(most) / sum) < 2e-5))
                fail_msg("sequence %zu, token %d: best %.8g", i, j, (double)got->best);
            if (got->greedy != (best == q->ids[j])) fail_msg("sequence %zu, token %d: greedy is %d", i, j, got->greedy);
        }
    }
    cot_free(logits);
}

static sequences *made(void)
{
    sequences *s = cot_calloc(sizeof *s);
    assert_non_null(s);
    return s;
}

static void check_all(sequences *s)
{
    cot_model *model = made_model(section, V, CONTEXT, 4);
    cot_token_likelihood *one = cot_calloc(s->scored * sizeof *one), *two = cot_calloc(s->scored * sizeof *two);
    (void)cot_set_threads(1);
    assert_int_equal(cot_sequences_score(model, COT_MODE_F32, s->list, s->count, NULL, NULL, one), COT_OK);
    check(model, s, one);
    (void)cot_set_threads(2);
    assert_int_equal(cot_sequences_score(model, COT_MODE_F32, s->list, s->count, NULL, NULL, two), COT_OK);
    (void)cot_set_threads(1);
    for (size_t i = 0; i < s->scored; i++)
        assert_true(one[i].log_probability == two[i].log_probability && one[i].best == two[i].best &&
                    one[i].greedy == two[i].greedy);
    cot_free(one);
    cot_free(two);
    cot_model_destroy(model);
    cot_free(s);
}

/* Four answers to each of 60 questions, half of them behind the same 300 tokens: several batches, a root kept between
 * them. */
static void questions_and_answers(void **state)
{
    (void)state;
    sequences *s = made();
    add(s, NULL, 0, 301, 1);
    for (int q = 0; q < 60; q++) {
        const int32_t length = 20 + draw(s, 60), base = q % 2 ? 300 : 0;
        add(s, &s->list[0], base, base + length + 3, 3);
        const cot_scored_sequence *question = &s->list[s->count - 1];
        for (int a = 0; a < 3; a++) {
            const int32_t answer = 1 + draw(s, 6);
            add(s, question, base + length, base + length + answer, answer);
        }
    }
    check_all(s);
}

/* Equal ones, one within another, single tokens, other contexts before the same end, whole sequences scored, the
 * longest possible. */
static void odd_sequences(void **state)
{
    (void)state;
    sequences *s = made();
    add(s, NULL, 0, 30, 5);
    add(s, &s->list[0], 30, 30, 5);
    add(s, &s->list[0], 30, 30, 29);
    add(s, &s->list[0], 20, 20, 3);
    add(s, &s->list[0], 29, 30, 1);
    add(s, NULL, 0, 2, 1);
    add(s, &s->list[5], 1, 2, 1);
    add(s, NULL, 0, CONTEXT + 1, CONTEXT);
    add(s, &s->list[7], CONTEXT, CONTEXT + 1, 1);
    add(s, &s->list[7], 100, CONTEXT + 1, 7);
    for (int i = 0; i < 100; i++) add(s, &s->list[7], draw(s, 50), 60, 1 + draw(s, 59));
    for (int i = 0; i < 8; i++) add(s, NULL, 0, 600, 300);
    check_all(s);
}

static bool stop_later(void *context, uint64_t done, uint64_t total)
{
    uint64_t *last = context;
    assert_true(done > *last && done <= total);
    *last = done;
    return done < total / 2;
}

static void what_cannot_be_scored(void **state)
{
    (void)state;
    cot_model *model = made_model(section, V, CONTEXT, 4);
    cot_token_likelihood out[4000];
    const int32_t ids[] = {1, 2, V, 3, 4, -1};
    const struct { cot_scored_sequence sequence; const char *said; } wrong[] = {
        {{ids, 2, 2}, "sequence 0 has 2 tokens, 2 of them scored"},
        {{ids, 2, 0}, "sequence 0 has 2 tokens, 0 of them scored"},
        {{ids, 3, 1}, "token 2 of sequence 0 is 61, expected 0 to 60"},
        {{ids, 4, 1}, "61"},
        {{ids + 3, 3, 1}, "token 2 of sequence 0 is -1, expected 0 to 60"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(cot_sequences_score(model, COT_MODE_F32, &wrong[i].sequence, 1, NULL, NULL, out), COT_INVALID);
        if (!strstr(cot_last_error(), wrong[i].said)) fail_msg("'%s' lacks '%s'", cot_last_error(), wrong[i].said);
    }
    assert_int_equal(cot_sequences_score(model, COT_MODE_F32, NULL, 0, NULL, NULL, out), COT_OK);
    sequences *s = made();
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) add(s, NULL, 0, 500, 100);
    assert_int_equal(cot_sequences_score(model, COT_MODE_F32, s->list, s->count, stop_later, &last, out), COT_STOPPED);
    assert_true(last > 0);
    fill_parameter(model, "final_norm.weight", NAN);
    assert_int_equal(cot_sequences_score(model, COT_MODE_F32, s->list, s->count, NULL, NULL, out), COT_NOT_FINITE);
    cot_free(s);
    cot_model_destroy(model);
}

static void memory_may_be_short(void **state)
{
    (void)state;
    cot_model *model = made_model(section, V, CONTEXT, 4);
    cot_token_likelihood out[4];
    const int32_t ids[] = {1, 2, 3, 4, 5};
    const cot_scored_sequence list[] = {{ids, 5, 2}, {ids, 4, 2}};
    const int64_t blocks = cot_memory_blocks();
    cot_status status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; n < 200 && status != COT_OK; n++) {
        cot_memory_fail_after(n);
        status = cot_sequences_score(model, COT_MODE_F32, list, 2, NULL, NULL, out);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || status == COT_OUT_OF_MEMORY);
    }
    assert_int_equal(status, COT_OK);
    assert_true(cot_memory_blocks() - blocks < 40);  /* panels that the model keeps for its weights */
    cot_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_and_answers), cmocka_unit_test(odd_sequences),
        cmocka_unit_test(what_cannot_be_scored), cmocka_unit_test(memory_may_be_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
