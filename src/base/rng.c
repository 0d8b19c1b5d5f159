#include "base/rng.h"

#include <math.h>

#include <Random123/philox.h>

void cot_rng_bits(cot_rng_key key, uint64_t block, uint32_t out[4])
{
    const philox4x32_ctr_t counter = {{(uint32_t)block, (uint32_t)(block >> 32), key.step, key.stream}};
    const philox4x32_key_t philox_key = {{(uint32_t)key.seed, (uint32_t)(key.seed >> 32)}};
    const philox4x32_ctr_t bits = philox4x32(counter, philox_key);
    for (int i = 0; i < 4; i++) out[i] = bits.v[i];
}

uint32_t cot_rng_u32(cot_rng_key key, uint64_t element)
{
    uint32_t bits[4];
    cot_rng_bits(key, element / 4, bits);
    return bits[element % 4];
}

static double open_unit(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

double cot_rng_uniform(cot_rng_key key, uint64_t element) { return open_unit(cot_rng_u32(key, element)); }

void cot_rng_normal4(cot_rng_key key, uint64_t block, double out[4])
{
    uint32_t bits[4];
    cot_rng_bits(key, block, bits);
    for (int pair = 0; pair < 2; pair++) {
        const double radius = sqrt(-2.0 * log(open_unit(bits[2 * pair])));
        const double angle = 6.283185307179586 * open_unit(bits[2 * pair + 1]);
        out[2 * pair] = radius * cos(angle);
        out[2 * pair + 1] = radius * sin(angle);
    }
}

double cot_rng_normal(cot_rng_key key, uint64_t element)
{
    double four[4];
    cot_rng_normal4(key, element / 4, four);
    return four[element % 4];
}

uint64_t cot_rng_below(cot_rng_key key, uint64_t element, uint64_t bound)
{
    uint32_t bits[4];  /* 64 random bits scaled: the bias is below bound / 2^64 */
    cot_rng_bits(key, element / 2, bits);
    const uint32_t *pair = bits + 2 * (element % 2);
    const uint64_t word = (uint64_t)pair[0] << 32 | pair[1];
    return (uint64_t)(((unsigned __int128)word * bound) >> 64);
}
