/* Tokens in the order of a key: who is served first. */
#ifndef COT_ROUTING_RANKED_H
#define COT_ROUTING_RANKED_H

#include <stdint.h>

typedef struct {
    double  key;
    int32_t token;
} cot_ranked;

/* Sorts n entries by descending key; equal keys keep their order. `spare` has room for n. */
void cot_rank_descending(cot_ranked *list, cot_ranked *spare, int64_t n);

/* The same, where keys that differ by rounding alone count as equal, and equal ones go by token number, lower first:
 * then it does not matter how a softmax was summed. Keys within `relative` of the size of the largest of them (and
 * within `absolute`) are equal. */
void cot_rank_with_ties(cot_ranked *list, cot_ranked *spare, int64_t n, double relative, double absolute);

#endif
