#include <coterie/generate.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"

typedef struct {
    int32_t id;
    double  value;  /* logit, then probability */
} candidate;

cot_sampling cot_sampling_default(void)
{
    return (cot_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

static cot_status check(const cot_sampling *s)
{
    if (!(s->temperature >= 0 && s->temperature < 1e6))
        return cot_fail(COT_INVALID, "temperature is %g, expected 0 or more", s->temperature);
    if (s->top_k < 0) return cot_fail(COT_INVALID, "top_k is %lld, expected 0 (all) or more", (long long)s->top_k);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return cot_fail(COT_INVALID, "top_p is %g, expected above 0 and at most 1", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1)) return cot_fail(COT_INVALID, "min_p is %g, expected 0 to 1", s->min_p);
    if (!(s->repetition_penalty > 0))
        return cot_fail(COT_INVALID, "repetition_penalty is %g, expected above 0", s->repetition_penalty);
    return COT_OK;
}

static int by_value(const void *a_, const void *b_)
{
    const candidate *a = a_, *b = b_;
    if (a->value != b->value) return a->value > b->value ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

/* Each token is penalised once, however often it occurs. */
static void penalise(candidate *c, int64_t vocab_size, const int32_t *seen, size_t count, double penalty, bool *done)
{
    if (penalty == 1) return;
    for (size_t i = 0; i < count; i++) {
        const int32_t id = seen[i];
        if (id < 0 || id >= vocab_size || done[id]) continue;
        done[id] = true;
        c[id].value = c[id].value > 0 ? c[id].value / penalty : c[id].value * penalty;
    }
}

/* Logits, sorted, become probabilities. */
static void normalise(candidate *c, int64_t count, double temperature)
{
    const double largest = c[0].value;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += c[i].value = exp((c[i].value - largest) / temperature);
    for (int64_t i = 0; i < count; i++) c[i].value /= sum;
}

/* How many of the sorted candidates stay. top-p counts what top-k left as the whole. */
static int64_t cut(const candidate *c, int64_t count, const cot_sampling *s)
{
    if (s->top_k > 0 && s->top_k < count) count = s->top_k;
    double whole = 0, sum = 0;
    for (int64_t i = 0; i < count; i++) whole += c[i].value;
    int64_t kept = 0;
    while (kept < count && (kept == 0 || sum < s->top_p * whole || s->top_p >= 1)) sum += c[kept++].value;
    while (kept > 1 && c[kept - 1].value < s->min_p * c[0].value) kept--;
    return kept;
}

static int32_t draw_from(const candidate *c, int64_t count, double u)
{
    double whole = 0, sum = 0;
    for (int64_t i = 0; i < count; i++) whole += c[i].value;
    for (int64_t i = 0; i < count; i++) {
        sum += c[i].value;
        if (u * whole < sum) return c[i].id;
    }
    return c[count - 1].id;
}

static cot_status sample(candidate *c, bool *done, const float *logits, int64_t vocab_size, const int32_t *seen,
                         size_t count, const cot_sampling *s, uint64_t draw, int32_t *out)
{
    int64_t finite = 0;
    for (int64_t i = 0; i < vocab_size; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return cot_fail(COT_NOT_FINITE, "the logit of token %lld is %g", (long long)i, (double)logits[i]);
        finite += logits[i] != -INFINITY;
        c[i] = (candidate){(int32_t)i, (double)logits[i]};
    }
    if (!finite) return cot_fail(COT_NOT_FINITE, "no token has a finite logit");
    penalise(c, vocab_size, seen, count, s->repetition_penalty, done);
    qsort(c, (size_t)vocab_size, sizeof *c, by_value);
    *out = c[0].id;
    if (s->temperature == 0) return COT_OK;
    normalise(c, vocab_size, s->temperature);
    const cot_rng_key key = {.seed = s->seed, .stream = COT_RNG_SAMPLE};
    *out = draw_from(c, cut(c, vocab_size, s), cot_rng_uniform(key, draw));
    return COT_OK;
}

cot_status cot_sample(const float *logits, int64_t vocab_size, const int32_t *seen, size_t count, const cot_sampling *s,
                      uint64_t draw, int32_t *out)
{
    COT_TRY(check(s));
    if (vocab_size < 1)
        return cot_fail(COT_INVALID, "there are %lld logits, expected 1 or more", (long long)vocab_size);
    candidate *c = cot_malloc((size_t)vocab_size * sizeof *c);
    bool *done = cot_calloc((size_t)vocab_size);
    const cot_status status = c && done
                                  ? sample(c, done, logits, vocab_size, seen, count, s, draw, out)
                                  : cot_fail(COT_OUT_OF_MEMORY, "no memory to sort %lld logits", (long long)vocab_size);
    cot_free(c);
    cot_free(done);
    return status;
}
