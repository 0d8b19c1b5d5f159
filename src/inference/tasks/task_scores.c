/* Scores from answers, under lm-eval's names where it has one. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "inference/tasks/task_parts.h"

static const double LN2 = 0.69314718055994530942, SAME = 1e-6;  /* log probabilities in f32 tell no more apart */

enum { MOST_SCORES = 8, SHARPNESS_STEPS = 200 };

/* ---- what alternatives are chosen by ---- */

static double by_sum(const cot_task_answer *a, int32_t i) { return a->log_probability[i]; }
static double by_character(const cot_task_answer *a, int32_t i) { return a->log_probability[i] / a->characters[i]; }
static double by_byte(const cot_task_answer *a, int32_t i) { return a->log_probability[i] / a->bytes[i]; }
static double by_token(const cot_task_answer *a, int32_t i) { return a->log_probability[i] / a->tokens[i]; }
static double by_information(const cot_task_answer *a, int32_t i)
{
    return a->log_probability[i] - a->unconditional[i];
}

static const unsigned CHOICES = 1u << COT_TASK_CHOICES, CONTEXTS = 1u << COT_TASK_CONTEXTS,
                      PAIRS = 1u << COT_TASK_PAIRS;

static const struct {
    const char *name;
    unsigned    kinds;
    double (*value)(const cot_task_answer *, int32_t);
} choosers[] = {
    {"acc", CHOICES | CONTEXTS | PAIRS, by_sum},
    {"acc_norm", CHOICES | PAIRS, by_character},
    {"acc_bytes", CHOICES | PAIRS, by_byte},
    {"acc_token", CHOICES | PAIRS, by_token},
    {"acc_mutual_info", CHOICES, by_information},
};
enum { CHOOSERS = sizeof choosers / sizeof *choosers };

static int32_t choose(const cot_task_answer *a, double (*value)(const cot_task_answer *, int32_t), bool *tied)
{
    int32_t best = 0, equals = 0;
    for (int32_t i = 1; i < a->alternatives; i++)
        if (value(a, i) > value(a, best)) best = i;
    /* What sums are divided by keeps their relative precision; a difference of two has that of the larger. */
    const double size = fabs(value(a, best)),
                 slack = SAME * (value == by_information ? fmax(size, fabs(a->log_probability[best])) : size);
    for (int32_t i = 0; i < a->alternatives; i++) equals += value(a, best) - value(a, i) <= slack;
    *tied = equals > 1;
    return best;
}

void cot_task_probabilities(const cot_task_answer *a, double sharpness, double *out)
{
    double most = -INFINITY, sum = 0;
    for (int32_t i = 0; i < a->alternatives; i++) most = fmax(most, sharpness * a->log_probability[i]);
    for (int32_t i = 0; i < a->alternatives; i++) sum += out[i] = exp(sharpness * a->log_probability[i] - most);
    for (int32_t i = 0; i < a->alternatives; i++) out[i] /= sum;
}

/* ---- means ---- */

/* Sums of a over sums of b (NULL: 1 each), with the standard error of that ratio over questions drawn anew. */
static void add_ratio(cot_task_result *r, const char *name, const double *a, const double *b)
{
    double top = 0, bottom = 0, squares = 0;
    const double n = (double)r->questions;
    for (int64_t q = 0; q < r->questions; q++) top += a[q], bottom += b ? b[q] : 1;
    const double value = bottom != 0 ? top / bottom : NAN;
    for (int64_t q = 0; q < r->questions; q++) {
        const double off = a[q] - value * (b ? b[q] : 1);
        squares += off * off;
    }
    const double error = n > 1 ? sqrt(squares * n / (n - 1)) / bottom : NAN;
    r->scores[r->score_count++] = (cot_task_score){name, value, error, NAN};
}

static cot_task_score *last_score(const cot_task_result *r) { return &r->scores[r->score_count - 1]; }

/* ---- questions with alternatives ---- */

static void add_choices(cot_task_result *r, double *work)
{
    for (size_t c = 0; c < CHOOSERS; c++) {
        int64_t ties = 0;
        if (!(choosers[c].kinds & 1u << r->kind)) continue;
        for (int64_t q = 0; q < r->questions; q++) {
            bool tied;
            work[q] = choose(&r->answers[q], choosers[c].value, &tied) == r->answers[q].gold;
            ties += tied;
        }
        add_ratio(r, choosers[c].name, work, NULL);
        last_score(r)->tie_rate = (double)ties / (double)r->questions;
    }
}

static void add_brier(cot_task_result *r, double *work, double *p)
{
    for (int64_t q = 0; q < r->questions; q++) {
        const cot_task_answer *a = &r->answers[q];
        cot_task_probabilities(a, 1, p);
        work[q] = 0;
        for (int32_t i = 0; i < a->alternatives; i++) work[q] += (p[i] - (i == a->gold)) * (p[i] - (i == a->gold));
    }
    add_ratio(r, "brier_score", work, NULL);
}

