/* Included once per mode; see kernels.h. Loops over 16 lanes become vector code, local arrays of 16 its registers. */
#include "kernels/attention/attention.h"
#include "kernels/attention/transpose.h"

#ifndef EACH_LANE
#define EACH_LANE _Pragma("omp simd") for (int i = 0; i < COT_ATTENTION_STRIP; i++)
#endif

#if COT_IS_F64
#define EXP2(x) exp2(x)
#define LOG2(x) log2(x)
#elif COT_ISA_LEVEL == 0
#define EXP2(x) exp2f(x)
#define LOG2(x) log2f(x)
#else
#define EXP2(x) cot_fast_exp2f(x)
#define LOG2(x) log2f(x)
#endif

#define TILE COT_ATTENTION_TILE
#define STRIP COT_ATTENTION_STRIP
#define LINE ((int32_t)(64 / sizeof(act)))
#define AHEAD 8  /* rows from the one at work to the one asked for */

/* The commonest head sizes get loops of known length. */
#define BY_DIM(function, ...)                             \
    do {                                                  \
        if (dim == 64) function(64, __VA_ARGS__);         \
        else if (dim == 32) function(32, __VA_ARGS__);    \
        else if (dim == 128) function(128, __VA_ARGS__);  \
        else function(dim, __VA_ARGS__);                  \
    } while (0)

/* Rounding to bf16 in fewer steps than STORE takes: NaNs that arithmetic makes stay NaN, the case of other NaNs is left
 * out. Weights and their gradients round ties away from zero, what leaves the operation to even. */
