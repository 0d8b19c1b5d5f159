/* What BPE training knows about each pair of neighbours: how often it occurs and in which words; and the order in which
 * pairs are to be merged. */
#ifndef COT_DATA_TOKENIZERS_PAIR_TABLE_H
#define COT_DATA_TOKENIZERS_PAIR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

enum { COT_NO_NODE = UINT32_MAX };

typedef struct {
    uint64_t pair;   /* left << 32 | right */
    int64_t  count;  /* of occurrences, each word times its frequency */
    uint32_t words;  /* list of words that may hold it, COT_NO_NODE at its end */
    bool     taken;
} cot_pair_slot;

typedef struct {
    uint32_t word, next;
} cot_word_node;

typedef struct {
    uint64_t pair;
    int64_t  count;
} cot_pair_candidate;

typedef struct {
    cot_pair_slot      *slots;  /* open addressing, at most half of them taken */
    size_t              slot_count, used;
    uint32_t            shift;
    cot_word_node      *nodes;
    size_t              node_count, node_capacity;
    uint32_t            free_nodes;
    uint64_t           *fresh;   /* pairs that are not in the queue yet */
    size_t              fresh_count, fresh_capacity;
    cot_pair_candidate *heap;    /* most frequent first, ties to the lower pair; counts may be too high by now */
    size_t              heap_size, heap_capacity;
} cot_pair_table;

cot_status cot_pair_table_init(cot_pair_table *table);
void       cot_pair_table_release(cot_pair_table *table);

/* Adds `change` to the pair's count; a rise also notes the word. */
cot_status cot_pair_table_change(cot_pair_table *table, int32_t left, int32_t right, int64_t change, uint32_t word);

/* Puts the pairs that are new since the last time into the queue. From then on their counts must only fall. */
cot_status cot_pair_table_queue_fresh(cot_pair_table *table);

/* Takes the most frequent pair off the queue, with its list of words; false when none is seen `min_count` times. */
bool cot_pair_table_pop(cot_pair_table *table, int64_t min_count, uint64_t *pair, uint32_t *words);

/* Gives a list of words back. */
void cot_pair_table_free_words(cot_pair_table *table, uint32_t words);

#endif
