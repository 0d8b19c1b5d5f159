#include "data/corpus.h"

#include <inttypes.h>

#include "base/fail.h"
#include "base/memory.h"

static cot_status fail_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for the corpus"); }

/* ---- making ---- */

static cot_status open_cache(cot_corpus *corpus, const cot_tokenizer *tokenizer, cot_data_progress progress,
                             void *context)
{
    cot_cache_key key;
    cot_cache_key_set(&key, &corpus->files, &corpus->options, tokenizer);
    COT_TRY(cot_cache_path(&key, &corpus->cache_path));
    COT_TRY(cot_token_cache_open(corpus->cache_path, &key, &corpus->cache, &corpus->was_cached));
    if (corpus->was_cached) return COT_OK;
    COT_TRY(cot_token_cache_write(corpus->cache_path, &key, progress, context));
    bool usable;
    COT_TRY(cot_token_cache_open(corpus->cache_path, &key, &corpus->cache, &usable));
    return usable ? COT_OK : cot_fail(COT_IO, "%s: the cache just written cannot be read back", corpus->cache_path);
}

static cot_status describe_sources(cot_corpus *corpus)
{
    corpus->source_count = corpus->files.sources;
    corpus->sources = cot_calloc((size_t)corpus->source_count * sizeof *corpus->sources);
    if (!corpus->sources) return fail_memory();
    for (int32_t i = 0; i < corpus->source_count; i++) corpus->sources[i].name = corpus->files.names[i];
    for (int split = 0; split < COT_SPLITS; split++)
        for (uint64_t i = 0; i < corpus->cache.document_count[split]; i++) {
            const cot_document *document = &corpus->cache.documents[split][i];
            cot_text_size      *size = &corpus->sources[document->source].size[split];
            size->documents++;
            size->tokens += document->tokens;
            size->bytes += document->bytes;
            size->words += document->words;
        }
    return COT_OK;
}

static cot_status make_text(cot_corpus *corpus, const cot_tokenizer *tokenizer, cot_data_progress progress,
                            void *context)
{
    if (!tokenizer) return cot_fail(COT_INVALID, "a corpus of text needs a tokenizer");
    corpus->vocabulary = cot_tokenizer_vocab_size(tokenizer);
    COT_TRY(cot_source_files_find(&corpus->options, &corpus->files));
    COT_TRY(open_cache(corpus, tokenizer, progress, context));
    return describe_sources(corpus);
}

static cot_status make_random(cot_corpus *corpus)
{
    corpus->vocabulary = (int32_t)corpus->options.vocab_size;
    corpus->sources = cot_calloc(sizeof *corpus->sources);
    if (!corpus->sources) return fail_memory();
    corpus->sources[0].name = "random";
    corpus->source_count = 1;
    return COT_OK;
}

cot_status cot_corpus_create(const cot_config *data, const cot_tokenizer *tokenizer, cot_data_progress progress,
                             void *context, cot_corpus **out)
{
    *out = NULL;
    cot_corpus *corpus = cot_calloc(sizeof *corpus);
    if (!corpus) return fail_memory();
    cot_status status = cot_data_options_read(data, &corpus->options);
    if (status == COT_OK)
        status = corpus->options.random ? make_random(corpus) : make_text(corpus, tokenizer, progress, context);
    if (status != COT_OK) {
        cot_corpus_destroy(corpus);
        return status;
    }
    *out = corpus;
    return COT_OK;
}

void cot_corpus_destroy(cot_corpus *corpus)
{
    if (!corpus) return;
    cot_token_cache_close(&corpus->cache);
    cot_source_files_release(&corpus->files);
    cot_data_options_release(&corpus->options);
    cot_free(corpus->cache_path);
    cot_free(corpus->sources);
    cot_free(corpus);
}

/* ---- asking ---- */

int64_t     cot_corpus_context(const cot_corpus *corpus) { return corpus->options.context; }
int32_t     cot_corpus_vocabulary(const cot_corpus *corpus) { return corpus->vocabulary; }
bool        cot_corpus_was_cached(const cot_corpus *corpus) { return corpus->was_cached; }
uint64_t    cot_corpus_fingerprint(const cot_corpus *corpus) { return corpus->cache.hash; }
const char *cot_corpus_cache_path(const cot_corpus *corpus) { return corpus->cache_path; }
int32_t     cot_corpus_source_count(const cot_corpus *corpus) { return corpus->source_count; }
cot_source  cot_corpus_source(const cot_corpus *corpus, int32_t index) { return corpus->sources[index]; }

cot_text_size cot_corpus_size(const cot_corpus *corpus, cot_split split, int32_t source)
{
    if (source >= 0) return corpus->sources[source].size[split];
    cot_text_size sum = {0};
    for (int32_t i = 0; i < corpus->source_count; i++) {
        const cot_text_size *size = &corpus->sources[i].size[split];
        sum.documents += size->documents;
        sum.tokens += size->tokens;
        sum.bytes += size->bytes;
        sum.words += size->words;
    }
    return sum;
}

void cot_corpus_tokens(const cot_corpus *corpus, cot_split split, int32_t source, int32_t *ids, size_t *starts)
{
    size_t count = 0;
    for (uint64_t i = 0; i < corpus->cache.document_count[split]; i++) {
        const cot_document *document = &corpus->cache.documents[split][i];
        if (source >= 0 && document->source != (uint64_t)source) continue;
        if (starts) *starts++ = count;
        for (uint64_t t = 0; t < document->tokens; t++)
            ids[count++] = cot_corpus_id(corpus, split, document->start + t);
    }
}

/* ---- batches in general ---- */

cot_status cot_batch_check(int64_t rows, int64_t context)
{
    if (rows < 1 || context < 1 || rows > INT32_MAX / context)
        return cot_fail(COT_INVALID,
                        "a batch of %" PRId64 " rows of %" PRId64 " tokens, expected 1 to 2^31 - 1 tokens in all",
                        rows, context);
    return COT_OK;
}

bool cot_batch_allocate(cot_batch *batch, int64_t rows, int64_t context)
{
    const size_t count = (size_t)(rows * context);
    int32_t     *block = cot_malloc(4 * count * sizeof *block);
    *batch = (cot_batch){.rows = (int32_t)rows, .context = (int32_t)context, .ids = block};
    if (!block) return false;
    batch->targets = block + count;
    batch->first = block + 2 * count;
    batch->source = block + 3 * count;
    return true;
}

void cot_batch_free(cot_batch *batch) { cot_free(batch->ids); }
