/* The router lab: what a router, balance rules and a capacity make of a given matrix of logits. It is how a person
 * comes to understand a router, and how routers are tested by hand-worked cases. Everything runs in f64. */
#ifndef COTERIE_ROUTE_H
#define COTERIE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What to try; texts are inline YAML as in recipes. */
typedef struct {
    const char        *router;         /**< "{kind: noisy_top_k, top_k: 2}" */
    const char *const *balance;        /**< each "{kind: load, coef: 1}" */
    size_t             balance_count;
    const char        *capacity;       /**< "{capacity_factor: 1.25}"; NULL = dropless */
    bool               gradient;       /**< of the sum of the losses? */
    uint64_t           seed;           /**< of draws that the input does not give */
    const char        *name;           /**< stands in front of messages about the input, e.g. its file's; NULL = nothing does */
} cot_route_spec;

/** What came out. T tokens, E experts, A assignments in token order, then by choice. */
typedef struct {
    int64_t        tokens, experts, assignments;
    int64_t        columns;                /**< of the logits; E for most routers */
    int64_t        primary_columns;        /**< of the primary logits, or 0 */
    int64_t        capacity;               /**< slots per expert; -1 = dropless */
    const int32_t *token, *expert;         /**< [A] */
    const int32_t *slot;                   /**< [A] place among the expert's slots; -1 dropped, -2 skipped by the router */
    const double  *gate;                   /**< [A] combine weight */
    const double  *probability;            /**< [T, E] softmax of the logits over all experts */
    const int64_t *load;                   /**< [E] assignments before capacity, without skipped ones */
    const double  *importance;             /**< [E] sums of gates before capacity */
    int64_t        slots;                  /**< of all experts, where they work on mixtures of tokens (soft_moe); else 0 */
    const double  *dispatch, *combine;     /**< [T, slots] what a slot takes of a token, and a token of a slot; NULL without slots */
    size_t             loss_count;
    const char *const *loss_name;          /**< kind; the second of a kind is "aux.2"; a router's own loss has its kind */
    const double      *loss;               /**< already times its coef */
    const double      *bias;               /**< [E] after a step, when a rule moves it; else NULL */
    const double *gradient_logits;         /**< [T, columns], or NULL when not asked for */
    const double *gradient_raw_noise_std;  /**< [T, columns], or NULL when there is no noise */
    const double *gradient_primary_logits; /**< [T, primary_columns], or NULL when there are none */
    void         *memory;                  /**< the library's own */
} cot_route_result;

/**
 * Routes the tokens of a JSON text.
 *
 *   json   {"logits": [[...]]}: T x E, taken as the router's clean logits, natural-log units; and optionally
 *          "noise" (T x E draws that replace the router's own: standard normal for noisy gating, in [0, 1) for
 *          uniforms), "raw_noise_std" (T x E, the scale of the noise before its softplus; default zeros), "tokens" (T
 *          ids), "sequences" (lengths that sum to T; default one), "training" (default false: no noise, evaluation
 *          rules). Minus infinity masks an expert for a token: write "-inf", "-Infinity" or a bare -Infinity. A token
 *          whose experts are all masked is padding: it has no assignments and counts in nothing. What single routers
 *          read besides: "primary_logits" (T x groups), "labels", "targets", "positions" (T whole numbers), "reward"
 *          (T), "bias", "thresholds" (E each), "group" (lengths that sum to T: tokens routed together).
 *
 * Errors   COT_FORMAT when the text is not JSON or not of that form; COT_NOT_FINITE for NaN and plus infinity, with
 *          token and expert; those of the router's, the rules' and the capacity's options.
 * Threads  safe, no shared state.
 */
COT_API cot_status cot_route(const cot_route_spec *spec, const char *json, size_t length, cot_route_result **out);

/** Frees a result; accepts NULL. */
COT_API void cot_route_result_destroy(cot_route_result *result);

/**
 * A result as one JSON object: "assignments" [{"token", "expert", "gate", "slot"}], "dropped" [{"token", "expert"}],
 * "load", "importance", "losses" {KIND: value}, "capacity" (null = dropless), with soft routing "dispatch" and "combine" (rows of tokens), with a rule that moves a bias "bias" (after
 * the step), and with gradients "gradient" {"logits",
 * "raw_noise_std", "primary_logits"}. Numbers have 17 digits. The caller frees the text with free().
 */
COT_API cot_status cot_route_to_json(const cot_route_result *result, char **out);

#ifdef __cplusplus
}
#endif

#endif
