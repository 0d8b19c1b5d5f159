/* The pieces of attention around its tile products: gathering and turning rows, transposing, softmax, score gradients.
 *
 * A tile holds up to 64 queries and 64 keys. Scores lie transposed, [key][64 queries]: a query is a lane of a vector,
 * so that maxima, sums and corrections over keys run down the rows and never across a vector. A strip is a range of
 * lanes and keys of a tile, both multiples of 16. Scores count in log2: queries carry the factor log2(e) * scale.
 *
 *   rows      [n][dim] act       one row a token
 *   columns   [dim][64] act      the same transposed: token i in column i
 *   pairs     columns or rows laid out as operand b of a tile product (kernels/product/tile.h): in bf16 element (p, j)
 *             lies at [p / 2][j][p % 2], in the other modes nothing changes
 *   turns     [positions][dim] real: cosines of a position's dim / 2 angles, then their sines; NULL = no rotation
 *
 * dim is even. Pointers to `real` or `act` values are void; a mode says what they hold. */
#ifndef COT_KERNELS_ATTENTION_H
#define COT_KERNELS_ATTENTION_H

#include "kernels/kernels.h"

enum { COT_ATTENTION_TILE = 64, COT_ATTENTION_STRIP = 16 };

/* The score of a pair that does not see each other, and the maximum before any score was seen: the gap between them
 * makes the weight of the former exactly 0 whatever came first. */
#define COT_ATTENTION_HIDDEN (-2e30)
#define COT_ATTENTION_LOWEST (-1e30)

/* Which lanes and keys of a tile. A query sees the keys from lowest[lane] on to its own, last + lane. */
typedef struct {
    int32_t        lanes, keys;
    int32_t        key;     /* number of the strip's first key */
    int32_t        last;    /* number of the key of the strip's first query */
    const int32_t *lowest;  /* [lanes]; NULL = every pair is visible */
} cot_attention_strip;

typedef struct {
    /* turns[i] of positions first .. first + n - 1: angle j of position p is p * frequency[j], taken in f64; cosines and
     * sines are multiplied by `size`. */
    void (*turns)(int32_t first, int32_t n, int32_t dim, const double *frequency, double size, void *turns);

    /* rows[i] = factor * turned(x[i * stride ...]) for i < n; row i turns by turns[position[i]], half-split pairs:
     * (x[j], x[j + dim / 2]) = (a, b) -> (a cos - b sin, b cos + a sin). Rows n .. padded - 1 are zeroed. */
    void (*gather)(int32_t n, int32_t padded, int32_t dim, const void *x, int64_t stride, const void *turns,
                   const int32_t *position, double factor, void *rows);
    /* The same without turn and factor. */
    void (*copy)(int32_t n, int32_t padded, int32_t dim, const void *x, int64_t stride, void *rows);
    /* x[i * stride ...] (+)= factor * factors[i] * turned back(rows[i]); rows real; factors [n] real, NULL = all 1. */
    void (*scatter)(int32_t n, int32_t dim, const void *rows, const void *turns, const int32_t *position, double factor,
                    const void *factors, void *x, int64_t stride, bool accumulate);
    /* Asks the processor for rows of act that are wanted soon. */
    void (*fetch)(int32_t n, int32_t dim, const void *x, int64_t stride);

    /* rows -> columns; rows -> columns as pairs, dim counting as k; rows -> rows as pairs, n counting as k (NULL where
     * rows serve as they are). n is a multiple of 16. */
    void (*columns)(int32_t n, int32_t dim, const void *rows, void *columns);
    void (*column_pairs)(int32_t n, int32_t dim, const void *rows, void *pairs);
    void (*row_pairs)(int32_t n, int32_t dim, const void *rows, void *pairs);
    /* columns [dim][64] real -> rows [n][dim] real, any n. */
    void (*real_rows)(int32_t n, int32_t dim, const void *columns, void *rows);

    /* Goes on with a softmax: weights = 2^(score - maximum) as pairs (in modes other than bf16 they may replace the
     * scores); maximum, at times raised, and sum [lanes] real; acc [dim][64] real shrinks as the maximum is raised. */
    void (*softmax)(const cot_attention_strip *strip, int32_t dim, void *scores, void *weights, void *maximum,
                    void *sum, void *acc);
    /* inverse = 1 / sum and lse = maximum + log2(sum), all [lanes] real. */
    void (*finish)(int32_t lanes, const void *maximum, const void *sum, void *inverse, void *lse);

    /* delta[i] = sum over d of out[i, d] * grad[i, d] for i < n; both act with rows of one stride; delta real. */
    void (*delta)(int32_t n, int32_t dim, const void *out, const void *grad, int64_t stride, void *delta);
    /* From scores and weight_grad [key][64] real and lse, delta [lanes] real: weights = 2^(score - lse) and
     * score_grad = weights * (weight_grad - delta), both [key][64] act, the latter also as pairs, keys counting as k.
     * In modes other than bf16 weights may replace scores and score_grad weight_grad; pairs are not written. */
    void (*gradient)(const cot_attention_strip *strip, const void *lse, const void *delta, void *scores,
                     const void *weight_grad, void *weights, void *score_grad, void *score_grad_pairs);

    /* One query [dim] over n keys and values in rows: sets maximum, sum [1] and acc [dim] real (the sum of weighted
     * values); scores [n] real is scratch. */
    void (*single)(int32_t n, int32_t dim, const void *query, const void *keys, const void *values, void *scores,
                   void *maximum, void *sum, void *acc);
} cot_attention_kernels;

const cot_attention_kernels *cot_attention_kernels_for(cot_mode mode);

#endif
