#include "data/tokenizers/trie.h"

#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/growing.h"

/* The entries that go through a node: they share their first `depth` bytes. */
typedef struct {
    uint32_t begin, end, depth;
} range;

typedef struct {
    const cot_trie_entry *entries;
    cot_trie             *trie;
    range                *ranges;  /* [nodes] */
    size_t                count, range_capacity, first_capacity, label_capacity, value_capacity;
} builder;

static int compare_entries(const void *a, const void *b)
{
    const cot_trie_entry *x = a, *y = b;
    const size_t          length = x->length < y->length ? x->length : y->length;
    const int             order = memcmp(x->bytes, y->bytes, length);
    if (order) return order;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a tokenizer's tables"); }

static cot_status add_node(builder *b, range r, uint8_t label)
{
    cot_trie *t = b->trie;
    const size_t need = b->count + 1;
    range    *ranges = cot_grown(b->ranges, &b->range_capacity, need, sizeof *ranges);
    if (ranges) b->ranges = ranges;
    uint32_t *first = cot_grown(t->first, &b->first_capacity, need + 1, sizeof *first);
    if (first) t->first = first;
    uint8_t *labels = cot_grown(t->labels, &b->label_capacity, need, sizeof *labels);
    if (labels) t->labels = labels;
    int32_t *values = cot_grown(t->values, &b->value_capacity, need, sizeof *values);
    if (values) t->values = values;
    if (!ranges || !first || !labels || !values || need >= UINT32_MAX) return no_memory();
    const cot_trie_entry *shortest = &b->entries[r.begin];
    const bool            ends = r.begin < r.end && shortest->length == r.depth && r.depth;
    ranges[b->count] = r;
    labels[b->count] = label;
    values[b->count] = ends ? shortest->value : -1;
    b->count++;
    return COT_OK;
}

static cot_status add_children(builder *b, range r)
{
    const cot_trie_entry *e = b->entries;
    uint32_t              at = r.begin;
    while (at < r.end && e[at].length == r.depth) at++;
    while (at < r.end) {
        const uint8_t label = (uint8_t)e[at].bytes[r.depth];
        uint32_t      end = at + 1;
        while (end < r.end && (uint8_t)e[end].bytes[r.depth] == label) end++;
        COT_TRY(add_node(b, (range){at, end, r.depth + 1}, label));
        at = end;
    }
    return COT_OK;
}

static cot_status build(builder *b, size_t count)
{
    COT_TRY(add_node(b, (range){0, (uint32_t)count, 0}, 0));
    for (size_t node = 0; node < b->count; node++) {
        b->trie->first[node] = (uint32_t)b->count;
        COT_TRY(add_children(b, b->ranges[node]));
    }
    b->trie->first[b->count] = (uint32_t)b->count;
    for (uint32_t child = b->trie->first[0]; child < b->trie->first[1]; child++)
        b->trie->begins[b->trie->labels[child]] = true;
    return COT_OK;
}

cot_status cot_trie_build(cot_trie_entry *entries, size_t count, cot_trie *out)
{
    builder b = {.entries = entries, .trie = out};
    *out = (cot_trie){0};
    if (count > UINT32_MAX) return cot_fail(COT_INVALID, "%zu strings are too many", count);
    if (count) qsort(entries, count, sizeof *entries, compare_entries);
    const cot_status status = build(&b, count);
    cot_free(b.ranges);
    if (status != COT_OK) cot_trie_release(out);
    return status;
}

void cot_trie_release(cot_trie *trie)
{
    cot_free(trie->first);
    cot_free(trie->labels);
    cot_free(trie->values);
    *trie = (cot_trie){0};
}
