/* Data: a corpus of text files becomes token ids in a memory-mapped cache, and those become batches to train on and
 * windows to evaluate on.
 *
 * Each file is a *source*, named by its path without extensions, so that measurements can be given per source. A source
 * holds *documents*: a text file is one, every row of a .jsonl file is one. Training text and validation text are the
 * two *splits*. `coterie list data` says what a recipe's `data:` block may hold. */
#ifndef COTERIE_DATA_H
#define COTERIE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>
#include <coterie/status.h>
#include <coterie/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { COT_SPLIT_TRAIN, COT_SPLIT_VALID, COT_SPLITS } cot_split;

/** Told now and then how far long work is: `done` of `total` bytes of files. Returns false to stop it (COT_STOPPED). */
typedef bool (*cot_data_progress)(void *context, uint64_t done, uint64_t total);

/* ---- text ---- */

/** The text of one split, file by file, in pieces that fit in memory. */
typedef struct cot_texts cot_texts;

typedef struct {
    const char *text;    /**< valid UTF-8, not terminated; lives until the next call */
    size_t      length;  /**< bytes; 0 at the end of the split only */
    int32_t     source;  /**< index of its source; -1 at the end of the split */
    bool        begins;  /**< first piece of its document */
    bool        ends;    /**< last piece of its document */
} cot_text;

/**
 * Opens the text of one split of the corpus that a recipe's `data:` block describes.
 *
 *   data   map: in, borrowed during the call
 *
 * Files are read as a stream, unpacked on the way (.gz, .zst). A piece is a whole row, or at most 1 MiB of a text file,
 * cut after a line break where a line with ink follows, which makes no difference to pre-tokenizers that split there.
 * Of a text file the last `validation_fraction`, from the first line break on, is validation text; of .jsonl the rows
 * whose hash falls below it; with `valid_path`, all of that and nothing of `path`.
 *
 * Errors   the options' errors with file and line; COT_IO for a missing or unreadable file; COT_INVALID for a folder
 *          without files, or for kind: random, which has no text.
 */
COT_API cot_status cot_texts_open(const cot_config *data, cot_split split, cot_texts **out);

/**
 * The next piece; out->source is -1 after the last one.
 *
 * Errors   COT_IO; COT_FORMAT with file and byte for invalid UTF-8 (unless `invalid: replace`), with file and line for
 *          a row that is no JSON object with a text under `text_field`, with the file for packed data that are broken,
 *          cut off, or unpack to an absurd size.
 */
COT_API cot_status cot_texts_next(cot_texts *texts, cot_text *out);

/**
 * The same as a cot_text_reader: cot_tokenizer_train(&options, cot_texts_read, texts, &tokenizer).
 *
 *   texts   a cot_texts
 *   text    out; NULL after the last piece
 */
COT_API cot_status cot_texts_read(void *texts, const char **text, size_t *length);

/** Bytes of files read so far, and of all files. */
COT_API void cot_texts_done(const cot_texts *texts, uint64_t *done, uint64_t *total);

/** Gives back what cot_texts_open() took; accepts NULL. */
COT_API void cot_texts_close(cot_texts *texts);

/* ---- corpus ---- */

/** A tokenised corpus. */
typedef struct cot_corpus cot_corpus;

typedef struct {
    uint64_t documents;
    uint64_t tokens;  /**< without the end-of-text tokens between documents; with those that texts begin with, if any */
    uint64_t bytes;   /**< of UTF-8 text, what bits per byte divides by */
    uint64_t words;   /**< separated by white space, and one end of line a line: what word_perplexity divides by */
} cot_text_size;

typedef struct {
    const char   *name;              /**< e.g. "drama" for drama.txt.gz */
    cot_text_size size[COT_SPLITS];
} cot_source;

/**
 * Tokenises a corpus, or maps the cache from an earlier time.
 *
 *   data       the `data:` block of a recipe: in, borrowed during the call
 *   tokenizer  borrowed during the call; NULL for kind: random
 *   progress   NULL, or called on this thread for about each MiB that is tokenised; not called when the cache serves
 *
 * The cache lies in `cache_dir` (default: coterie/ in $XDG_CACHE_HOME or in ~/.cache). It belongs to these paths and
 * options and to this tokenizer. It is made anew when it is damaged or when a file has changed: in size, or in content,
 * which is looked at when the time stamp differs. It is written under another name and renamed.
 *
 * Errors   those of cot_texts_open() and cot_texts_next(), then no cache is left behind; COT_INVALID for a corpus
 *          without a token; COT_IO when the cache cannot be written; COT_STOPPED.
 * Threads  several processes may do this at once. A corpus may be read from any number of threads.
 */
COT_API cot_status cot_corpus_create(const cot_config *data, const cot_tokenizer *tokenizer, cot_data_progress progress,
                                     void *context, cot_corpus **out);

/** Gives a corpus back, after its batches and windows; accepts NULL. */
COT_API void cot_corpus_destroy(cot_corpus *corpus);

