/* A set of byte strings, numbered from 0 in the order in which they came. */
#ifndef COT_DATA_TOKENIZERS_BYTE_TABLE_H
#define COT_DATA_TOKENIZERS_BYTE_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <coterie/status.h>

typedef struct {
    uint32_t hash;
    uint32_t number;  /* plus one; 0 = free */
} cot_byte_table_slot;

typedef struct {
    char                *bytes;   /* the strings back to back, a NUL behind each */
    size_t               bytes_capacity;
    size_t              *starts;  /* [count + 1] where each begins in `bytes` */
    size_t               starts_capacity;
    uint32_t             count;
    cot_byte_table_slot *slots;   /* open addressing, at most half of them taken */
    size_t               slot_count;
} cot_byte_table;  /* all zero is an empty one */

void cot_byte_table_release(cot_byte_table *table);

/* The string's number, new or old. */
cot_status cot_byte_table_add(cot_byte_table *table, const char *bytes, size_t length, uint32_t *number);

/* The string's number, -1 when it is not there. */
int64_t cot_byte_table_find(const cot_byte_table *table, const char *bytes, size_t length);

static inline const char *cot_byte_table_at(const cot_byte_table *table, uint32_t number, size_t *length)
{
    *length = table->starts[number + 1] - table->starts[number] - 1;
    return table->bytes + table->starts[number];
}

/* Hash of a short string: eight bytes at a time, multiply and fold. For tables in memory only. */
static inline uint64_t cot_hash_bytes(const char *bytes, size_t length)
{
    const uint64_t factor = 0x9fb21c651e98df25u;
    uint64_t       hash = length * 0x9e3779b97f4a7c15u, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * factor;
        hash ^= hash >> 32;
    }
    word = 0;
    for (size_t i = 0; i < length; i++) word = word << 8 | (unsigned char)bytes[i];
    hash = (hash ^ word) * factor;
    return hash ^ hash >> 32;
}

#endif
