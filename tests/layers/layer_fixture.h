/* A feed-forward of its own in double, with everything that a pass may carry. */
#ifndef COT_TESTS_LAYER_FIXTURE_H
#define COT_TESTS_LAYER_FIXTURE_H

#include "routers/scene.h"

#include "layers/feed_forward.h"
#include "ops/weighted_sum.h"

enum { FIXTURE_TOKENS = 12, FIXTURE_WIDTH = 6, FIXTURE_ROW = 6 };

typedef struct {
    cot_config       *spec;
    cot_params       *params;
    cot_feed_forward *ffn;
    cot_losses        losses;
    int32_t           ids[FIXTURE_TOKENS], first[FIXTURE_TOKENS], targets[FIXTURE_TOKENS], source[FIXTURE_TOKENS];
} layer_fixture;

/* What it becomes of `text`; on failure everything is given back and cot_last_error() says why. */
static inline cot_status try_layer(layer_fixture *f, const char *text)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(cot_config_parse(text, "test", &f->spec), COT_OK);
    assert_int_equal(cot_params_create(COT_F64, &f->params), COT_OK);
    const cot_build build = {.params = f->params, .prefix = "layers.0.ffn", .num_layers = 1, .hidden_size = FIXTURE_WIDTH, .norm_eps = 1e-5,
                             .context = FIXTURE_ROW, .vocab_size = 20, .init = COT_INIT_NORMAL, .init_value = 0.5};
    const cot_status status = cot_feed_forward_create(f->spec, &build, &f->ffn);
    if (status != COT_OK) {
        cot_params_destroy(f->params);
        cot_config_destroy(f->spec);
        return status;
    }
    assert_int_equal(cot_params_allocate(f->params, 7), COT_OK);
    assert_int_equal(cot_params_allocate_grads(f->params), COT_OK);
    for (int t = 0; t < FIXTURE_TOKENS; t++) {
        f->ids[t] = (int32_t)(test_uniform(31, (uint64_t)t) * 20);
        f->first[t] = t / FIXTURE_ROW * FIXTURE_ROW;
        f->targets[t] = (f->ids[t] + 3) % 20;
        f->source[t] = t % 3;
    }
    return COT_OK;
}

static inline void make_layer(layer_fixture *f, const char *text)
{
    if (try_layer(f, text) != COT_OK) fail_msg("%s: %s", text, cot_last_error());
}

static inline void drop_layer(layer_fixture *f)
{
    cot_feed_forward_destroy(f->ffn);
    cot_params_destroy(f->params);
    cot_config_destroy(f->spec);
}

/* x through the layer, without residual stream. */
static inline cot_tensor *through_layer(cot_tape *tape, layer_fixture *f, cot_tensor *x)
{
    cot_tensor *zero = cot_tape_matrix(tape, COT_F64, cot_tensor_rows(x), FIXTURE_WIDTH, false);
    if (cot_tape_failed(tape)) return x;
    memset(zero->data, 0, (size_t)cot_tensor_count(zero) * sizeof(double));
    f->losses.count = 0;
    const cot_pass pass = {.ids = f->ids, .first = f->first, .targets = f->targets, .source = f->source, .tokens = cot_tensor_rows(x),
                           .row = FIXTURE_ROW, .losses = &f->losses};
    return f->ffn->ops->forward(f->ffn, tape, &pass, x, zero);
}

static inline cot_tensor *draw_tokens(cot_tape *tape, uint64_t seed)
{
    cot_tensor *x = cot_tape_matrix(tape, COT_F64, FIXTURE_TOKENS, FIXTURE_WIDTH, true);
    for (int64_t i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) ((double *)x->data)[i] = test_normal(seed, (uint64_t)i);
    return x;
}

/* The probe of x through the layer; x stays drawn by seed. */
static inline double layer_value(cot_tape *tape, layer_fixture *f, bool training, bool record, const double *x, double *dx)
{
    for (size_t p = 0; p < cot_params_count(f->params); p++) cot_params_at(f->params, p)->version++;  /* whoever called may have changed it */
    const int64_t shape[] = {FIXTURE_TOKENS, FIXTURE_WIDTH};
    cot_tape_reset(tape, record, training, 3, 0);
    cot_tensor *in = cot_tape_wrap(tape, COT_F64, 2, shape, (void *)(uintptr_t)x, true);
    cot_tensor *out = probe(tape, through_layer(tape, f, in));
    if (record) cot_tape_backward(tape, out, 1);
    if (cot_tape_failed(tape)) fail_msg("%s", cot_last_error());
    for (int64_t i = 0; dx && i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) dx[i] = in->grad ? ((const double *)in->grad)[i] : 0;
    return *(const double *)out->data;
}

static inline void check_slope(cot_tape *tape, layer_fixture *f, bool training, const double *x, double *at, double slope, const char *what)
{
    const double middle = *at, h = 1e-5 * fmax(1, fabs(middle));
    *at = middle + h;
    const double above = layer_value(tape, f, training, false, x, NULL);
    *at = middle - h;
    const double below = layer_value(tape, f, training, false, x, NULL), want = (above - below) / (2 * h);
    *at = middle;
    if (!(fabs(slope - want) <= 1e-6 * fmax(1, fabs(want)))) fail_msg("%s: %.12g, central differences give %.12g", what, slope, want);
}

/* Gradients of tokens and of every parameter that learns against central differences. */
static inline void check_layer(const char *text, bool training)
{
    static layer_fixture f;
    double x[FIXTURE_TOKENS * FIXTURE_WIDTH], dx[FIXTURE_TOKENS * FIXTURE_WIDTH];
    cot_tape *tape;
    assert_int_equal(cot_tape_create(COT_MODE_F64, &tape), COT_OK);
    assert_int_equal(cot_set_threads(1), COT_OK);
    make_layer(&f, text);
    for (int i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) x[i] = test_normal(8, (uint64_t)i);
    for (size_t p = 0; p < cot_params_count(f.params); p++) {  /* away from zeros and ones that starts leave */
        cot_param *param = cot_params_at(f.params, p);
        for (int64_t i = 0; param->spec.update != COT_UPDATE_BUFFER && i < cot_tensor_count(&param->value); i++)
            ((double *)param->value.data)[i] += 0.3 * test_normal(90 + p, (uint64_t)i);
    }
    cot_params_clear_grads(f.params);
    layer_value(tape, &f, training, true, x, dx);
    cot_params_settle_grads(f.params);
    for (int i = 0; i < FIXTURE_TOKENS * FIXTURE_WIDTH; i++) check_slope(tape, &f, training, x, &x[i], dx[i], "a token");
    for (size_t p = 0; p < cot_params_count(f.params); p++) {
        cot_param *param = cot_params_at(f.params, p);
        for (int64_t i = 0; param->spec.update == COT_UPDATE_DENSE && i < cot_tensor_count(&param->value); i++)
            check_slope(tape, &f, training, x, (double *)param->value.data + i, ((const double *)param->value.grad)[i], param->name);
    }
    drop_layer(&f);
    cot_tape_destroy(tape);
    assert_int_equal(cot_set_threads(0), COT_OK);
}

#endif
