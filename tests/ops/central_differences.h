/* Gradients against central differences on an f64 tape.
 *
 * A case is a function that builds a real scalar from inputs. What is discrete in it (chosen experts, drops, counts)
 * must not change under a step of 1e-5: keep test points away from ties. */
#ifndef COT_TESTS_CENTRAL_DIFFERENCES_H
#define COT_TESTS_CENTRAL_DIFFERENCES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include <coterie/runtime.h>

#include "base/rng.h"
#include "ops/values.h"
#include "tensor/tape.h"

enum { DIFFERENCE_INPUTS = 4, DIFFERENCE_ELEMENTS = 4096 };

typedef struct {
    int     count;
    int64_t shape[DIFFERENCE_INPUTS][2];
    double  value[DIFFERENCE_INPUTS][DIFFERENCE_ELEMENTS];
    bool    training;
} difference_case;

typedef cot_tensor *(*difference_build)(cot_tape *tape, cot_tensor *const *inputs, const void *context);

static inline cot_rng_key test_key(uint64_t seed) { return (cot_rng_key){.seed = seed, .stream = COT_RNG_TEST}; }
static inline double test_normal(uint64_t seed, uint64_t i) { return cot_rng_normal(test_key(seed), i); }
static inline double test_uniform(uint64_t seed, uint64_t i) { return cot_rng_uniform(test_key(seed), i); }

/* Adds an input of normal draws. */
static inline void add_input(difference_case *c, int64_t rows, int64_t columns, uint64_t seed)
{
    assert_true(c->count < DIFFERENCE_INPUTS && rows * columns <= DIFFERENCE_ELEMENTS);
    c->shape[c->count][0] = rows;
    c->shape[c->count][1] = columns;
    for (int64_t i = 0; i < rows * columns; i++) c->value[c->count][i] = test_normal(seed, (uint64_t)i);
    c->count++;
}

/* ---- a scalar from a tensor: the sum of its elements, each times a fixed weight ---- */

typedef struct {
    cot_tensor *x, *out;
} probe_saved;

static inline double probe_weight(int64_t i) { return test_uniform(99, (uint64_t)i) * 2 - 1; }

static void probe_backward(cot_tape *tape, void *saved_)
{
    const probe_saved *s = saved_;
    bool add = false;
    void *dx = cot_tape_grad(tape, s->x, &add);
    for (int64_t i = 0; dx && i < cot_tensor_count(s->x); i++)
        cot_value_put(dx, s->x->dtype, i, probe_weight(i) * cot_value_at(s->out->grad, s->out->dtype, 0), add);
}

static inline cot_tensor *probe(cot_tape *tape, cot_tensor *x)
{
    cot_tensor *out = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, x->needs_grad);
    probe_saved *s = cot_tape_alloc(tape, sizeof *s);
    double sum = 0;
    for (int64_t i = 0; i < cot_tensor_count(x); i++) sum += probe_weight(i) * cot_value_at(x->data, x->dtype, i);
    cot_value_set(out->data, out->dtype, 0, sum);
    *s = (probe_saved){x, out};
    cot_tape_record(tape, probe_backward, s, &out, 1);
    return out;
}

/* ---- the check ---- */

static inline double run_case(cot_tape *tape, difference_case *c, difference_build build, const void *context,
                              bool record, cot_tensor **inputs)
{
    cot_tape_reset(tape, record, c->training, 5, 0);
    for (int i = 0; i < c->count; i++) inputs[i] = cot_tape_wrap(tape, COT_F64, 2, c->shape[i], c->value[i], true);
    cot_tensor *out = build(tape, inputs, context);
    if (record) cot_tape_backward(tape, out, 1);
    if (cot_tape_failed(tape)) fail_msg("%s", cot_last_error());
    return *(const double *)out->data;
}

/* Every element of every input, relative to max(1, |gradient|). */
static inline void check_gradients(const char *what, difference_case *c, difference_build build, const void *context,
                                   double tolerance)
{
    cot_tape *tape;
    cot_tensor *inputs[DIFFERENCE_INPUTS];
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    assert_int_equal(cot_set_threads(1), COT_OK);  /* thousands of tiny runs */
    run_case(tape, c, build, context, true, inputs);
    static double gradient[DIFFERENCE_INPUTS][DIFFERENCE_ELEMENTS];
    for (int n = 0; n < c->count; n++)
        for (int64_t i = 0; i < cot_tensor_count(inputs[n]); i++)
            gradient[n][i] = inputs[n]->grad ? ((const double *)inputs[n]->grad)[i] : 0;
    for (int n = 0; n < c->count; n++)
        for (int64_t i = 0; i < c->shape[n][0] * c->shape[n][1]; i++) {
            double *x = &c->value[n][i];
            const double middle = *x, h = 1e-5 * fmax(1, fabs(middle));
            if (!isfinite(middle)) continue;
            *x = middle + h;
            const double above = run_case(tape, c, build, context, false, inputs);
            *x = middle - h;
            const double below = run_case(tape, c, build, context, false, inputs), want = (above - below) / (2 * h);
            *x = middle;
            if (!(fabs(gradient[n][i] - want) <= tolerance * fmax(1, fabs(want))))
                fail_msg("%s: d/d input %d [%lld] is %.12g, central differences give %.12g", what, n, (long long)i,
                         gradient[n][i], want);
        }
    cot_tape_destroy(tape);
}

#endif
