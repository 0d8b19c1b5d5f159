/* Grouped-query softmax attention with rotary positions.   [vaswani2017attention], [ainslie2023gqa], [su2021roformer]
 *
 * q, k and v are one product: qkv.weight holds their rows one after the other. */
#include <stdio.h>

#include "mixers/mixer.h"

#include "base/config_tree.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/head_norm.h"
#include "ops/linear.h"
#include "ops/residual.h"

typedef struct {
    int64_t num_heads, num_kv_heads, head_dim, sliding_window;
    double  rope_theta;
    bool    bias, out_bias, qk_norm;
    int32_t qk_norm_over;  /* 0 each head, 1 all heads */
    const cot_config   *rope_scaling;
    cot_attention_shape shape;
    cot_param *qkv, *qkv_bias, *q_norm, *k_norm, *out, *bias_of_out;
} attention;

static const cot_option options[] = {
    COT_OPTION_INT(attention, num_heads, 4, 1, 1024, "query heads"),
    COT_OPTION_INT(attention, num_kv_heads, 0, 0, 1024, "key and value heads, a divisor of num_heads; 0 = num_heads"),
    COT_OPTION_INT(attention, head_dim, 0, 0, 1024, "width of a head, even; 0 = hidden_size / num_heads"),
    COT_OPTION_DOUBLE(attention, rope_theta, 10000, 0, 1e12, "base of the rotary frequencies; 0 = no positions"),
    COT_OPTION_PART(attention, rope_scaling, "rope_scaling",
                    "rotary positions beyond the trained length, e.g. {rope_type: yarn, factor: 4}"),
    COT_OPTION_INT(attention, sliding_window, 0, 0, 1e9,
                   "a token sees itself and the w - 1 tokens before it; 0 = all before it"),
    COT_OPTION_BOOL(attention, bias, false, "biases on the query, key and value projections"),
    COT_OPTION_BOOL(attention, out_bias, false, "a bias on the output projection"),
    COT_OPTION_BOOL(attention, qk_norm, false, "RMS norm of queries and keys"),
    COT_OPTION_CHOICE(attention, qk_norm_over, 0, "head|vector",
                      "qk_norm takes each head by itself (Qwen3), or all heads together (OLMoE)"),
    COT_OPTION_END,
};

const cot_option cot_rope_scaling_options[] = {
    COT_OPTION_CHOICE(cot_rope_scaling, rope_type, COT_ROPE_DEFAULT, COT_ROPE_TYPE_NAMES, "how frequencies change"),
    COT_OPTION_DOUBLE(cot_rope_scaling, factor, 1, 1, 1e6, "how many times longer than trained; all but default"),
    COT_OPTION_INT(cot_rope_scaling, original_max_position_embeddings, 0, 0, 1e9,
                   "trained length in tokens; 0 = data.context"),
    COT_OPTION_DOUBLE(cot_rope_scaling, attention_factor, 0, 0, 1e3,
                      "yarn: of cosines and sines; 0 = 0.1 ln(factor) + 1, or what the mscales give"),
    COT_OPTION_DOUBLE(cot_rope_scaling, beta_fast, 32, 0, 1e6,
                      "yarn: pairs that turn more often within the trained length stay as they are"),
    COT_OPTION_DOUBLE(cot_rope_scaling, beta_slow, 1, 0, 1e6, "yarn: pairs that turn less often are divided by factor"),
    COT_OPTION_DOUBLE(cot_rope_scaling, mscale, 0, 0, 1e3, "yarn: with mscale_all_dim, gives the attention factor"),
    COT_OPTION_DOUBLE(cot_rope_scaling, mscale_all_dim, 0, 0, 1e3, "yarn: see mscale"),
    COT_OPTION_BOOL(cot_rope_scaling, truncate, true, "yarn: the two borders are whole pairs"),
    COT_OPTION_DOUBLE(cot_rope_scaling, low_freq_factor, 1, 0, 1e6,
                      "llama3: waves longer than trained length / this are divided by factor"),
    COT_OPTION_DOUBLE(cot_rope_scaling, high_freq_factor, 4, 0, 1e6,
                      "llama3: waves shorter than trained length / this stay as they are"),
    COT_OPTION_END,
};