COT_API int64_t     cot_corpus_context(const cot_corpus *corpus);      /**< Option `context`: tokens of a row. */
COT_API int32_t     cot_corpus_vocabulary(const cot_corpus *corpus);   /**< Ids are below it. */
COT_API bool        cot_corpus_was_cached(const cot_corpus *corpus);   /**< Was it served by the cache? */
COT_API uint64_t    cot_corpus_fingerprint(const cot_corpus *corpus);  /**< Differs when tokens or files do. */
COT_API const char *cot_corpus_cache_path(const cot_corpus *corpus);   /**< NULL for kind: random. */
COT_API int32_t     cot_corpus_source_count(const cot_corpus *corpus);

/** The index-th source, 0 <= index < count; names live as long as the corpus. */
COT_API cot_source cot_corpus_source(const cot_corpus *corpus, int32_t index);

/** Sums over one source, or over all with source -1. */
COT_API cot_text_size cot_corpus_size(const cot_corpus *corpus, cot_split split, int32_t source);

/**
 * Copies the tokens of one source's documents in one split (source -1: of all sources) one after the other, without
 * end-of-text tokens.
 *
 *   ids     [tokens] i32      out, as many as cot_corpus_size() says
 *   starts  [documents]       out, index in ids of each document's first token; NULL when not wanted
 */
COT_API void cot_corpus_tokens(const cot_corpus *corpus, cot_split split, int32_t source, int32_t *ids, size_t *starts);

/* ---- batches ---- */

/**
 * B rows of S tokens, flattened row by row: token s of row r has index r * S + s.
 * The arrays belong to the object that made the batch and live until its next batch.
 */
typedef struct {
    int32_t  rows;      /**< B */
    int32_t  context;   /**< S */
    int32_t  used_rows; /**< rows that hold anything; fewer than B in the last batch of an evaluation only */
    int64_t  scored;    /**< targets that are not -1 */
    int32_t *ids;       /**< [B * S] */
    int32_t *targets;   /**< [B * S] the token that follows; -1 = not scored */
    int32_t *first;     /**< [B * S] index of the first token that this one may attend to; position = index - first */
    int32_t *source;    /**< [B * S] index of the token's source; -1 = padding */
} cot_batch;

/** Batches to train on: documents, an end-of-text token behind each, one after the other, cut into rows, shuffled. */
typedef struct cot_batches cot_batches;

/** A place in the sequence of rows. */
typedef struct {
    uint64_t epoch;  /**< from 0 */
    uint64_t row;    /**< rows of this epoch already given out */
} cot_data_position;

/**
 * Makes batches of the training split.
 *
 * With `document_restart` (the default) a token attends to its own document only, the end-of-text token counting as the
 * document's last one, and the token after an end-of-text token is not predicted. Without it a token attends to all of
 * its row before it, and all tokens are predicted.
 * Rows of an epoch start at a random place of the corpus, seen as a ring, and follow each other without overlap
 * (targets reach one token on); their order is a random permutation. Batch n depends on (seed, n, rows, context) alone,
 * and a times b rows are the same rows in the same order as once a * b rows.
 *
 * Errors   COT_INVALID when the split has fewer than context + 1 tokens, or rows * context does not fit in 31 bits.
 */
COT_API cot_status cot_batches_create(const cot_corpus *corpus, uint64_t seed, int64_t rows, cot_batches **out);

COT_API void cot_batches_destroy(cot_batches *batches);  /**< Accepts NULL. */

COT_API cot_status        cot_batches_next(cot_batches *batches, cot_batch *out);  /**< The next batch; never ends. */
COT_API cot_data_position cot_batches_position(const cot_batches *batches);        /**< The next batch's first row. */
COT_API uint64_t          cot_batches_epoch_rows(const cot_batches *batches);      /**< Rows of an epoch. */

/** Goes to a place, e.g. one saved earlier. Errors: COT_INVALID when an epoch has no such row. */
COT_API cot_status cot_batches_seek(cot_batches *batches, cot_data_position position);

/* ---- evaluation ---- */

/** Windows over one split in which every token but the first of each document is scored exactly once. */
typedef struct cot_windows cot_windows;

typedef struct {
    cot_split split;
    int64_t   window;      /**< tokens that a prediction may look at, at most; also a row's length */
    int64_t   stride;      /**< from one window's start to the next one's, 1 to window */
    int64_t   rows;        /**< of a batch */
    int64_t   max_tokens;  /**< of each source: stop after the window in which so many are scored; 0 = all */
} cot_window_options;

/**
 * Prepares the windows: of each document at 0, stride, 2 * stride ..., each scoring what earlier ones did not.
 * End-of-text tokens are neither shown nor scored.
 *
 * Short windows share a row (`first` keeps them apart); what stays free in a row has source and target -1 and id 0.
 * An entry with target >= 0 stands before a scored token and occurs once; all others are context or padding.
 *
 * Errors   COT_INVALID for options out of range, and when nothing is to be scored in the split.
 */
COT_API cot_status cot_windows_create(const cot_corpus *corpus, const cot_window_options *options, cot_windows **out);

COT_API void cot_windows_destroy(cot_windows *windows);  /**< Accepts NULL. */

COT_API uint64_t cot_windows_scored(const cot_windows *windows);  /**< Tokens that all batches together score. */

/** The next batch; out->used_rows is 0 after the last one. */
COT_API cot_status cot_windows_next(cot_windows *windows, cot_batch *out);

COT_API void cot_windows_rewind(cot_windows *windows);  /**< Back to the start. */

#ifdef __cplusplus
}
#endif

#endif
