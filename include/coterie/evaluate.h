/* Evaluation: how well a model predicts text it never saw, by source, and how its experts were used. */
#ifndef COTERIE_EVALUATE_H
#define COTERIE_EVALUATE_H

#include <coterie/data.h>
#include <coterie/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Sums over one source of text, or over all. */
typedef struct {
    const char *name;
    double      nll;        /**< nats, summed over the scored tokens */
    uint64_t    tokens;     /**< scored: every token but the first of a document */
    uint64_t    bytes;      /**< of text that the scored tokens stand for: all but the documents' first tokens */
    uint64_t    words;      /**< separated by white space, one end of line a line */
    double      loss;             /**< nats per token */
    double      perplexity;       /**< exp(loss) */
    double      word_perplexity;  /**< exp(nll / words), for corpora that are published per word */
    double      bits_per_byte;    /**< nll / (ln 2 * bytes) */
} cot_score;

enum {
    COT_USE_BINS = 32,    /**< of a histogram of use: 0, 1, 2 to 3, 4 to 7 ... times; the last has all from 2^30 on */
    COT_GRID_CELLS = 256  /**< at most, in a row of a grid of use */
};

/** How often the n * n experts of a layer with product keys were used: expert i * n + j is the pair of keys i and j. */
typedef struct {
    int64_t  sub_keys;  /**< n; 0 = the layer has no product keys */
    int64_t  bin;       /**< a cell stands for bin * bin experts, fewer at the ends of rows and columns */
    int64_t  cells;     /**< in a row: n / bin, rounded up */
    int64_t *use;       /**< [cells, cells] assignments of scored tokens, before capacity */
} cot_key_grid;

/** One sparse layer over all scored windows. */
typedef struct {
    int64_t layer, experts;
    double *load;            /**< [experts] fraction of assignments, before capacity */
    double *source_load;     /**< [sources, experts] fraction of a source's assignments */
    double  cv2, max_vio, router_entropy, drop_fraction;  /**< population CV^2; max/mean - 1; nats; of assignments */
    double  importance_cv2;  /**< population CV^2 of the experts' sums of gates, over all that was shown */
    int64_t dead;            /**< experts with less than a tenth of an even share */
    double  usage;            /**< fraction of experts with an assignment */
    double  unevenness;       /**< divergence of the experts' shares of all gates from even ones, nats */
    double  unevenness_bias;  /**< what so few assignments would show of an even router */
    int64_t use_histogram[COT_USE_BINS];  /**< experts that were used 0, 1, 2 to 3, 4 to 7 ... times, before capacity */
    cot_key_grid grid;
} cot_layer_use;

typedef struct {
    int64_t        window, stride;
    cot_score      total;
    int32_t        source_count;
    cot_score     *sources;
    int64_t        layer_count;
    cot_layer_use *layers;
} cot_evaluation;

typedef struct {
    cot_split split;
    int64_t   window;      /**< 0 = the model's context */
    int64_t   stride;      /**< 0 = half the window */
    int64_t   max_tokens;  /**< of each source; 0 = all */
    bool      bf16;        /**< products in bf16 */
} cot_evaluate_options;

/** Told now and then: scored tokens so far, of all. Returns false to stop (COT_STOPPED). */
typedef bool (*cot_evaluate_progress)(void *context, uint64_t done, uint64_t total);

/**
 * Scores one split of a corpus: every token but the first of each document once, with at most `window` tokens of
 * context.
 *
 *   tokenizer   gives the bytes of tokens; the corpus was made with it
 *   out         the caller frees it with cot_evaluation_destroy()
 *
 * Errors   COT_INVALID when the corpus has ids that the model lacks; COT_NOT_FINITE; COT_STOPPED.
 * Source   docs/evaluation.md.
 */
COT_API cot_status cot_evaluate(cot_model *model, const cot_corpus *corpus, const cot_tokenizer *tokenizer,
                                const cot_evaluate_options *options, cot_evaluate_progress progress, void *context,
                                cot_evaluation **out);

COT_API void cot_evaluation_destroy(cot_evaluation *evaluation);  /**< Accepts NULL. */

/**
 * The evaluation as JSON (keys as the fields above); the caller frees it with free().
 */
COT_API cot_status cot_evaluation_to_json(const cot_evaluation *evaluation, char **out);

/**
 * Logits of a token sequence from an empty context.
 *
 *   ids      [count] i32       in
 *   logits   [count, V] f32    out, the caller's memory
 *
 * Errors   COT_INVALID for an id out of range.
 */
COT_API cot_status cot_model_logits_of(cot_model *model, const int32_t *ids, int64_t count, float *logits);

/**
 * The same from file to file, to hold against another engine: `ids_path` is a JSON list of token ids, `logits_path`
 * becomes a safetensors file with the tensor "logits" [count, V] f32.
 *
 * Errors   COT_IO; COT_FORMAT naming the place in the list; COT_INVALID.
 */
COT_API cot_status cot_model_logits_file(cot_model *model, const char *ids_path, const char *logits_path);

#ifdef __cplusplus
}
#endif

#endif
