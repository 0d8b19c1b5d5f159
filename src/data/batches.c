/* Batches to train on. The training split is seen as a ring of N ids. Epoch e starts at a random place of it and cuts
 * W = N / S rows of S ids; row i of the epoch is number permutation_e(i) of them. */
#include <inttypes.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/corpus.h"
#include "data/permutation.h"

/* Running numbers of the purpose COT_RNG_SHUFFLE; the key's step is the epoch. */
enum { ORDER_STREAM = COT_RNG_SHUFFLE, OFFSET_STREAM = COT_RNG_SHUFFLE + 1, RANDOM_IDS_STREAM = COT_RNG_SHUFFLE + 2 };

enum { RANDOM_EPOCH_ROWS = 1 << 20 };

struct cot_batches {
    const cot_corpus *corpus;
    uint64_t          seed;
    uint64_t          ids;         /* N */
    uint64_t          epoch_rows;  /* W */
    cot_data_position position;
    cot_batch         batch;
};

static cot_status check_size(const cot_corpus *corpus)
{
    const uint64_t ids = corpus->cache.id_count[COT_SPLIT_TRAIN], need = (uint64_t)corpus->options.context + 1;
    if (corpus->options.random || ids >= need) return COT_OK;
    return cot_fail(COT_INVALID,
                    "the corpus is too short: %" PRIu64 " tokens to train on, expected at least %" PRIu64
                    " (a context and one more)",
                    ids, need);
}

cot_status cot_batches_create(const cot_corpus *corpus, uint64_t seed, int64_t rows, cot_batches **out)
{
    const int64_t context = corpus->options.context;
    *out = NULL;
    COT_TRY(cot_batch_check(rows, context));
    COT_TRY(check_size(corpus));
    cot_batches *batches = cot_calloc(sizeof *batches);
    if (!batches || !cot_batch_allocate(&batches->batch, rows, context)) {
        cot_free(batches);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for batches of %" PRId64 " rows", rows);
    }
    batches->corpus = corpus;
    batches->seed = seed;
    batches->ids = corpus->cache.id_count[COT_SPLIT_TRAIN];
    batches->epoch_rows = corpus->options.random ? RANDOM_EPOCH_ROWS : batches->ids / (uint64_t)context;
    *out = batches;
    return COT_OK;
}

void cot_batches_destroy(cot_batches *batches)
{
    if (!batches) return;
    cot_batch_free(&batches->batch);
    cot_free(batches);
}

cot_data_position cot_batches_position(const cot_batches *batches) { return batches->position; }
uint64_t          cot_batches_epoch_rows(const cot_batches *batches) { return batches->epoch_rows; }

cot_status cot_batches_seek(cot_batches *batches, cot_data_position position)
{
    if (position.row >= batches->epoch_rows || position.epoch > UINT32_MAX)
        return cot_fail(COT_INVALID,
                        "row %" PRIu64 " of epoch %" PRIu64 " in the data, expected fewer than %" PRIu64
                        " rows an epoch",
                        position.row, position.epoch, batches->epoch_rows);
    batches->position = position;
    return COT_OK;
}

/* ---- rows of text ---- */

static uint64_t row_start(const cot_batches *batches)
{
    const uint32_t    epoch = (uint32_t)batches->position.epoch;
    const cot_rng_key order = {batches->seed, epoch, ORDER_STREAM}, offset = {batches->seed, epoch, OFFSET_STREAM};
    const uint64_t    window = cot_permutation_at(order, batches->epoch_rows, batches->position.row);
    return (cot_rng_below(offset, 0, batches->ids) + window * (uint64_t)batches->batch.context) % batches->ids;
}

/* The document that holds an id of the training split, the end-of-text token behind it included. */
static uint64_t find_document(const cot_token_cache *cache, uint64_t index)
{
    const cot_document *documents = cache->documents[COT_SPLIT_TRAIN];
    uint64_t            low = 0, high = cache->document_count[COT_SPLIT_TRAIN];
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (documents[middle].start <= index) low = middle;
        else high = middle;
    }
    return low;
}

static uint64_t document_end(const cot_token_cache *cache, uint64_t document)
{
    const bool last = document + 1 == cache->document_count[COT_SPLIT_TRAIN];
    return last ? cache->id_count[COT_SPLIT_TRAIN] : cache->documents[COT_SPLIT_TRAIN][document + 1].start;
}

/* Fills row r with the ids from `start` on. */
static void fill_row(cot_batches *batches, int32_t r, uint64_t start)
{
    const cot_corpus      *corpus = batches->corpus;
    const cot_token_cache *cache = &corpus->cache;
    const bool             restart = corpus->options.document_restart;
    const int32_t          S = batches->batch.context, row = r * S;
    uint64_t               at = start, document = find_document(cache, start), end = document_end(cache, document);
    int32_t                first = row;
    for (int32_t i = row; i < row + S; i++) {
        batches->batch.ids[i] = cot_corpus_id(corpus, COT_SPLIT_TRAIN, at);
        batches->batch.first[i] = first;
        batches->batch.source[i] = (int32_t)cache->documents[COT_SPLIT_TRAIN][document].source;
        const bool crosses = ++at == end;
        if (crosses) {
            document = (document + 1) % cache->document_count[COT_SPLIT_TRAIN];
            at %= batches->ids;
            end = document_end(cache, document);
            if (restart) first = i + 1;
        }
        const bool scored = !(crosses && restart);
        batches->batch.targets[i] = scored ? cot_corpus_id(corpus, COT_SPLIT_TRAIN, at) : -1;
        batches->batch.scored += scored;
    }
}

/* ---- rows of random ids ---- */

static void fill_random(cot_batches *batches, int32_t r)
{
    const int32_t     S = batches->batch.context;
    const uint64_t    bound = (uint64_t)batches->corpus->vocabulary, from = batches->position.row * (uint64_t)(S + 1);
    const cot_rng_key key = {batches->seed, (uint32_t)batches->position.epoch, RANDOM_IDS_STREAM};
    for (int32_t s = 0; s < S; s++) {
        const int32_t i = r * S + s;
        batches->batch.ids[i] = (int32_t)cot_rng_below(key, from + (uint64_t)s, bound);
        batches->batch.targets[i] = (int32_t)cot_rng_below(key, from + (uint64_t)s + 1, bound);
        batches->batch.first[i] = r * S;
        batches->batch.source[i] = 0;
    }
    batches->batch.scored += S;
}

cot_status cot_batches_next(cot_batches *batches, cot_batch *out)
{
    batches->batch.scored = 0;
    batches->batch.used_rows = batches->batch.rows;
    for (int32_t r = 0; r < batches->batch.rows; r++) {
        if (batches->corpus->options.random) fill_random(batches, r);
        else fill_row(batches, r, row_start(batches));
        batches->position.row++;
        if (batches->position.row < batches->epoch_rows) continue;
        batches->position.row = 0;
        batches->position.epoch++;
    }
    *out = batches->batch;
    return COT_OK;
}
