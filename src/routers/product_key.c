/* Product keys: n^2 experts are the pairs of two sets of n sub-keys, so that the best of a million are found among two
 * thousand. Each head has a query of its own and takes its top_k best experts; heads may agree on one, which then works
 * for both. For head r of token x
 *
 *   q = norm(W_r x) = (q1, q2)      score of expert i n + j = <key1_i, q1> + <key2_j, q2>      gates from the kept scores
 *
 * query_norm: batch keeps queries spread, and so the use of experts even; statistics are those of the pass while training
 * (padding left out), running ones otherwise: in training, and there alone, a query knows a little of what comes later. layer and
 * rms norm each head's query by itself. shared_keys: all heads search the same sub-keys (PEER), or each its own (PKM).
 *
 * In the lab, logits are the scores of sub-keys, [T, heads * 2 * n]: each head's first half, then its second.
 *
 * [lample2019large], section 3.2; [he2024mixture], section 2. */
#include <math.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"
#include "ops/batch_norm.h"
#include "ops/group_norm.h"
#include "ops/product_key.h"
#include "ops/row_maps.h"
#include "ops/softmax.h"
#include "ops/values.h"
#include "routers/router.h"

enum { NORM_NONE, NORM_BATCH, NORM_LAYER, NORM_RMS };
enum { SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_RELU };

typedef struct {
    cot_router_common common;
    int64_t    heads, top_k, query_dim;
    int32_t    query_norm, score;
    bool       shared_keys;
    double     momentum;
    int64_t    n;
    double     eps;
    cot_param *weight, *keys, *norm, *norm_bias;
    cot_param *running_mean, *running_variance;  /* buffers of the batch norm ... */
    double    *seen;                             /* [2, heads * query_dim] sums over the step's passes of what they saw ... */
    int64_t    passes;                           /* ... and how many there were */
} product_key;

