/* Windows to evaluate on. A document of n tokens has n - 1 inputs, 0 .. n - 2; input i scores token i + 1. Window k
 * shows inputs [k * stride, k * stride + window) and scores those that earlier windows did not. */
#include <inttypes.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/corpus.h"

typedef struct {
    uint64_t document;  /* index in the split */
    uint64_t begin;     /* first input shown */
    uint64_t scored;    /* inputs scored by earlier windows */
} window_place;

struct cot_windows {
    const cot_corpus  *corpus;
    cot_window_options options;
    window_place       place;
    uint64_t          *source_scored;  /* [sources] so far */
    uint64_t           total;
    cot_batch          batch;
};

static const cot_document *document_at(const cot_windows *windows, uint64_t index)
{
    return &windows->corpus->cache.documents[windows->options.split][index];
}

/* Is there nothing (more) to score in the document at hand? */
static bool document_done(const cot_windows *windows)
{
    const cot_document *document = document_at(windows, windows->place.document);
    const uint64_t      limit = (uint64_t)windows->options.max_tokens;
    if (limit > 0 && windows->source_scored[document->source] >= limit) return true;
    return document->tokens < 2 || windows->place.scored == document->tokens - 1;
}

/* Moves on to a document with something left to score; false at the end of the split. */
static bool find_place(cot_windows *windows)
{
    const uint64_t count = windows->corpus->cache.document_count[windows->options.split];
    while (windows->place.document < count && document_done(windows))
        windows->place = (window_place){.document = windows->place.document + 1};
    return windows->place.document < count;
}

static uint64_t window_end(const cot_windows *windows)
{
    const uint64_t inputs = document_at(windows, windows->place.document)->tokens - 1;
    const uint64_t end = windows->place.begin + (uint64_t)windows->options.window;
    return end < inputs ? end : inputs;
}

/* Counts the window at hand as scored and moves to the document's next one. */
static void pass_window(cot_windows *windows)
{
    const uint64_t end = window_end(windows), source = document_at(windows, windows->place.document)->source;
    windows->source_scored[source] += end - windows->place.scored;
    windows->place.scored = end;
    windows->place.begin += (uint64_t)windows->options.stride;
}

/* Writes the window at hand into the batch from index i on. */
static void put_window(cot_windows *windows, int32_t i)
{
    const cot_document *document = document_at(windows, windows->place.document);
    const uint64_t      end = window_end(windows);
    const int32_t       first = i;
    cot_batch          *batch = &windows->batch;
    for (uint64_t input = windows->place.begin; input < end; input++, i++) {
        const uint64_t index = document->start + input;
        const bool     scored = input >= windows->place.scored;
        batch->ids[i] = cot_corpus_id(windows->corpus, windows->options.split, index);
        batch->targets[i] = scored ? cot_corpus_id(windows->corpus, windows->options.split, index + 1) : -1;
        batch->first[i] = first;
        batch->source[i] = (int32_t)document->source;
        batch->scored += scored;
    }
}

/* Fills row r with as many windows as fit, the rest with padding; false when no window was left. */
static bool fill_row(cot_windows *windows, int32_t r)
{
    cot_batch *batch = &windows->batch;
    int32_t    i = r * batch->context;
    const int32_t row_end = i + batch->context;
    bool          used = false;
    while (find_place(windows)) {
        const uint64_t length = window_end(windows) - windows->place.begin;
        if (length > (uint64_t)(row_end - i)) break;
        put_window(windows, i);
        pass_window(windows);
        i += (int32_t)length;
        used = true;
    }
    for (; i < row_end; i++) {
        batch->ids[i] = 0;
        batch->targets[i] = batch->source[i] = -1;
        batch->first[i] = i;
    }
    return used;
}

cot_status cot_windows_next(cot_windows *windows, cot_batch *out)
{
    windows->batch.scored = 0;
    windows->batch.used_rows = 0;
    for (int32_t r = 0; r < windows->batch.rows; r++) windows->batch.used_rows += fill_row(windows, r);
    *out = windows->batch;
    return COT_OK;
}

void cot_windows_rewind(cot_windows *windows)
{
    windows->place = (window_place){.document = 0};
    for (int32_t i = 0; i < windows->corpus->source_count; i++) windows->source_scored[i] = 0;
}

uint64_t cot_windows_scored(const cot_windows *windows) { return windows->total; }

static cot_status check_options(const cot_window_options *options)
{
    COT_TRY(cot_batch_check(options->rows, options->window));
    if (options->stride < 1 || options->stride > options->window)
        return cot_fail(COT_INVALID, "a stride of %" PRId64 " tokens, expected 1 to the window, %" PRId64,
                        options->stride, options->window);
    if (options->max_tokens < 0)
        return cot_fail(COT_INVALID, "at most %" PRId64 " tokens of each source, expected 0 (all) or more",
                        options->max_tokens);
    if (options->split != COT_SPLIT_TRAIN && options->split != COT_SPLIT_VALID)
        return cot_fail(COT_INVALID, "split %d, expected 0 (training) or 1 (validation)", (int)options->split);
    return COT_OK;
}

static cot_status count_scored(cot_windows *windows)
{
    for (; find_place(windows); pass_window(windows)) windows->total += window_end(windows) - windows->place.scored;
    cot_windows_rewind(windows);
    if (windows->total > 0) return COT_OK;
    return cot_fail(COT_INVALID, "nothing to evaluate on: no %s document has two tokens",
                    windows->options.split == COT_SPLIT_VALID ? "validation" : "training");
}

cot_status cot_windows_create(const cot_corpus *corpus, const cot_window_options *options, cot_windows **out)
{
    *out = NULL;
    COT_TRY(check_options(options));
    cot_windows *windows = cot_calloc(sizeof *windows);
    if (!windows) return cot_fail(COT_OUT_OF_MEMORY, "no memory for evaluation windows");
    windows->corpus = corpus;
    windows->options = *options;
    windows->source_scored = cot_calloc((size_t)corpus->source_count * sizeof *windows->source_scored);
    cot_status status = COT_OK;
    if (!windows->source_scored || !cot_batch_allocate(&windows->batch, options->rows, options->window))
        status = cot_fail(COT_OUT_OF_MEMORY, "no memory for evaluation windows of %" PRId64 " tokens", options->window);
    if (status == COT_OK) status = count_scored(windows);
    if (status == COT_OK) *out = windows;
    else cot_windows_destroy(windows);
    return status;
}

void cot_windows_destroy(cot_windows *windows)
{
    if (!windows) return;
    cot_batch_free(&windows->batch);
    cot_free(windows->source_scored);
    cot_free(windows);
}
