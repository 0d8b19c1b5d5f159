/* Balanced assignment of tokens to experts by auction.   [bertsekas1989auction] */
#ifndef COT_ROUTING_AUCTION_H
#define COT_ROUTING_AUCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* expert [tokens]: the assignment with the largest sum of score[t, expert[t]] in which no expert has more than m =
 * ceil(tokens / experts) tokens (exactly m where that divides), within `precision` of the range of finite scores per token
 * of the optimum.
 *
 *   score     [tokens, experts], finite or minus infinity; a masked pair is assigned only where nothing else is possible
 *   memory    cot_assign_bytes() of scratch
 *
 * The same input gives the same output. Ends always: every bid raises a price by a fixed least amount. */
void   cot_assign_balanced(const double *score, int64_t tokens, int64_t experts, double precision, void *memory,
                           int32_t *expert);
size_t cot_assign_bytes(int64_t tokens, int64_t experts);

#endif
