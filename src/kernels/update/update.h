/* Parameter updates over elements [i0, i1) of real arrays: w value, g gradient, m and v moments. */
#ifndef COT_KERNELS_UPDATE_H
#define COT_KERNELS_UPDATE_H

#include "kernels/kernels.h"

typedef struct {
    double lr;            /* of this step */
    double beta1, beta2, eps;
    double correction1, correction2;  /* 1 - beta^step */
    double weight_decay;  /* decoupled: w *= 1 - lr * weight_decay */
    double grad_scale;    /* g is multiplied by it first (clipping) */
} cot_adamw_rule;

/* Where a row's random numbers come from: a block of the counter-based generator, spread over elements by a hash. */
typedef struct {
    uint32_t base, twist;
} cot_rounding;

typedef struct {
    /* m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr (m / c1) / (sqrt(v / c2) + eps), after the decay.   [loshchilov2019adamw] */
    void (*adamw)(int64_t i0, int64_t i1, const cot_adamw_rule *rule, void *w, const void *g, void *m, void *v);
    /* m = momentum m + g; w -= lr (nesterov ? g + momentum m : m), after the decay. m NULL: no momentum */
    void (*sgd)(int64_t i0, int64_t i1, double lr, double momentum, bool nesterov, double weight_decay, double grad_scale, void *w, const void *g, void *m);
    /* w = w (1 - lr weight_decay) - lr * scale * u */
    void (*apply)(int64_t i0, int64_t i1, double lr, double scale, double weight_decay, void *w, const void *u);
    /* y = a x + b y */
    void (*mix)(int64_t i0, int64_t i1, double a, const void *x, double b, void *y);
    /* m = momentum m + grad_scale g; u = grad_scale g + momentum m; returns the sum of u^2 in f64 */
    double (*look_ahead)(int64_t i0, int64_t i1, double momentum, double grad_scale, const void *g, void *m, void *u);
    double (*sum_squares)(int64_t i0, int64_t i1, const void *g);  /* in f64 */
    /* s = s + (g grad_scale)^2; w -= lr g grad_scale / (sqrt(s) + eps), after the decay.   [duchi2011adaptive] */
    void (*adagrad)(int64_t i0, int64_t i1, double lr, double eps, double weight_decay, double grad_scale, void *w, const void *g, void *s);
    /* to [n] real = from [n] bf16; and back, to the bf16 number below or above with probabilities by nearness, so that the
     * expectation is the number itself. Element i draws 16 bits, which depend on rounding and i alone. */
    void (*widen)(int64_t n, const void *from, void *to);
    void (*round)(int64_t n, const void *from, cot_rounding rounding, void *to);
    void (*ask)(const void *data, size_t bytes);  /* asks for what will be read soon */
} cot_update_kernels;

const cot_update_kernels *cot_update_kernels_for(cot_mode mode);

#endif
