#include "base/rope.h"

#include <math.h>
#include <stddef.h>

static const double PI = 3.14159265358979323846;

const char *cot_rope_fault(const cot_rope_scaling *s, double theta, int32_t dim)
{
    if (s->rope_type == COT_ROPE_DEFAULT) return NULL;
    if (!(theta > 1)) return "a rope_theta above 1 where rotary positions are scaled";
    if (!(s->factor >= 1)) return "a factor from 1 on";
    if (s->rope_type == COT_ROPE_LINEAR) return NULL;
    if (s->original_max_position_embeddings < 1) return "original_max_position_embeddings from 1 on";
    if (s->rope_type == COT_ROPE_DYNAMIC && dim < 4) return "heads of 4 or wider for dynamic rotary positions";
    if (s->rope_type == COT_ROPE_YARN && !(s->beta_slow > 0 && s->beta_fast >= s->beta_slow))
        return "beta_fast to be beta_slow or more, and both above 0";
    if (s->rope_type == COT_ROPE_LLAMA3 && !(s->low_freq_factor > 0 && s->high_freq_factor > s->low_freq_factor))
        return "high_freq_factor to be more than low_freq_factor, and both above 0";
    return NULL;
}

/* ---- yarn ---- */

/* The pair, as a real number, that turns `turns` times within the trained length. */
static double pair_of(const cot_rope_scaling *s, double theta, int32_t dim, double turns)
{
    return dim * log((double)s->original_max_position_embeddings / (turns * 2 * PI)) / (2 * log(theta));
}

static void divide_slow_pairs(const cot_rope_scaling *s, double theta, int32_t dim, double *frequency)
{
    double low = pair_of(s, theta, dim, s->beta_fast), high = pair_of(s, theta, dim, s->beta_slow);
    if (s->truncate) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, dim - 1);
    if (low == high) high += 0.001;
    for (int32_t j = 0; j < dim / 2; j++) {
        const double ramp = fmin(fmax((j - low) / (high - low), 0), 1);
        frequency[j] *= 1 - ramp + ramp / s->factor;
    }
}

static double magnitude(double factor, double scale) { return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1; }

static double attention_factor(const cot_rope_scaling *s)
{
    if (s->attention_factor > 0) return s->attention_factor;
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return magnitude(s->factor, s->mscale) / magnitude(s->factor, s->mscale_all_dim);
    return magnitude(s->factor, 1);
}

/* ---- llama3 ---- */

static void divide_long_waves(const cot_rope_scaling *s, int32_t dim, double *frequency)
{
    const double trained = (double)s->original_max_position_embeddings;
    for (int32_t j = 0; j < dim / 2; j++) {
        const double wavelength = 2 * PI / frequency[j];
        if (wavelength < trained / s->high_freq_factor) continue;
        const double kept = wavelength > trained / s->low_freq_factor
                                ? 0
                                : (trained / wavelength - s->low_freq_factor)
                                      / (s->high_freq_factor - s->low_freq_factor);
        frequency[j] *= (1 - kept) / s->factor + kept;
    }
}

double cot_rope_frequencies(const cot_rope_scaling *s, double theta, int32_t dim, int64_t length, double *frequency)
{
    const double trained = (double)s->original_max_position_embeddings;
    if (s->rope_type == COT_ROPE_DYNAMIC && (double)length > trained)
        theta *= pow(s->factor * (double)length / trained - (s->factor - 1), (double)dim / (dim - 2));
    for (int32_t j = 0; j < dim / 2; j++) {
        frequency[j] = pow(theta, -2.0 * j / dim);
        if (s->rope_type == COT_ROPE_LINEAR) frequency[j] /= s->factor;
    }
    if (s->rope_type == COT_ROPE_LLAMA3) divide_long_waves(s, dim, frequency);
    if (s->rope_type != COT_ROPE_YARN) return 1;
    divide_slow_pairs(s, theta, dim, frequency);
    return attention_factor(s);
}
