/* How far a model's confidence is from how often it is right.   [guo2017calibration], section 2 */
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "inference/tasks/task_parts.h"

void cot_calibration_release(cot_calibration *c)
{
    cot_free(c->width);
    cot_free(c->mass);
    *c = (cot_calibration){0};
}

/* The less confident first, wrong before right among equals: then the order in which they came does not matter. */
static int compare(const void *a_, const void *b_)
{
    const cot_confidence *const a = a_, *const b = b_;
    if (a->confidence != b->confidence) return a->confidence < b->confidence ? -1 : 1;
    return (int)a->right - (int)b->right;
}

/* Predictions [begin, end), sorted. */
static cot_calibration_bin fill_bin(const cot_confidence *predictions, int64_t begin, int64_t end, double from,
                                    double to)
{
    double confidence = 0, right = 0;
    for (int64_t i = begin; i < end; i++) confidence += predictions[i].confidence, right += predictions[i].right;
    const double count = (double)(end - begin);
    return (cot_calibration_bin){from, to, end - begin, count > 0 ? confidence / count : NAN,
                                 count > 0 ? right / count : NAN};
}

static double error_of(const cot_calibration_bin *bins, int64_t count, int64_t all)
{
    double error = 0;
    for (int64_t b = 0; b < count; b++)
        if (bins[b].count) error += (double)bins[b].count / (double)all * fabs(bins[b].accuracy - bins[b].confidence);
    return all ? error : NAN;
}

/* Bins [b, b + 1) / bins; the last one has 1 as well. */
static void fill_width(const cot_confidence *predictions, cot_calibration *c)
{
    int64_t begin = 0;
    for (int64_t b = 0; b < c->bins; b++) {
        const double from = (double)b / (double)c->bins, to = (double)(b + 1) / (double)c->bins;
        int64_t end = begin;
        while (end < c->count && (predictions[end].confidence < to || b + 1 == c->bins)) end++;
        c->width[b] = fill_bin(predictions, begin, end, from, to);
        begin = end;
    }
}

/* Their sizes differ by one at most; they reach from their least to their greatest confidence. */
static void fill_mass(const cot_confidence *predictions, cot_calibration *c)
{
    for (int64_t b = 0; b < c->bins; b++) {
        const int64_t begin = b * c->count / c->bins, end = (b + 1) * c->count / c->bins;
        const bool some = end > begin;
        c->mass[b] = fill_bin(predictions, begin, end, some ? predictions[begin].confidence : NAN,
                              some ? predictions[end - 1].confidence : NAN);
    }
}

cot_status cot_calibrate(cot_confidence *predictions, int64_t count, int64_t bins, cot_calibration *out)
{
    *out = (cot_calibration){.count = count, .bins = bins};
    out->width = cot_malloc((size_t)bins * sizeof *out->width);
    out->mass = cot_malloc((size_t)bins * sizeof *out->mass);
    if (!out->width || !out->mass)
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld bins of calibration", (long long)bins);
    if (count) qsort(predictions, (size_t)count, sizeof *predictions, compare);
    fill_width(predictions, out);
    fill_mass(predictions, out);
    out->ece_width = error_of(out->width, bins, count);
    out->ece_mass = error_of(out->mass, bins, count);
    return COT_OK;
}
