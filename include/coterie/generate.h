/* Generation: a model goes on with a text, token by token, over a cache of what came before. */
#ifndef COTERIE_GENERATE_H
#define COTERIE_GENERATE_H

#include <coterie/model.h>
#include <coterie/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A sequence that a model has read, and what it needs to go on. */
typedef struct cot_session cot_session;

/**
 * Starts an empty sequence.
 *
 *   model      borrowed as long as the session lives; parameters must not change meanwhile
 *   capacity   tokens that it can hold; 0 = the model's context
 *   bf16       products and cache in bf16 instead of f32
 *
 * Errors   COT_OUT_OF_MEMORY; COT_INVALID for a negative capacity.
 * Threads  one session on one thread at a time; different sessions of one model not at once.
 */
COT_API cot_status cot_session_create(cot_model *model, int64_t capacity, bool bf16, cot_session **out);
COT_API void       cot_session_destroy(cot_session *session);  /**< Accepts NULL. */

/**
 * Reads more tokens.
 *
 *   ids      [count] i32, count >= 1      in
 *   logits   [V] f32                      out: of what follows the last one; the session's memory, valid until the next
 *            call
 *
 * Errors   COT_INVALID when an id is out of range or the session is full (it is then unchanged).
 */
COT_API cot_status cot_session_feed(cot_session *session, const int32_t *ids, int64_t count, const float **logits);

COT_API int64_t cot_session_length(const cot_session *session);                     /**< Tokens read. */

/**
 * Forgets the tokens from `length` on. Layers with a sliding window keep what the next token sees and a little more,
 * not what lies before it: after going back further than that, the next cot_session_feed() reads everything again.
 */
COT_API void    cot_session_truncate(cot_session *session, int64_t length);
COT_API int32_t cot_session_expert(const cot_session *session, int64_t layer);      /**< First choice for the last token read; -1 in a dense layer. */

typedef struct {
    double   temperature;         /**< 0: always the most probable token */
    int64_t  top_k;               /**< only the k most probable; 0 = all */
    double   top_p;               /**< only the fewest that reach this probability together; 1 = all */
    double   min_p;               /**< only those at least min_p times as probable as the best; 0 = all */
    double   repetition_penalty;  /**< logits of tokens already there are divided by it (multiplied where negative); 1 = none */
    uint64_t seed;
} cot_sampling;

/** temperature 1, nothing cut off. */
COT_API cot_sampling cot_sampling_default(void);

/**
 * Draws a token: repetition penalty, temperature, then top-k, top-p and min-p in this order; equal probabilities rank
 * by id.
 *
 *   logits    [vocab_size] f32      in, borrowed
 *   seen      [count] i32           in: tokens that the penalty holds for
 *   draw      which draw under the seed this is: the same seed and draw give the same token
 *
 * Errors   COT_NOT_FINITE when no logit is finite or one is NaN; COT_INVALID for options out of range;
 *          COT_OUT_OF_MEMORY.
 * Source   penalty [keskar2019ctrl], top-k [fan2018hierarchical], top-p [holtzman2020curious], min-p [nguyen2024minp].
 */
COT_API cot_status cot_sample(const float *logits, int64_t vocab_size, const int32_t *seen, size_t count,
                              const cot_sampling *sampling, uint64_t draw, int32_t *out);

typedef struct {
    cot_sampling sampling;
    int64_t      max_tokens;
    const char *const *stop;      /**< texts that end the output; they are not part of it */
    size_t       stop_count;
    bool         bf16;
    int64_t      layer;           /**< whose experts `on_token` is told */
} cot_generate_options;

/** A generated token: its bytes (maybe part of a character), id and expert (-1 in a dense layer). Returns false to
 *  stop. */
typedef bool (*cot_on_token)(void *context, const char *bytes, size_t length, int32_t id, int32_t expert);

typedef struct {
    int64_t prompt_tokens, tokens;   /**< read, generated */
    double  prompt_seconds, seconds; /**< spent on each */
    bool    ended;                   /**< by an end of text or a stop text, not by max_tokens */
} cot_generated;

/**
 * Goes on with `prompt`. Text comes out through on_token as soon as it cannot be the start of a stop text any more.
 * When the model's context is full, the later half of it is read anew and generation goes on.
 *
 *   prompt   [length] bytes; an empty one starts from the end-of-text token
 *
 * Errors   those above; COT_INVALID when the tokenizer has no end-of-text token and the prompt is empty.
 */
COT_API cot_status cot_generate(cot_model *model, const cot_tokenizer *tokenizer, const char *prompt, size_t length,
                                const cot_generate_options *options, cot_on_token on_token, void *context,
                                cot_generated *out);

#ifdef __cplusplus
}
#endif

#endif
