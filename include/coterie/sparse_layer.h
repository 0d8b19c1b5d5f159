/* One sparse layer by itself, for programs that are no language model: rows in, rows out, gradients back.
 *
 * What a recipe calls `ffn` is such a layer; here it stands without norm and without residual stream:
 *     y[t, :] = sum over the experts e that row t is routed to of gate[t, e] * expert_e(x[t, :]),
 * plus what a shared expert makes of x[t, :] if there is one.
 * examples/sparse_layer.c trains one in 50 lines. */
#ifndef COTERIE_SPARSE_LAYER_H
#define COTERIE_SPARSE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>
#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cot_sparse_layer cot_sparse_layer;

/**
 * Makes a layer and draws its weights: normal with standard deviation 1 / sqrt(fan-in), cut at two of them; the same
 * for the same seed.
 *
 *   spec          as a recipe's `ffn`, e.g. {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn,
 *                 num_experts: 8, intermediate_size: 64}, balance: [{kind: aux}]}; copied. {kind: dense} works too
 *   hidden_size   D, columns of x and y
 *   seed          of weights, router noise and dropout
 *
 * Errors   COT_INVALID, COT_NOT_FOUND with line and key for anything in the spec that cannot work; COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_sparse_layer_create(const cot_config *spec, int64_t hidden_size, uint64_t seed,
                                           cot_sparse_layer **out);

COT_API void    cot_sparse_layer_destroy(cot_sparse_layer *layer);        /**< Accepts NULL. */
COT_API int64_t cot_sparse_layer_experts(const cot_sparse_layer *layer);  /**< E; 0 when dense. */

/**
 * Forward, in f32.
 *
 * T tokens, width D, E experts.
 *   training   noise, jitter and dropout are drawn, balance rules take part, and what going back needs is kept
 *   x          [T, D] f32, row-major   in, borrowed; when training until cot_sparse_layer_backward() has returned
 *   y          [T, D] f32              out
 *   counts     [E]                     out, assignments of each expert before capacity; NULL when not wanted
 *
 * Nothing is allocated after the first call of a size.
 * Errors   COT_INVALID when tokens < 1; COT_OUT_OF_MEMORY. y is then untouched.
 * Threads  uses cot_get_threads(); the result does not depend on their number. One call at a time per layer.
 */
COT_API cot_status cot_sparse_layer_forward(cot_sparse_layer *layer, bool training, const float *x, int64_t tokens,
                                            float *y, int64_t *counts);

/**
 * Goes back through the last forward, which must have been a training one: gradients of <dy, y> plus the balance
 * losses.
 *
 *   dy             [T, D] f32   in, borrowed; the gradient at y
 *   dx             [T, D] f32   out, the gradient at x; NULL when not wanted
 *   balance_loss   out, the sum of the balance losses; NULL when not wanted
 *
 * Parameters' gradients are overwritten. Once per forward.
 * Errors   COT_INVALID when there is nothing to go back through; COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_sparse_layer_backward(cot_sparse_layer *layer, const float *dy, float *dx,
                                             double *balance_loss);

/** A parameter of a layer. */
typedef struct {
    const char *name;      /**< "router.weight", "experts.gate_up" [E, 2F, D], "experts.down" [E, D, F] ... */
    int         rank;
    int64_t     shape[4];  /**< unused places hold 1 */
    int64_t     count;     /**< elements */
    float      *value;     /**< [count], row-major; may be written until the layer's next forward */
    const float *grad;     /**< [count], of the last backward; NULL before the first training forward */
} cot_sparse_layer_parameter;

/**
 * Gives the index-th parameter, to read, to save, or to change: an optimizer asks for each after every backward. Ask
 * anew each time values are to be written: the layer keeps packed copies, and this call tells it that they are out of
 * date.
 *
 * Returns  false past the end.
 */
COT_API bool cot_sparse_layer_parameter_at(cot_sparse_layer *layer, size_t index, cot_sparse_layer_parameter *out);

#ifdef __cplusplus
}
#endif

#endif
