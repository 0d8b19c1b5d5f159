#include "ops/binary_codes.h"

#include <math.h>

#include "ops/values.h"

enum { MOST_DIGITS = 20 };

typedef struct {
    cot_tensor *z, *y;
    int64_t     experts, digits;
    double      gamma;
} code_saved;

static double value(const cot_tensor *t, int64_t i) { return cot_value_at(t->data, t->dtype, i); }
static double slope(const cot_tensor *t, int64_t i) { return cot_value_at(t->grad, t->dtype, i); }

static double step(double z, double g)
{
    if (z <= -g / 2) return 0;
    if (z >= g / 2) return 1;
    return -2 / (g * g * g) * z * z * z + 3 / (2 * g) * z + 0.5;
}
static double step_slope(double z, double g) { return fabs(z) >= g / 2 ? 0 : -6 / (g * g * g) * z * z + 3 / (2 * g); }

/* The digits' steps of a row. */
static void read_steps(const code_saved *s, int64_t row, double *digit)
{
    for (int64_t b = 0; b < s->digits; b++) digit[b] = step(value(s->z, row * s->digits + b), s->gamma);
}

/* The product over digits of a code, but for digit `without` (-1: none). */
static double product(const code_saved *s, const double *digit, int64_t code, int64_t without)
{
    double p = 1;
    for (int64_t b = 0; b < s->digits; b++)
        if (b != without) p *= code >> b & 1 ? digit[b] : 1 - digit[b];
    return p;
}

static void codes_backward(cot_tape *tape, void *saved)
{
    const code_saved *s = saved;
    const int64_t rows = cot_tensor_rows(s->y), codes = (int64_t)1 << s->digits;
    double digit[MOST_DIGITS];
    bool add = false;
    void *dz = s->digits ? cot_tape_grad(tape, s->z, &add) : NULL;
    for (int64_t r = 0; dz && r < rows; r++) {
        read_steps(s, r, digit);
        for (int64_t b = 0; b < s->digits; b++) {
            double sum = 0;
            for (int64_t c = 0; c < codes; c++)
                sum += slope(s->y, r * s->experts + c % s->experts) * (c >> b & 1 ? 1 : -1) * product(s, digit, c, b);
            const int64_t i = r * s->digits + b;
            cot_value_put(dz, s->z->dtype, i, sum * step_slope(value(s->z, i), s->gamma), add);
        }
    }
}

cot_tensor *cot_binary_codes(cot_tape *tape, cot_tensor *z, int64_t experts, double gamma)
{
    int64_t digits = 0;
    while ((int64_t)1 << digits < experts) digits++;
    const int64_t rows = z->shape[0], codes = (int64_t)1 << digits;
    double digit[MOST_DIGITS];
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), rows, experts, z->needs_grad);
    code_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (code_saved){z, y, experts, digits, gamma};
    for (int64_t r = 0; r < rows; r++) {
        read_steps(s, r, digit);
        for (int64_t c = 0; c < codes; c++)
            cot_value_put(y->data, y->dtype, r * experts + c % experts, product(s, digit, c, -1), c >= experts);
    }
    cot_tape_record(tape, codes_backward, s, &y, 1);
    return y;
}

/* ---- mixing ---- */

typedef struct {
    cot_tensor *mix, *x, *y;
} mix_saved;

static void mix_backward(cot_tape *tape, void *saved)
{
    const mix_saved *s = saved;
    const int64_t rows = cot_tensor_rows(s->y), experts = cot_tensor_columns(s->y), k = cot_tensor_columns(s->mix);
    bool add_mix = false, add_x = false;
    void *dmix = cot_tape_grad(tape, s->mix, &add_mix), *dx = cot_tape_grad(tape, s->x, &add_x);
    for (int64_t i = 0; i < rows * k && (dmix || dx); i++) {
        double sum = 0;
        for (int64_t e = 0; e < experts; e++) {
            const double dy = slope(s->y, i / k * experts + e);
            sum += dy * value(s->x, i * experts + e);
            if (dx) cot_value_put(dx, s->x->dtype, i * experts + e, dy * value(s->mix, i), add_x);
        }
        if (dmix) cot_value_put(dmix, s->mix->dtype, i, sum, add_mix);
    }
}

cot_tensor *cot_mix_rows(cot_tape *tape, cot_tensor *mix, cot_tensor *x)
{
    const int64_t rows = cot_tensor_rows(mix), k = cot_tensor_columns(mix), experts = cot_tensor_columns(x);
    cot_tape_kind(tape, COT_TIME_ROUTING);
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_real(tape), rows, experts, mix->needs_grad || x->needs_grad);
    mix_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return y;
    *s = (mix_saved){mix, x, y};
    for (int64_t i = 0; i < rows * k; i++)
        for (int64_t e = 0; e < experts; e++)
            cot_value_put(y->data, y->dtype, i / k * experts + e, value(mix, i) * value(x, i * experts + e), i % k > 0);
    cot_tape_record(tape, mix_backward, s, &y, 1);
    return y;
}