static const cot_option options[] = {
    COT_OPTION_INT(product_key, heads, 8, 1, 4096, "queries per token"),
    COT_OPTION_INT(product_key, top_k, 16, 1, 4096, "experts per head"),
    COT_OPTION_INT(product_key, query_dim, 128, 2, 65536, "width of a head's query; each half meets sub-keys of half of it"),
    COT_OPTION_CHOICE(product_key, query_norm, NORM_BATCH, "none|batch|layer|rms", "normalisation of the queries: over the batch, or each head's query by itself"),
    COT_OPTION_DOUBLE(product_key, momentum, 0.1, 0, 1, "of the running statistics of query_norm: batch"),
    COT_OPTION_BOOL(product_key, shared_keys, true, "one pair of sets of sub-keys for all heads"),
    COT_OPTION_CHOICE(product_key, score, SCORE_SOFTMAX, "softmax|sigmoid|relu", "gates from a head's kept scores"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

/* ---- making ---- */

static cot_status check(const cot_router *r, const cot_build *build)
{
    const product_key *s = r->state;
    if (s->n * s->n != r->num_experts)
        return cot_config_fail(build->spec, "has %lld experts for router 'product_key', expected a square such as %lld or %lld",
                               (long long)r->num_experts, (long long)(s->n * s->n), (long long)((s->n + 1) * (s->n + 1)));
    if (s->top_k > s->n)
        return cot_config_fail(build->spec, "asks router 'product_key' for top_k = %lld of %lld sub-keys, expected at most as many",
                               (long long)s->top_k, (long long)s->n);
    if (s->query_dim % 2)
        return cot_config_fail(build->spec, "has query_dim %lld, expected an even number", (long long)s->query_dim);
    return COT_OK;
}

static cot_status add_buffer(const cot_build *build, const char *name, int64_t size, cot_init_kind init, cot_param **out)
{
    COT_TRY(cot_build_vector(build, name, size, init, out));
    (*out)->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

static cot_status add_norm(product_key *s, const cot_build *build)
{
    const int64_t width = s->heads * s->query_dim;
    if (s->query_norm == NORM_NONE) return COT_OK;
    COT_TRY(cot_build_vector(build, "norm.weight", width, COT_INIT_ONE, &s->norm));
    if (s->query_norm == NORM_RMS) return COT_OK;
    COT_TRY(cot_build_vector(build, "norm.bias", width, COT_INIT_ZERO, &s->norm_bias));
    if (s->query_norm == NORM_LAYER) return COT_OK;
    COT_TRY(add_buffer(build, "norm.running_mean", width, COT_INIT_ZERO, &s->running_mean));
    COT_TRY(add_buffer(build, "norm.running_var", width, COT_INIT_ONE, &s->running_variance));
    s->seen = cot_calloc((size_t)(2 * width) * sizeof *s->seen);
    return s->seen ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a router's statistics");
}

static cot_status setup(cot_router *r, const cot_build *build)
{
    product_key *s = r->state;
    s->n = (int64_t)sqrt((double)r->num_experts + 0.5);
    s->eps = build->norm_eps;
    r->top_k = s->heads * s->top_k;
    COT_TRY(check(r, build));
    r->columns = s->heads * 2 * s->n;
    if (!build->params) return COT_OK;
    r->columns = s->heads * s->query_dim;
    COT_TRY(cot_build_weight(build, "query.weight", 0, r->columns, build->hidden_size, &s->weight));
    COT_TRY(cot_build_weight(build, "keys", s->shared_keys ? 2 : 2 * s->heads, s->n, s->query_dim / 2, &s->keys));
    s->keys->spec.placement = COT_PLACE_REPLICATED;
    s->keys->spec.init = (cot_init){COT_INIT_UNIFORM, 1 / sqrt((double)s->query_dim / 2)};
    return add_norm(s, build);
}

static void teardown(cot_router *r) { cot_free(((product_key *)r->state)->seen); }

/* ---- routing ---- */

static void count_statistics(product_key *s, const cot_batch_moments *seen)
{
    const int64_t width = s->heads * s->query_dim;
    if (!seen->rows) return;
    const double unbiased = seen->rows > 1 ? (double)seen->rows / (double)(seen->rows - 1) : 1;
    s->passes++;
    for (int64_t i = 0; i < width; i++) {
        s->seen[i] += seen->mean[i];
        s->seen[width + i] += unbiased * seen->variance[i];
    }
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    product_key *s = r->state;
    cot_tensor  *query = cot_router_logits(r, tape, in->x, s->weight);
    if (s->query_norm == NORM_BATCH) {
        cot_batch_moments seen = {0};
        query = cot_batch_norm(tape, query, cot_tape_param(tape, s->norm), cot_tape_param(tape, s->norm_bias), in->padding,
                               s->running_mean, s->running_variance, s->eps, &seen);
        if (in->tally && !cot_tape_failed(tape)) count_statistics(s, &seen);
    } else if (s->query_norm != NORM_NONE) {
        cot_tensor *bias = s->norm_bias ? cot_tape_param(tape, s->norm_bias) : NULL;
        query = cot_group_norm(tape, query, cot_tape_param(tape, s->norm), bias, s->heads, s->eps);
    }
    out->logits = query;
}

static cot_tensor *gates(const product_key *s, cot_tape *tape, cot_tensor *kept)
{
    return s->score == SCORE_SOFTMAX ? cot_softmax(tape, kept) : s->score == SCORE_SIGMOID ? cot_sigmoid(tape, kept) : cot_relu(tape, kept);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const product_key *s = r->state;
    cot_routing_start(tape, in->tokens, r->num_experts, r->top_k, in->tokens * r->top_k, out);
    if (cot_tape_failed(tape)) return;
    cot_tensor *kept = s->keys ? cot_product_key(tape, scores->logits, cot_tape_param(tape, s->keys), s->heads, s->top_k, out->expert)
                               : cot_product_key_from_scores(tape, scores->logits, s->heads, s->n, s->top_k, out->expert);
    out->gate = cot_router_round(r, tape, gates(s, tape, kept));
}

/* ---- running statistics ---- */

static void begin_step(cot_router *r)
{
    product_key *s = r->state;
    for (int64_t i = 0; s->seen && i < 2 * s->heads * s->query_dim; i++) s->seen[i] = 0;
    s->passes = 0;
}

static void move(cot_param *buffer, const double *seen, int64_t passes, double momentum)
{
    const cot_tensor *value = &buffer->value;
    for (int64_t i = 0; i < cot_tensor_count(value); i++)
        cot_value_set(value->data, value->dtype, i, (1 - momentum) * cot_value_at(value->data, value->dtype, i) +
                                                        momentum * seen[i] / (double)passes);
    buffer->version++;
}

static void end_step(cot_router *r)
{
    product_key *s = r->state;
    if (!s->passes) return;
    move(s->running_mean, s->seen, s->passes, s->momentum);
    move(s->running_variance, s->seen + s->heads * s->query_dim, s->passes, s->momentum);
}

/* The lab's columns are two halves of n scores for each head. */
static int64_t experts_of(const cot_config *spec, int64_t columns)
{
    int64_t heads = (int64_t)options[0].number;
    const cot_config *given = cot_config_get(spec, "heads");
    if (given && cot_config_int(given, &heads) != COT_OK) return 0;
    const int64_t n = heads > 0 ? columns / (2 * heads) : 0;
    return n * 2 * heads == columns ? n * n : 0;
}

/* Per token and head: the query, the scores of two sets of sub-keys, the pairs of the best of both. */
static double flops(const cot_router *r)
{
    const product_key *s = r->state;
    const double query = (double)s->query_dim, k = (double)s->top_k;
    return (double)s->heads * (2 * (double)r->build.hidden_size * query + 2 * (double)s->n * query + k * k);
}

const cot_router_ops cot_router_product_key = {
    .member = {"product_key", "lample2019large, he2024mixture", "retrieval among n^2 experts by two sets of n sub-keys", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_SQUARE | COT_ROUTER_NO_SHARES |
              COT_ROUTER_NO_EXPERT_LOGITS,
    .lab_input = "\"logits\" are scores of sub-keys, T x (heads * 2 * n) for n * n experts: each head's first half, then its second",
    .state_size = sizeof(product_key),
    .setup = setup,
    .score = score,
    .select = select,
    .begin_step = begin_step,
    .end_step = end_step,
    .experts_of = experts_of,
    .flops = flops,
    .teardown = teardown,
};
