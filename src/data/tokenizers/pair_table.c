#include "data/tokenizers/pair_table.h"

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/vocabulary.h"

enum { FIRST_BITS = 12 };

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "tokenizer training: counts of pairs"); }

cot_status cot_pair_table_init(cot_pair_table *table)
{
    *table = (cot_pair_table){.free_nodes = COT_NO_NODE};
    table->shift = 64 - FIRST_BITS;
    table->slot_count = (size_t)1 << FIRST_BITS;
    table->slots = cot_calloc(table->slot_count * sizeof *table->slots);
    return table->slots ? COT_OK : no_memory();
}

void cot_pair_table_release(cot_pair_table *table)
{
    cot_free(table->slots);
    cot_free(table->nodes);
    cot_free(table->fresh);
    cot_free(table->heap);
    *table = (cot_pair_table){0};
}

static cot_pair_slot *find_slot(const cot_pair_table *table, uint64_t pair)
{
    size_t i = cot_pair_hash(pair, table->shift);
    while (table->slots[i].taken && table->slots[i].pair != pair) i = (i + 1) & (table->slot_count - 1);
    return &table->slots[i];
}

static cot_status double_slots(cot_pair_table *table)
{
    const cot_pair_table old = *table;
    cot_pair_slot       *slots = cot_calloc(2 * old.slot_count * sizeof *slots);
    if (!slots) return no_memory();
    table->slots = slots;
    table->slot_count *= 2;
    table->shift--;
    for (size_t i = 0; i < old.slot_count; i++)
        if (old.slots[i].taken) *find_slot(table, old.slots[i].pair) = old.slots[i];
    cot_free(old.slots);
    return COT_OK;
}

static cot_status add_word(cot_pair_table *table, cot_pair_slot *slot, uint32_t word)
{
    if (slot->words != COT_NO_NODE && table->nodes[slot->words].word == word) return COT_OK;
    uint32_t node = table->free_nodes;
    if (node != COT_NO_NODE) {
        table->free_nodes = table->nodes[node].next;
    } else {
        if (table->node_count >= COT_NO_NODE)
            return cot_fail(COT_INVALID, "tokenizer training: too many different words");
        cot_word_node *nodes = cot_grown(table->nodes, &table->node_capacity, table->node_count + 1, sizeof *nodes);
        if (!nodes) return no_memory();
        table->nodes = nodes;
        node = (uint32_t)table->node_count++;
    }
    table->nodes[node] = (cot_word_node){word, slot->words};
    slot->words = node;
    return COT_OK;
}

static cot_status add_fresh(cot_pair_table *table, cot_pair_slot *slot, uint64_t pair)
{
    uint64_t *fresh = cot_grown(table->fresh, &table->fresh_capacity, table->fresh_count + 1, sizeof *fresh);
    if (!fresh) return no_memory();
    table->fresh = fresh;
    fresh[table->fresh_count++] = pair;
    table->used++;
    *slot = (cot_pair_slot){.pair = pair, .words = COT_NO_NODE, .taken = true};
    return COT_OK;
}

cot_status cot_pair_table_change(cot_pair_table *table, int32_t left, int32_t right, int64_t change, uint32_t word)
{
    const uint64_t pair = cot_pair(left, right);
    if (2 * table->used >= table->slot_count) COT_TRY(double_slots(table));
    cot_pair_slot *slot = find_slot(table, pair);
    if (!slot->taken) COT_TRY(add_fresh(table, slot, pair));
    slot->count += change;
    return change > 0 ? add_word(table, slot, word) : COT_OK;
}

void cot_pair_table_free_words(cot_pair_table *table, uint32_t words)
{
    while (words != COT_NO_NODE) {
        const uint32_t next = table->nodes[words].next;
        table->nodes[words].next = table->free_nodes;
        table->free_nodes = words;
        words = next;
    }
}

/* ---- the queue: a binary heap ---- */

static bool comes_before(cot_pair_candidate a, cot_pair_candidate b)
{
    return a.count != b.count ? a.count > b.count : a.pair < b.pair;
}

static void sift_down(cot_pair_table *table)
{
    cot_pair_candidate *heap = table->heap, item = heap[0];
    size_t              at = 0;
    for (size_t child; (child = 2 * at + 1) < table->heap_size; at = child) {
        if (child + 1 < table->heap_size && comes_before(heap[child + 1], heap[child])) child++;
        if (!comes_before(heap[child], item)) break;
        heap[at] = heap[child];
    }
    heap[at] = item;
}

static void sift_up(cot_pair_candidate *heap, size_t at)
{
    const cot_pair_candidate item = heap[at];
    for (size_t parent; at > 0 && comes_before(item, heap[parent = (at - 1) / 2]); at = parent) heap[at] = heap[parent];
    heap[at] = item;
}

cot_status cot_pair_table_queue_fresh(cot_pair_table *table)
{
    const size_t        need = table->heap_size + table->fresh_count;
    cot_pair_candidate *heap = cot_grown(table->heap, &table->heap_capacity, need, sizeof *heap);
    if (!heap && need) return no_memory();
    table->heap = heap;
    for (size_t i = 0; i < table->fresh_count; i++) {
        const cot_pair_slot *slot = find_slot(table, table->fresh[i]);
        if (slot->count <= 0) continue;  /* came and went within one word */
        heap[table->heap_size] = (cot_pair_candidate){slot->pair, slot->count};
        sift_up(heap, table->heap_size++);
    }
    table->fresh_count = 0;
    return COT_OK;
}

bool cot_pair_table_pop(cot_pair_table *table, int64_t min_count, uint64_t *pair, uint32_t *words)
{
    while (table->heap_size && table->heap[0].count >= min_count) {
        cot_pair_slot *slot = find_slot(table, table->heap[0].pair);
        const bool     current = slot->count == table->heap[0].count;
        table->heap[0].count = slot->count;
        if (current) table->heap[0] = table->heap[--table->heap_size];
        if (table->heap_size) sift_down(table);
        if (!current) continue;
        *pair = slot->pair;
        *words = slot->words;
        slot->words = COT_NO_NODE;
        return true;
    }
    return false;
}