static cot_status calibrate_choices(cot_task_result *r, int64_t bins, double *p)
{
    int64_t all = 0, used = 0;
    for (int64_t q = 0; q < r->questions; q++) all += r->answers[q].alternatives;
    cot_confidence *top = cot_malloc((size_t)r->questions * sizeof *top),
                   *each = cot_malloc((size_t)all * sizeof *each);
    cot_status status =
        top && each ? COT_OK
                    : cot_fail(COT_OUT_OF_MEMORY, "no memory for the calibration of %lld answers", (long long)all);
    for (int64_t q = 0; status == COT_OK && q < r->questions; q++) {
        const cot_task_answer *a = &r->answers[q];
        bool tied;
        cot_task_probabilities(a, 1, p);
        const int32_t best = choose(a, by_sum, &tied);
        top[q] = (cot_confidence){p[best], best == a->gold};
        for (int32_t i = 0; i < a->alternatives; i++) each[used++] = (cot_confidence){p[i], i == a->gold};
    }
    if (status == COT_OK) status = cot_calibrate(top, r->questions, bins, &r->top);
    if (status == COT_OK) status = cot_calibrate(each, all, bins, &r->all);
    cot_free(top);
    cot_free(each);
    return status;
}

/* d/ds of the mean -ln p(gold) under sharpness s, a convex function of it. */
static double slope(const cot_task_result *r, double sharpness, double *p)
{
    double sum = 0;
    for (int64_t q = 0; q < r->questions; q++) {
        const cot_task_answer *a = &r->answers[q];
        cot_task_probabilities(a, sharpness, p);
        for (int32_t i = 0; i < a->alternatives; i++)
            sum += p[i] * (a->log_probability[i] - a->log_probability[a->gold]);
    }
    return sum;
}

/* The temperature with the least mean -ln p(gold), by halving; NaN where that keeps falling towards 0 or infinity. */
static double best_temperature(const cot_task_result *r, double *p)
{
    double low = -12, high = 12;  /* ln of the sharpness */
    if (!(slope(r, exp(low), p) < 0) || !(slope(r, exp(high), p) > 0)) return NAN;
    for (int i = 0; i < SHARPNESS_STEPS && high - low > 1e-12; i++) {
        const double middle = (low + high) / 2;
        if (slope(r, exp(middle), p) < 0) low = middle;
        else high = middle;
    }
    return exp(-(low + high) / 2);
}

static cot_status measure_choices(cot_task_result *r, int64_t bins, double *work)
{
    int32_t most = 0;
    r->chance = 0;
    for (int64_t q = 0; q < r->questions; q++) {
        most = r->answers[q].alternatives > most ? r->answers[q].alternatives : most;
        r->chance += 1.0 / r->answers[q].alternatives / (double)r->questions;
    }
    double *p = cot_malloc((size_t)most * sizeof *p);
    if (!p) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %d probabilities", most);
    add_choices(r, work);
    add_brier(r, work, p);
    const cot_status status = calibrate_choices(r, bins, p);
    r->temperature = best_temperature(r, p);
    cot_free(p);
    return status;
}

/* ---- completions ---- */

static cot_status measure_completions(cot_task_result *r, int64_t bins, cot_confidence *top, int64_t count,
                                      double *work, double *below)
{
    int64_t used = 0;
    r->chance = r->temperature = NAN;
    for (int64_t q = 0; q < r->questions; q++) work[q] = r->answers[q].greedy;
    add_ratio(r, "acc", work, NULL);
    for (int64_t q = 0; q < r->questions; q++) work[q] = r->answers[q].log_probability[0];
    add_ratio(r, "perplexity", work, NULL);
    last_score(r)->value = exp(-last_score(r)->value);
    last_score(r)->standard_error *= last_score(r)->value;
    for (int64_t q = 0; q < r->questions; q++)
        work[q] = -r->answers[q].log_probability[0], below[q] = r->answers[q].tokens[0];
    add_ratio(r, "loss", work, below);
    for (int64_t q = 0; q < r->questions; q++) {
        work[q] = 0;
        for (int32_t t = 0; t < r->answers[q].tokens[0]; t++) work[q] += top[used++].right;
    }
    add_ratio(r, "token_acc", work, below);
    return cot_calibrate(top, count, bins, &r->top);
}

/* Of the right continuation: smooth where accuracies still are those of guessing. */
static void add_bits_per_byte(cot_task_result *r, double *work, double *below)
{
    for (int64_t q = 0; q < r->questions; q++) {
        const cot_task_answer *a = &r->answers[q];
        work[q] = -a->log_probability[a->gold] / LN2;
        below[q] = a->bytes[a->gold];
    }
    add_ratio(r, "bits_per_byte", work, below);
}

cot_status cot_task_measure(cot_task_result *r, int64_t bins, cot_confidence *top, int64_t count)
{
    double *work = cot_malloc((size_t)r->questions * sizeof *work),
           *below = cot_malloc((size_t)r->questions * sizeof *below);
    r->scores = cot_calloc(MOST_SCORES * sizeof *r->scores);
    cot_status status =
        work && below && r->scores
            ? COT_OK
            : cot_fail(COT_OUT_OF_MEMORY, "no memory for the scores of %lld questions", (long long)r->questions);
    if (status == COT_OK)
        status = r->kind == COT_TASK_COMPLETION ? measure_completions(r, bins, top, count, work, below)
                                                : measure_choices(r, bins, work);
    if (status == COT_OK) add_bits_per_byte(r, work, below);
    cot_free(work);
    cot_free(below);
    return status;
}

const cot_task_score *cot_task_result_score(const cot_task_result *r, const char *name)
{
    for (size_t i = 0; i < r->score_count; i++)
        if (strcmp(r->scores[i].name, name) == 0) return &r->scores[i];
    return NULL;
}
