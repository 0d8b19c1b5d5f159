/* Counter-based random numbers (Philox 4x32-10, Random123, [salmon2011parallel]): a draw depends on its key and its index alone, so the same
 * numbers come on any number of threads, in any order, and again when a step is recomputed.
 *
 * A key names a purpose: cot_rng_key(seed, stream, step, layer). `element` then counts the draws under it. */
#ifndef COT_BASE_RNG_H
#define COT_BASE_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t seed;     /* the run's seed */
    uint32_t step;     /* training step; 0 for initialisation */
    uint32_t stream;   /* what for (cot_rng_stream), and which layer or parameter */
} cot_rng_key;

/* Purposes; the low 24 bits of a stream hold a layer or another running number. */
enum {
    COT_RNG_INIT = 1u << 24,
    COT_RNG_SHUFFLE = 2u << 24,
    COT_RNG_DROPOUT = 3u << 24,
    COT_RNG_EXPERT_DROPOUT = 4u << 24,
    COT_RNG_JITTER = 5u << 24,
    COT_RNG_GATE_NOISE = 6u << 24,
    COT_RNG_CAPACITY = 7u << 24,
    COT_RNG_SAMPLE = 8u << 24,
    COT_RNG_SHOTS = 9u << 24,
    COT_RNG_UNDROPPED = 10u << 24,      /* of sequences, the same in all layers */
    COT_RNG_ROUND = 11u << 24,
    COT_RNG_HASH = 14u << 24,
    COT_RNG_TEST = 15u << 24,
};

void     cot_rng_bits(cot_rng_key key, uint64_t block, uint32_t out[4]);  /* draws 4*block .. 4*block+3 */
uint32_t cot_rng_u32(cot_rng_key key, uint64_t element);
double   cot_rng_uniform(cot_rng_key key, uint64_t element);  /* in (0, 1), never 0 or 1 */
double   cot_rng_normal(cot_rng_key key, uint64_t element);   /* standard normal (Box-Muller) */
void     cot_rng_normal4(cot_rng_key key, uint64_t block, double out[4]);  /* elements 4*block .. 4*block+3 of the same sequence */
uint64_t cot_rng_below(cot_rng_key key, uint64_t element, uint64_t bound);  /* uniform in [0, bound), bound > 0 */

#endif
