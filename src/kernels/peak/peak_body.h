/* A file defines VECTOR, ONES and STEP(sum, x), LANES (operations of one step); the barrier keeps the compiler from doing less. */
#include "kernels/peak/peak.h"

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) VECTOR sum##i = ZEROS;
#define ADVANCE(i) sum##i = STEP(sum##i, x);
#define KEEP(i) __asm__ volatile("" : "+v"(sum##i));

#define PEAK_LOOP(rounds)                     \
    CHAINS(DECLARE)                           \
    const FACTOR x = FACTORS;                 \
    for (int64_t r = 0; r < (rounds); r++) {  \
        CHAINS(ADVANCE)                       \
        CHAINS(KEEP)                          \
    }                                         \
    return (rounds) * 12 * LANES;
