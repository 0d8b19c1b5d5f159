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

#endif
