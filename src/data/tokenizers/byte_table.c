#include "data/tokenizers/byte_table.h"

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"

enum { FIRST_SLOTS = 1024 };

void cot_byte_table_release(cot_byte_table *table)
{
    cot_free(table->bytes);
    cot_free(table->starts);
    cot_free(table->slots);
    *table = (cot_byte_table){0};
}

/* Where the string is, or the free slot where it belongs. */
static cot_byte_table_slot *find_slot(const cot_byte_table *table, uint32_t hash, const char *bytes, size_t length)
{
    const size_t mask = table->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        cot_byte_table_slot *slot = &table->slots[i];
        if (!slot->number) return slot;
        if (slot->hash != hash) continue;
        size_t      known_length;
        const char *known = cot_byte_table_at(table, slot->number - 1, &known_length);
        if (known_length == length && !memcmp(known, bytes, length)) return slot;
    }
}

static cot_status double_slots(cot_byte_table *table)
{
    const size_t         count = table->slot_count ? 2 * table->slot_count : FIRST_SLOTS, mask = count - 1;
    cot_byte_table_slot *slots = cot_calloc(count * sizeof *slots);
    if (!slots) return cot_fail(COT_OUT_OF_MEMORY, "a table of %u strings", table->count);
    for (size_t i = 0; i < table->slot_count; i++) {
        const cot_byte_table_slot old = table->slots[i];
        if (!old.number) continue;
        size_t place = old.hash & mask;
        while (slots[place].number) place = (place + 1) & mask;
        slots[place] = old;
    }
    cot_free(table->slots);
    table->slots = slots;
    table->slot_count = count;
    return COT_OK;
}

static cot_status append(cot_byte_table *table, const char *bytes, size_t length)
{
    const size_t start = table->count ? table->starts[table->count] : 0;
    char        *all = cot_grown(table->bytes, &table->bytes_capacity, start + length + 1, 1);
    if (all) table->bytes = all;
    size_t *starts = cot_grown(table->starts, &table->starts_capacity, (size_t)table->count + 2, sizeof *starts);
    if (starts) table->starts = starts;
    if (!all || !starts) return cot_fail(COT_OUT_OF_MEMORY, "a table of %u strings", table->count);
    if (length) memcpy(all + start, bytes, length);
    all[start + length] = '\0';
    starts[table->count] = start;
    starts[table->count + 1] = start + length + 1;
    table->count++;
    return COT_OK;
}

cot_status cot_byte_table_add(cot_byte_table *table, const char *bytes, size_t length, uint32_t *number)
{
    const uint32_t hash = (uint32_t)cot_hash_bytes(bytes, length);
    if (2 * (size_t)table->count >= table->slot_count) COT_TRY(double_slots(table));
    cot_byte_table_slot *slot = find_slot(table, hash, bytes, length);
    if (!slot->number) {
        if (table->count >= UINT32_MAX - 1)
            return cot_fail(COT_INVALID, "more than %u different strings", UINT32_MAX - 1);
        COT_TRY(append(table, bytes, length));
        *slot = (cot_byte_table_slot){.hash = hash, .number = table->count};
    }
    *number = slot->number - 1;
    return COT_OK;
}

int64_t cot_byte_table_find(const cot_byte_table *table, const char *bytes, size_t length)
{
    if (!table->slot_count) return -1;
    return (int64_t)find_slot(table, (uint32_t)cot_hash_bytes(bytes, length), bytes, length)->number - 1;
}
