/* A trie of byte strings, each with a number: what a text begins with is found byte by byte.
 *
 * Nodes are numbered level by level, so a node's children are neighbours: they end where the next node's begin. */
#ifndef COT_DATA_TOKENIZERS_TRIE_H
#define COT_DATA_TOKENIZERS_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <coterie/status.h>

typedef struct {
    const char *bytes;
    size_t      length;
    int32_t     value;  /* 0 or more */
} cot_trie_entry;

typedef struct {
    uint32_t *first;   /* [nodes + 1] each node's first child */
    uint8_t  *labels;  /* [nodes] the byte that leads to a node */
    int32_t  *values;  /* [nodes] -1: no string ends here */
    bool      begins[256];  /* is there a string with this first byte? */
} cot_trie;

enum { COT_TRIE_ROOT = 0 };

/* Sorts the entries; of equal strings the one with the lowest value counts. Empty ones are left out. */
cot_status cot_trie_build(cot_trie_entry *entries, size_t count, cot_trie *out);
void       cot_trie_release(cot_trie *trie);

/* The child that a byte leads to; the root, which is nobody's child, when there is none. */
static inline uint32_t cot_trie_child(const cot_trie *trie, uint32_t node, char byte)
{
    const uint32_t first = trie->first[node];
    const uint8_t *found = memchr(trie->labels + first, (unsigned char)byte, trie->first[node + 1] - first);
    return found ? (uint32_t)(found - trie->labels) : COT_TRIE_ROOT;
}

/* The value of the longest string that `text` begins with, and its length; -1 when there is none. */
static inline int32_t cot_trie_longest(const cot_trie *trie, const char *text, size_t length, size_t *found)
{
    uint32_t node = COT_TRIE_ROOT;
    int32_t  value = -1;
    for (size_t i = 0; i < length && (node = cot_trie_child(trie, node, text[i])) != COT_TRIE_ROOT; i++) {
        if (trie->values[node] < 0) continue;
        value = trie->values[node];
        *found = i + 1;
    }
    return value;
}

#endif