/* Where a value stands, or should. */
static const cot_config *place(const cot_build *build, const char *key)
{
    const cot_config *node = cot_config_get(build->spec, key);
    return node ? node : build->spec;
}

static cot_status check_heads(attention *a, const cot_build *build)
{
    const int64_t width = build->hidden_size;
    if (!a->num_kv_heads) a->num_kv_heads = a->num_heads;
    if (!a->head_dim && width % a->num_heads)
        return cot_config_fail(place(build, "num_heads"),
                               "asks for %lld heads, expected a divisor of hidden_size, %lld; or set head_dim",
                               (long long)a->num_heads, (long long)width);
    if (!a->head_dim) a->head_dim = width / a->num_heads;
    if (a->num_heads % a->num_kv_heads)
        return cot_config_fail(place(build, "num_kv_heads"),
                               "asks for %lld key heads, expected a divisor of num_heads, %lld",
                               (long long)a->num_kv_heads, (long long)a->num_heads);
    if (a->head_dim % 2)
        return cot_config_fail(place(build, "head_dim"), "makes heads of %lld, expected an even width",
                               (long long)a->head_dim);
    a->shape = (cot_attention_shape){.num_heads = (int32_t)a->num_heads,
                                     .num_kv_heads = (int32_t)a->num_kv_heads,
                                     .head_dim = (int32_t)a->head_dim,
                                     .rope_theta = a->rope_theta,
                                     .sliding_window = a->sliding_window};
    return COT_OK;
}

static cot_status check_rope(attention *a, const cot_build *build)
{
    cot_rope_scaling *rope = &a->shape.rope;
    COT_TRY(cot_options_apply(cot_rope_scaling_options, rope, a->rope_scaling));
    if (!rope->original_max_position_embeddings) rope->original_max_position_embeddings = build->context;
    if (rope->rope_type == COT_ROPE_DEFAULT) *rope = (cot_rope_scaling){.rope_type = COT_ROPE_DEFAULT};
    const char *wanted = cot_rope_fault(rope, a->rope_theta, (int32_t)a->head_dim);
    return wanted ? cot_config_fail(a->rope_scaling, "cannot work, expected %s", wanted) : COT_OK;
}

static cot_status setup_norms(attention *a, const cot_build *build)
{
    const bool all = a->qk_norm_over == 1;
    const int64_t queries = all ? a->num_heads : 1, keys = all ? a->num_kv_heads : 1;
    COT_TRY(cot_build_vector(build, "q_norm.weight", queries * a->head_dim, COT_INIT_ONE, &a->q_norm));
    return cot_build_vector(build, "k_norm.weight", keys * a->head_dim, COT_INIT_ONE, &a->k_norm);
}

static cot_status setup(cot_mixer *mixer, const cot_build *build)
{
    attention *a = mixer->state;
    COT_TRY(check_heads(a, build));
    COT_TRY(check_rope(a, build));
    const int64_t q = a->num_heads * a->head_dim, kv = a->num_kv_heads * a->head_dim;
    COT_TRY(cot_build_weight(build, "qkv.weight", 0, q + 2 * kv, build->hidden_size, &a->qkv));
    a->qkv->spec.row_parts = 3;
    a->qkv->spec.row_part[0] = q, a->qkv->spec.row_part[1] = kv, a->qkv->spec.row_part[2] = kv;
    if (a->bias) COT_TRY(cot_build_vector(build, "qkv.bias", q + 2 * kv, COT_INIT_ZERO, &a->qkv_bias));
    if (a->qk_norm) COT_TRY(setup_norms(a, build));
    if (a->out_bias) COT_TRY(cot_build_vector(build, "out.bias", build->hidden_size, COT_INIT_ZERO, &a->bias_of_out));
    return cot_build_weight(build, "out.weight", 0, build->hidden_size, q, &a->out);
}

