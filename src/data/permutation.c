/* A Feistel network over the smallest even number of bits that holds the count, walked until the result is below it:
 * Black and Rogaway, "Ciphers with arbitrary finite domains", 2002, section 3. The walk takes fewer
 * than 4 steps on average. */
#include "data/permutation.h"

enum { ROUNDS = 6 };

static uint64_t encrypt(cot_rng_key key, int half_bits, uint64_t value)
{
    const uint64_t mask = ((uint64_t)1 << half_bits) - 1;
    uint64_t       left = value >> half_bits, right = value & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const uint64_t mixed = left ^ (cot_rng_u32(key, 4 * (round << half_bits | right)) & mask);
        left = right;
        right = mixed;
    }
    return left << half_bits | right;
}

uint64_t cot_permutation_at(cot_rng_key key, uint64_t count, uint64_t index)
{
    int half_bits = 1;
    while ((uint64_t)1 << 2 * half_bits < count) half_bits++;
    uint64_t value = index;
    do value = encrypt(key, half_bits, value);
    while (value >= count);
    return value;
}
