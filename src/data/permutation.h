/* A random permutation of 0 .. count - 1 that needs no memory: any place can be asked for at once. */
#ifndef COT_DATA_PERMUTATION_H
#define COT_DATA_PERMUTATION_H

#include "base/rng.h"

/* The element at place `index` < count; count <= 2^62. */
uint64_t cot_permutation_at(cot_rng_key key, uint64_t count, uint64_t index);

#endif
