/* What fixed routing by token id is made from: how often ids occur in the training text, and what stands beside them. */
#ifndef COT_ROUTERS_VOCABULARY_H
#define COT_ROUTERS_VOCABULARY_H

#include <stdint.h>

#include <coterie/status.h>

enum { COT_NEIGHBOURS = 64 };  /* width of a feature vector */

typedef struct {
    int64_t  size;     /* V */
    int64_t  width;    /* of features */
    double  *count;    /* [V] occurrences */
    double  *feature;  /* [V, width] what an id is like: ids that occur between the same others are near */
} cot_vocabulary;

/* Counts `ids` (all from 0 to size - 1). Features: shares of hashed neighbours, their square roots; the first half those
 * before, the second those behind. */
cot_status cot_vocabulary_count(const int32_t *ids, int64_t count, int64_t size, cot_vocabulary *out);
void       cot_vocabulary_release(cot_vocabulary *vocabulary);

/* bin [V]: ids by falling count, each to the bin with the smallest sum so far (Hash layers' balanced table). */
cot_status cot_bins_balanced(const cot_vocabulary *vocabulary, int64_t bins, int32_t *bin);

/* bin [V]: k-means of the features with `bins` clusters (k-means++ by seed, then `rounds` of Lloyd's). */
cot_status cot_bins_clustered(const cot_vocabulary *vocabulary, int64_t bins, uint64_t seed, int32_t *bin);

/* bin [V]: clusters of about `bins` ids each, whose members go to different bins in turn. */
cot_status cot_bins_dispersed(const cot_vocabulary *vocabulary, int64_t bins, uint64_t seed, int32_t *bin);

#endif