#if COT_IS_BF16
static inline uint32_t K(bits_of)(real value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint32_t K(rounded)(real value) { return K(bits_of)(value) + 0x8000u; }  /* in the upper half */
static inline act K(narrow)(real value)
{
    const uint32_t bits = K(bits_of)(value);
    return (act)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
#else
static inline act K(narrow)(real value) { return value; }
#endif

/* ---- rotary positions: [su2021roformer], half-split pairs ---- */

/* Angles are sums of a coarse and a fine one, so that a position costs a complex product and not a sine. */
static void K(attention_turns)(int32_t first, int32_t n, int32_t dim, const double *frequency, double size,
                               void *turns_)
{
    enum { FINE = 16 };
    real *turns = turns_;
    const int32_t half = dim / 2;
    for (int32_t j = 0; j < half; j++) {
        double cosine[FINE], sine[FINE], coarse_cosine = 0, coarse_sine = 0;
        for (int32_t p = first; p < first + n && p < first + FINE; p++) {
            cosine[p % FINE] = cos(p % FINE * frequency[j]);
            sine[p % FINE] = sin(p % FINE * frequency[j]);
        }
        for (int32_t p = first; p < first + n; p++) {
            const int32_t fine = p % FINE;
            if (p == first || fine == 0) {
                coarse_cosine = size * cos((p - fine) * frequency[j]);
                coarse_sine = size * sin((p - fine) * frequency[j]);
            }
            real *turn = turns + (size_t)(p - first) * (size_t)dim;
            turn[j] = (real)(coarse_cosine * cosine[fine] - coarse_sine * sine[fine]);
            turn[half + j] = (real)(coarse_sine * cosine[fine] + coarse_cosine * sine[fine]);
        }
    }
}

/* Rows of a head lie thousands of bytes apart, where the processor does not see them coming. */
static inline void K(prefetch)(int32_t dim, const act *row)
{
    for (int32_t j = 0; j < dim; j += LINE) __builtin_prefetch(row + j);
}

/* Into the second cache: the first one is busy with the tile at work. */
static void K(attention_fetch)(int32_t n, int32_t dim, const void *x, int64_t stride)
{
    for (int32_t t = 0; t < n; t++)
        for (int32_t j = 0; j < dim; j += LINE) __builtin_prefetch((const act *)x + t * stride + j, 0, 2);
}

static inline void K(gather_rows)(int32_t dim, int32_t n, const act *from, int64_t stride, const real *turns,
                                  const int32_t *position, real factor, act *rows)
{
    const int32_t half = dim / 2;
    for (int32_t t = 0; t < n; t++) {
        const act *x = from + t * stride;
        act *row = rows + (size_t)t * (size_t)dim;
        if (t + AHEAD < n) K(prefetch)(dim, x + AHEAD * stride);
        if (turns) {
            const real *cosine = turns + (size_t)position[t] * (size_t)dim, *sine = cosine + half;
#pragma omp simd
            for (int32_t j = 0; j < half; j++) {
                const real a = factor * LOAD(x[j]), b = factor * LOAD(x[half + j]);
                row[j] = K(narrow)(a * cosine[j] - b * sine[j]);
                row[half + j] = K(narrow)(b * cosine[j] + a * sine[j]);
            }
        } else {
#pragma omp simd
            for (int32_t j = 0; j < dim; j++) row[j] = K(narrow)(factor * LOAD(x[j]));
        }
    }
}

static void K(attention_gather)(int32_t n, int32_t padded, int32_t dim, const void *x, int64_t stride,
                                const void *turns, const int32_t *position, double factor, void *rows)
{
    BY_DIM(K(gather_rows), n, x, stride, turns, position, (real)factor, rows);
    if (padded > n) memset((act *)rows + (size_t)n * (size_t)dim, 0, (size_t)(padded - n) * (size_t)dim * sizeof(act));
}

static inline void K(copy_rows)(int32_t dim, int32_t n, const act *from, int64_t stride, act *rows)
{
    for (int32_t t = 0; t < n; t++) {
        if (t + AHEAD < n) K(prefetch)(dim, from + (t + AHEAD) * stride);
#pragma omp simd
        for (int32_t j = 0; j < dim; j++) rows[t * dim + j] = from[t * stride + j];
    }
}

static void K(attention_copy)(int32_t n, int32_t padded, int32_t dim, const void *x, int64_t stride, void *rows)
{
    BY_DIM(K(copy_rows), n, x, stride, rows);
    if (padded > n) memset((act *)rows + (size_t)n * (size_t)dim, 0, (size_t)(padded - n) * (size_t)dim * sizeof(act));
}

/* Inlined with a constant for `accumulate`. */
static inline void K(put)(bool accumulate, act *x, real value)
{
    *x = K(narrow)(accumulate ? LOAD(*x) + value : value);
}

static inline void K(scatter_rows)(int32_t dim, bool accumulate, int32_t n, const real *rows, const real *turns,
                                   const int32_t *position, real factor_, const real *factors, act *to, int64_t stride)
{
    const int32_t half = dim / 2;
    for (int32_t t = 0; t < n; t++) {
        const real *row = rows + (size_t)t * (size_t)dim, factor = factors ? factor_ * factors[t] : factor_;
        act *x = to + t * stride;
        if (t + AHEAD < n) K(prefetch)(dim, x + AHEAD * stride);
        if (turns) {
            const real *cosine = turns + (size_t)position[t] * (size_t)dim, *sine = cosine + half;
#pragma omp simd
            for (int32_t j = 0; j < half; j++) {
                const real a = factor * row[j], b = factor * row[half + j];
                K(put)(accumulate, x + j, a * cosine[j] + b * sine[j]);
                K(put)(accumulate, x + half + j, b * cosine[j] - a * sine[j]);
            }
        } else {
#pragma omp simd
            for (int32_t j = 0; j < dim; j++) K(put)(accumulate, x + j, factor * row[j]);
        }
    }
}

static void K(attention_scatter)(int32_t n, int32_t dim, const void *rows, const void *turns, const int32_t *position,
                                 double factor, const void *factors, void *x, int64_t stride, bool accumulate)
{
    if (accumulate) BY_DIM(K(scatter_rows), true, n, rows, turns, position, (real)factor, factors, x, stride);
    else BY_DIM(K(scatter_rows), false, n, rows, turns, position, (real)factor, factors, x, stride);
}

/* ---- layouts ---- */

static void K(attention_real_rows)(int32_t n, int32_t dim, const void *columns, void *rows)
{
#if COT_IS_F64
    transpose8(dim, n, columns, TILE, rows, (size_t)dim);
#else
    transpose4(dim, n, columns, TILE, rows, (size_t)dim);
#endif
}

#if COT_IS_BF16

/* Neighbours along dim lie side by side already: transposing them as units of 4 bytes gives the pairs. */
static void K(attention_column_pairs)(int32_t n, int32_t dim, const void *rows, void *pairs)
{
    transpose4(n, dim / 2, rows, (size_t)dim / 2, pairs, TILE);
}

static void K(attention_columns)(int32_t n, int32_t dim, const void *rows, void *columns)
{
    enum { UNITS = 16 };
    uint32_t unit[UNITS * TILE];
    for (int32_t c = 0; c < dim / 2; c += UNITS) {
        const int32_t units = dim / 2 - c < UNITS ? dim / 2 - c : UNITS;
        transpose4(n, units, (const act *)rows + 2 * c, (size_t)dim / 2, unit, TILE);
        for (int32_t u = 0; u < units; u++) {
            act *even = (act *)columns + (size_t)(2 * (c + u)) * TILE, *odd = even + TILE;
            const uint32_t *from = unit + u * TILE;
#pragma omp simd
            for (int32_t i = 0; i < n; i++) {
                even[i] = (act)from[i];
                odd[i] = (act)(from[i] >> 16);
            }
        }
    }
}

static void K(attention_row_pairs)(int32_t n, int32_t dim, const void *rows, void *pairs)
{
    for (int32_t t = 0; t < n; t += 2) {
        const act *even = (const act *)rows + (size_t)t * (size_t)dim, *odd = even + dim;
        uint32_t *pair = (uint32_t *)pairs + (size_t)(t / 2) * (size_t)dim;
#pragma omp simd
        for (int32_t j = 0; j < dim; j++) pair[j] = (uint32_t)even[j] | (uint32_t)odd[j] << 16;
    }
}

#else

static void K(attention_columns)(int32_t n, int32_t dim, const void *rows, void *columns)
{
#if COT_IS_F64
    transpose8(n, dim, rows, (size_t)dim, columns, TILE);
#else
    transpose4(n, dim, rows, (size_t)dim, columns, TILE);
#endif
}

#endif

/* ---- softmax over the keys of a strip ---- */

static void K(hide)(const cot_attention_strip *strip, real *scores)
{
    for (int32_t c = 0; c < strip->lanes; c += STRIP)
        for (int32_t j = 0; j < strip->keys; j++) {
            const int32_t key = strip->key + j, last = strip->last + c;
            const int32_t *lowest = strip->lowest + c;
            real *s = scores + j * TILE + c;
            EACH_LANE {
                const int32_t seen = (key >= lowest[i]) & (key <= last + i);
                s[i] = seen ? s[i] : (real)COT_ATTENTION_HIDDEN;
            }
        }
}

/* Brings the maximum of 16 queries up to date and shrinks what they have summed; while no score exceeds the old one by
 * more than 2^8 it serves on, as it only keeps the weights within range. */
static void K(raise)(int32_t keys, int32_t dim, const real *scores, real *maximum, real *sum, real *acc)
{
    real top[STRIP], shrink[STRIP];
    int32_t grew = 0;
    EACH_LANE top[i] = maximum[i];
    for (int32_t j = 0; j < keys; j++)
        EACH_LANE top[i] = scores[j * TILE + i] > top[i] ? scores[j * TILE + i] : top[i];
    for (int i = 0; i < STRIP; i++) grew |= top[i] - maximum[i] > 8;
    if (!grew) return;
    EACH_LANE shrink[i] = EXP2(maximum[i] - top[i]);
    EACH_LANE maximum[i] = top[i];
    EACH_LANE sum[i] *= shrink[i];
    for (int32_t d = 0; d < dim; d++) EACH_LANE acc[d * TILE + i] *= shrink[i];
}

/* Inlined with a number for `lanes`. Two keys a turn: in bf16 they make a pair. */
static inline void K(weigh)(int32_t lanes, int32_t keys, const real *maximum, const real *scores, void *weights,
                            real *sum)
{
    for (int32_t j = 0; j < keys; j += 2) {
        const real *s = scores + j * TILE;
#if COT_IS_BF16
        uint32_t *pair = (uint32_t *)weights + j / 2 * TILE;
#else
        real *w = (real *)weights + j * TILE;
#endif
#pragma omp simd
        for (int32_t i = 0; i < lanes; i++) {
            const real even = EXP2(s[i] - maximum[i]), odd = EXP2(s[TILE + i] - maximum[i]);
            sum[i] += even + odd;
#if COT_IS_BF16
            pair[i] = K(rounded)(even) >> 16 | (K(rounded)(odd) & 0xffff0000u);
#else
            w[i] = even;
            w[TILE + i] = odd;
#endif
        }
    }
}

static void K(attention_softmax)(const cot_attention_strip *strip, int32_t dim, void *scores, void *weights,
                                 void *maximum, void *sum, void *acc)
{
    if (strip->lowest) K(hide)(strip, scores);
    for (int32_t c = 0; c < strip->lanes; c += STRIP)
        K(raise)(strip->keys, dim, (const real *)scores + c, (real *)maximum + c, (real *)sum + c, (real *)acc + c);
    if (strip->lanes == TILE) K(weigh)(TILE, strip->keys, maximum, scores, weights, sum);
    else K(weigh)(STRIP, strip->keys, maximum, scores, weights, sum);
}

static void K(attention_finish)(int32_t lanes, const void *maximum_, const void *sum_, void *inverse_, void *lse_)
{
    const real *maximum = maximum_, *sum = sum_;
    real *inverse = inverse_, *lse = lse_;
#pragma omp simd
    for (int32_t i = 0; i < lanes; i++) inverse[i] = 1 / sum[i];
    for (int32_t i = 0; i < lanes; i++) lse[i] = maximum[i] + LOG2(sum[i]);
}

/* ---- going back ---- */

static inline void K(delta_rows)(int32_t dim, int32_t n, const act *out_, const act *grad_, int64_t stride, real *delta)
{
    for (int32_t t = 0; t < n; t++) {
        const act *out = out_ + t * stride, *grad = grad_ + t * stride;
        real sum = 0;
        if (t + AHEAD < n) K(prefetch)(dim, out + AHEAD * stride);
#pragma omp simd reduction(+ : sum) simdlen(16)
        for (int32_t d = 0; d < dim; d++) sum += LOAD(out[d]) * LOAD(grad[d]);
        delta[t] = sum;
    }
}

static void K(attention_delta)(int32_t n, int32_t dim, const void *out, const void *grad, int64_t stride, void *delta)
{
    BY_DIM(K(delta_rows), n, out, grad, stride, delta);
}

/* Inlined with a number for `lanes`. */
static inline void K(steepen)(int32_t lanes, int32_t keys, const real *lse, const real *delta, const real *scores,
                              const real *weight_grad, act *weights, act *score_grad, uint32_t *pairs)
{
    (void)pairs;
    for (int32_t j = 0; j < keys; j += 2) {
        const real *s = scores + j * TILE, *slope = weight_grad + j * TILE;
        act *w = weights + j * TILE, *grad = score_grad + j * TILE;
#if COT_IS_BF16
        uint32_t *pair = pairs + j / 2 * TILE;
#endif
#pragma omp simd
        for (int32_t i = 0; i < lanes; i++) {
            const real even = EXP2(s[i] - lse[i]), odd = EXP2(s[TILE + i] - lse[i]);
            const real even_grad = even * (slope[i] - delta[i]), odd_grad = odd * (slope[TILE + i] - delta[i]);
#if COT_IS_BF16
            const uint32_t low = K(rounded)(even_grad), high = K(rounded)(odd_grad);
            w[i] = (act)(K(rounded)(even) >> 16);
            w[TILE + i] = (act)(K(rounded)(odd) >> 16);
            grad[i] = (act)(low >> 16);
            grad[TILE + i] = (act)(high >> 16);
            pair[i] = low >> 16 | (high & 0xffff0000u);
#else
            w[i] = even;
            w[TILE + i] = odd;
            grad[i] = even_grad;
            grad[TILE + i] = odd_grad;
#endif
        }
    }
}

static void K(attention_gradient)(const cot_attention_strip *strip, const void *lse, const void *delta, void *scores,
                                  const void *weight_grad, void *weights, void *score_grad, void *pairs)
{
    if (strip->lowest) K(hide)(strip, scores);
    const int32_t keys = strip->keys;
    if (strip->lanes == TILE) K(steepen)(TILE, keys, lse, delta, scores, weight_grad, weights, score_grad, pairs);
    else K(steepen)(STRIP, keys, lse, delta, scores, weight_grad, weights, score_grad, pairs);
}

/* ---- one query ---- */

static void K(attention_single)(int32_t n, int32_t dim, const void *query_, const void *keys, const void *values,
                                void *scores_, void *maximum, void *sum, void *acc_)
{
    const act *query = query_;
    real *scores = scores_, *acc = acc_, top = (real)COT_ATTENTION_LOWEST, total = 0;
    for (int32_t t = 0; t < n; t++) {
        const act *key = (const act *)keys + (size_t)t * (size_t)dim;
        real dot = 0;
#pragma omp simd reduction(+ : dot) simdlen(16)
        for (int32_t d = 0; d < dim; d++) dot += LOAD(query[d]) * LOAD(key[d]);
        scores[t] = dot;
        top = dot > top ? dot : top;
    }
#pragma omp simd reduction(+ : total)
    for (int32_t t = 0; t < n; t++) {
        scores[t] = EXP2(scores[t] - top);
        total += scores[t];
    }
    memset(acc, 0, (size_t)dim * sizeof *acc);
    for (int32_t t = 0; t < n; t++) {
        const act *value = (const act *)values + (size_t)t * (size_t)dim;
        const real weight = scores[t];
#pragma omp simd
        for (int32_t d = 0; d < dim; d++) acc[d] += weight * LOAD(value[d]);
    }
    *(real *)maximum = top;
    *(real *)sum = total;
}

const cot_attention_kernels K(cot_attention) = {
    .turns = K(attention_turns),
    .fetch = K(attention_fetch),
    .gather = K(attention_gather),
    .copy = K(attention_copy),
    .scatter = K(attention_scatter),
    .columns = K(attention_columns),
#if COT_IS_BF16
    .column_pairs = K(attention_column_pairs),
    .row_pairs = K(attention_row_pairs),
#else
    .column_pairs = K(attention_columns),
#endif
    .real_rows = K(attention_real_rows),
    .softmax = K(attention_softmax),
    .finish = K(attention_finish),
    .delta = K(attention_delta),
    .gradient = K(attention_gradient),
    .single = K(attention_single),
};

#undef EXP2
#undef LOG2
#undef TILE
#undef STRIP
#undef AHEAD
#undef BY_DIM
#undef LINE