static cot_tensor *forward(cot_mixer *mixer, cot_tape *tape, cot_tensor *x, cot_tensor *residual, const int32_t *first,
                           void *sequence)
{
    attention *a = mixer->state;
    const cot_build *build = &mixer->build;
    cot_tensor *qkv =
        cot_linear(tape, x, cot_tape_param(tape, a->qkv), a->qkv_bias ? cot_tape_param(tape, a->qkv_bias) : NULL);
    if (a->qk_norm)
        qkv = cot_head_norm(tape, qkv, &a->shape, cot_tape_param(tape, a->q_norm), cot_tape_param(tape, a->k_norm),
                            build->norm_eps);
    cot_tensor *mixed = cot_attention(tape, qkv, &a->shape, first, sequence);
    cot_tensor *weight = cot_tape_param(tape, a->out);
    cot_tensor *bias = a->bias_of_out ? cot_tape_param(tape, a->bias_of_out) : NULL;
    const bool drops = build->dropout > 0 && cot_tape_training(tape);
    if (!drops && !bias) return cot_linear_add(tape, mixed, weight, residual);
    cot_tensor *branch = cot_linear(tape, mixed, weight, bias);
    const uint32_t stream = COT_RNG_DROPOUT + 2u * (uint32_t)build->layer;
    return cot_add(tape, residual, drops ? cot_dropout(tape, branch, build->dropout, stream) : branch);
}

static cot_status sequence_create(const cot_mixer *mixer, int64_t capacity, bool whole, cot_mode mode, void **out)
{
    const attention *a = mixer->state;
    cot_kv_state *state = NULL;
    const cot_status status = cot_kv_state_create(capacity, whole ? 0 : a->sliding_window, a->shape.num_kv_heads,
                                                  a->shape.head_dim, mode, &state);
    *out = state;
    return status;
}

static void sequence_destroy(void *sequence) { cot_kv_state_destroy(sequence); }
static int64_t sequence_truncate(void *sequence, int64_t length) { return cot_kv_state_truncate(sequence, length); }

/* Projections, then scores and weighted values over the context. */
static cot_cost cost(const cot_mixer *mixer, double context)
{
    const attention *a = mixer->state;
    const double d = (double)mixer->build.hidden_size, q = (double)(a->num_heads * a->head_dim),
                 kv = (double)(a->num_kv_heads * a->head_dim);
    const double seen = a->sliding_window && (double)a->sliding_window < context ? (double)a->sliding_window : context;
    return (cot_cost){.flops = 2 * d * (q + 2 * kv) + 2 * q * d + 4 * q * seen};
}

static int64_t sequence_bytes(const cot_mixer *mixer, int64_t capacity, cot_mode mode)
{
    const attention *a = mixer->state;
    const int64_t rows = cot_kv_state_rows(capacity, a->sliding_window);
    return 2 * rows * a->num_kv_heads * a->head_dim * (int64_t)cot_dtype_size(cot_mode_act(mode));
}

static void describe(const cot_mixer *mixer, cot_model_card *card)
{
    const attention *a = mixer->state;
    card->num_heads = a->num_heads, card->num_kv_heads = a->num_kv_heads, card->head_dim = a->head_dim;
    card->sliding_window = a->sliding_window, card->rope_theta = a->rope_theta;
    card->rope = a->shape.rope;
    card->qkv_bias = a->bias, card->output_bias = a->out_bias;
    card->head_norms = a->qk_norm && a->qk_norm_over == 0, card->vector_norms = a->qk_norm && a->qk_norm_over == 1;
}

static void text(const cot_mixer *mixer, char *out, size_t size)
{
    const attention *a = mixer->state;
    const int n =
        snprintf(out, size, "attention with %lld heads of %lld", (long long)a->num_heads, (long long)a->head_dim);
    if (a->num_kv_heads != a->num_heads && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, " over %lld key heads", (long long)a->num_kv_heads);
}

const cot_mixer_ops cot_mixer_attention = {
    .member = {"attention", "vaswani2017attention, ainslie2023gqa",
               "grouped-query softmax attention with rotary positions", options},
    .state_size = sizeof(attention),
    .setup = setup,
    .forward = forward,
    .sequence_create = sequence_create,
    .sequence_destroy = sequence_destroy,
    .sequence_truncate = sequence_truncate,
    .cost = cost,
    .sequence_bytes = sequence_bytes,
    .describe = describe,
    .text = text,
};
