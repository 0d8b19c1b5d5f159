#include "data/hash.h"

#include <string.h>

static uint64_t add_word(uint64_t state, uint64_t word)
{
    state = (state ^ word) * 0x9e3779b97f4a7c15u;
    return state ^ state >> 32;
}

void cot_hash_start(cot_hash *hash) { *hash = (cot_hash){.state = 0x6a09e667f3bcc908u}; }

void cot_hash_add(cot_hash *hash, const void *bytes, size_t count)
{
    const unsigned char *next = bytes;
    size_t               filled = hash->length % 8;
    hash->length += count;
    uint64_t word;
    if (filled > 0) {
        const size_t more = count < 8 - filled ? count : 8 - filled;
        memcpy(hash->tail + filled, next, more);
        next += more;
        count -= more;
        filled += more;
        if (filled < 8) return;
        memcpy(&word, hash->tail, 8);
        hash->state = add_word(hash->state, word);
    }
    for (; count >= 8; next += 8, count -= 8) {
        memcpy(&word, next, 8);
        hash->state = add_word(hash->state, word);
    }
    if (count > 0) memcpy(hash->tail, next, count);
}

uint64_t cot_hash_end(const cot_hash *hash)
{
    uint64_t word = 0;
    memcpy(&word, hash->tail, hash->length % 8);
    uint64_t state = add_word(add_word(hash->state, word), hash->length);
    state = add_word(state, 0);
    return add_word(state, 0);
}

uint64_t cot_hash_bytes(const void *bytes, size_t count)
{
    cot_hash hash;
    cot_hash_start(&hash);
    cot_hash_add(&hash, bytes, count);
    return cot_hash_end(&hash);
}
