/* Rotary positions: by which angle a pair of a head's elements turns from one position to the next, and how the ways of
 * reading further than a model was trained to change that.   [su2021roformer]
 *
 * Pair j of a head of width d turns by theta^(-2 j / d) a position. With a factor s and a trained length M:
 *   linear    theta^(-2 j / d) / s
 *   dynamic   beyond M tokens theta grows to theta * (s * L / M - (s - 1))^(d / (d - 2)), L the tokens so far
 *   yarn      slow pairs are divided by s, fast ones stay, those between go over; cosines and sines are scaled
 *             [peng2023yarn]
 *   llama3    the same with other borders, by wavelength [grattafiori2024llama3] */
#ifndef COT_BASE_ROPE_H
#define COT_BASE_ROPE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    COT_ROPE_DEFAULT, COT_ROPE_LINEAR, COT_ROPE_DYNAMIC, COT_ROPE_YARN, COT_ROPE_LLAMA3, COT_ROPE_TYPES
} cot_rope_type;

#define COT_ROPE_TYPE_NAMES "default|linear|dynamic|yarn|llama3"

/* Names and meaning as in published configurations. All zero: the default, no change. */
typedef struct {
    int32_t rope_type;                          /* cot_rope_type */
    double  factor;                             /* s, from 1 */
    int64_t original_max_position_embeddings;   /* M; all but linear */
    double  attention_factor;                   /* yarn: of cosines and sines; 0 = 0.1 ln(s) + 1, or by mscale */
    double  beta_fast, beta_slow;               /* yarn: turns within M of the borders */
    double  mscale, mscale_all_dim;             /* yarn: both given: (0.1 mscale ln(s) + 1) / (0.1 mscale_all_dim ... */
    bool    truncate;                           /* yarn: borders are whole pairs */
    double  low_freq_factor, high_freq_factor;  /* llama3: the borders are wavelengths of M / these */
} cot_rope_scaling;

/* What is wrong with it: a text to follow "expected ", or NULL. */
const char *cot_rope_fault(const cot_rope_scaling *scaling, double theta, int32_t dim);

/* Fills frequency [dim / 2], angles per position, and returns what cosines and sines are multiplied by.
 *   length   tokens so far (dynamic): positions in use are below it */
double cot_rope_frequencies(const cot_rope_scaling *scaling, double theta, int32_t dim, int64_t length,
                            double *frequency);

#endif
