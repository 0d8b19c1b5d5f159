/* A 64-bit hash of a stream of bytes: names caches, tells a changed file, detects a damaged one, splits rows.
 * Every step is a bijection of the state for a given word and of the word for a given state, so a single changed word
 * is never missed. Not cryptographic. The same bytes give the same hash however they are cut. */
#ifndef COT_DATA_HASH_H
#define COT_DATA_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t      state, length;
    unsigned char tail[8];  /* the length % 8 bytes that do not make a word yet */
} cot_hash;

void     cot_hash_start(cot_hash *hash);
void     cot_hash_add(cot_hash *hash, const void *bytes, size_t count);
uint64_t cot_hash_end(const cot_hash *hash);
uint64_t cot_hash_bytes(const void *bytes, size_t count);  /* all three in one */

#endif
