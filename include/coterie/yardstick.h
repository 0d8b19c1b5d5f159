/* The yardstick beside a language model's loss: how well counting alone predicts the same tokens.
 * Interpolated modified Kneser-Ney n-gram models of order 1 to N, exact, over token ids. */
#ifndef COTERIE_YARDSTICK_H
#define COTERIE_YARDSTICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { COT_KNESER_NEY_MAX_ORDER = 8 };

typedef struct cot_kneser_ney cot_kneser_ney;

/** How much is taken from an n-gram seen once, twice, and three times or more. */
typedef struct {
    double once, twice, more;
    bool   modified;  /**< three discounts; false: too few counts for that, one discount n1 / (n1 + 2 n2) for all */
} cot_kneser_ney_discount;

/** Sums over the scored tokens: every token but the first of each document. */
typedef struct {
    uint64_t tokens;                          /**< scored tokens */
    double   nll[COT_KNESER_NEY_MAX_ORDER];   /**< nll[n - 1]: sum of -ln p under the model of order n, in nats */
} cot_kneser_ney_score;

/**
 * Counts the n-grams of a token sequence: one object is the models of order 1, 2, ... `order`.
 *
 * A document's first token is context only; contexts do not reach across a document's start, which is known to the
 * models as a symbol of its own. The lowest order is mixed with the uniform distribution over the vocabulary, so
 * no token has probability zero.
 *   tokens  [count]      in, borrowed; 0 <= id < vocabulary; count < 2^31
 *   starts  [documents]  in, borrowed; index of each document's first token, ascending, starts[0] = 0 (as
 *                       cot_corpus_tokens() gives them; documents may be empty)
 *   order   1 to COT_KNESER_NEY_MAX_ORDER
 *
 * About 100 bytes per training token at order 5. The result is the same on every machine.
 * Errors   COT_INVALID with what was expected, also when no document has two tokens; COT_OUT_OF_MEMORY.
 * Threads  safe, no shared state; runs on one core.
 * Source   [chen1999empirical], eq. 9 with the discounts of section 3 (closed form), interpolated; the document's start
 *          as in [heafield2013scalable]: an n-gram that begins with it keeps its plain count in lower orders.
 */
COT_API cot_status cot_kneser_ney_create(const int32_t *tokens, size_t count, const size_t *starts, size_t documents,
                                         int32_t vocabulary, int order, cot_kneser_ney **out);

COT_API void cot_kneser_ney_destroy(cot_kneser_ney *model);  /**< Accepts NULL. */

COT_API int         cot_kneser_ney_order(const cot_kneser_ney *model);  /**< The highest order. */
COT_API const char *cot_kneser_ney_name(void);  /**< "interpolated modified Kneser-Ney", for output. */

/** The discounts of the model of order `order` at its own order (plain counts), 1 <= order <= the highest. */
COT_API cot_kneser_ney_discount cot_kneser_ney_discounts(const cot_kneser_ney *model, int order);

/**
 * Scores a token sequence under every order at once.
 *
 *   tokens, starts  as for cot_kneser_ney_create(), the same vocabulary
 *   nll             [count, order] f64, row-major, out; column n - 1: -ln p(token | at most n - 1 before it) in nats;
 *                   zeros for the first token of a document
 *
 * Errors   COT_INVALID with what was expected; nll is then untouched.
 * Threads  safe: the model is not changed.
 */
COT_API cot_status cot_kneser_ney_nll(const cot_kneser_ney *model, const int32_t *tokens, size_t count,
                                      const size_t *starts, size_t documents, double *nll);

/** The same, summed: score->nll[n - 1] / score->tokens is nats per token. Orders above the model's are zero. */
COT_API cot_status cot_kneser_ney_evaluate(const cot_kneser_ney *model, const int32_t *tokens, size_t count,
                                           const size_t *starts, size_t documents, cot_kneser_ney_score *score);

#ifdef __cplusplus
}
#endif

#endif
