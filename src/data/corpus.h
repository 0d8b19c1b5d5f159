/* A tokenised corpus as batches and windows see it. */
#ifndef COT_DATA_CORPUS_H
#define COT_DATA_CORPUS_H

#include <coterie/data.h>

#include "data/token_cache.h"

struct cot_corpus {
    cot_data_options options;
    cot_source_files files;
    cot_token_cache  cache;
    char            *cache_path;
    cot_source      *sources;
    int32_t          source_count;
    int32_t          vocabulary;
    bool             was_cached;
};

static inline int32_t cot_corpus_id(const cot_corpus *corpus, cot_split split, uint64_t index)
{
    const void *ids = corpus->cache.ids[split];
    return corpus->cache.id_bytes == 2 ? (int32_t)((const uint16_t *)ids)[index]
                                       : (int32_t)((const uint32_t *)ids)[index];
}

/* The arrays of a batch in one block, and that block; false when memory is short. */
bool cot_batch_allocate(cot_batch *batch, int64_t rows, int64_t context);
void cot_batch_free(cot_batch *batch);

/* Does rows * context fit a batch? A failure says what is too large. */
cot_status cot_batch_check(int64_t rows, int64_t context);

#endif
