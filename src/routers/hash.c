/* Hash layers: the expert is a fixed function of the token's id (or of what stands beside it). Nothing is learned but the
 * experts, and nothing needs balancing.
 *
 *   hash: random      each id's expert drawn once, by seed
 *         balanced    ids by falling frequency, each to the expert with the least text so far
 *         clustered   k-means of ids: those that occur between the same others share an expert
 *         dispersed   members of small such clusters go to different experts
 *         previous    by the id before; bigram: by both; position: position modulo E
 *         oracle      by the id that follows: an upper bound, not a model (unknown in generation)
 *
 * num_hashes N > 1 (with random, previous, bigram, oracle): N functions, each choosing in its own N-th of the experts;
 * outputs add up, which is the paper's concatenation of N slices. Gates are 1. Tables of balanced, clustered and dispersed
 * are made from the training text (in the router lab: from the given tokens, with rows of logits as what ids are like) and
 * saved with the model. The paper clusters learned embeddings; here it is neighbours in the text, which are known before
 * training. An id outside the table goes to id modulo E.
 *
 * Logits play no part, so there are no traits of experts or gates; `previous` is causal as all but oracle are.
 *
 * [roller2021hash], section 3 */
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/ragged_gate.h"
#include "ops/values.h"
#include "routers/router.h"

typedef enum { RANDOM, BALANCED, CLUSTERED, DISPERSED, PREVIOUS, BIGRAM, POSITION, ORACLE } hash_kind;

typedef struct {
    cot_router_common common;
    int32_t           hash;  /* hash_kind */
    int64_t           num_hashes, seed;
    cot_param        *table; /* [V] buffer, where one is made */
} hash_state;

static const cot_option options[] = {
    COT_OPTION_CHOICE(hash_state, hash, RANDOM, "random|balanced|clustered|dispersed|previous|bigram|position|oracle",
                      "what the expert is a function of"),
    COT_OPTION_INT(hash_state, num_hashes, 1, 1, 64, "functions, each with its own part of the experts"),
    COT_OPTION_INT(hash_state, seed, 0, 0, 9e15, "of the functions"),
    COT_ROUTER_OPTIONS,
    COT_OPTION_END,
};

static bool has_table(const hash_state *s) { return s->hash == BALANCED || s->hash == CLUSTERED || s->hash == DISPERSED; }

static cot_status setup(cot_router *r, const cot_build *build)
{
    hash_state *s = r->state;
    r->top_k = s->num_hashes;
    if (r->num_experts % s->num_hashes)
        return cot_fail(COT_INVALID, "router 'hash': num_hashes is %lld, expected a divisor of num_experts = %lld",
                        (long long)s->num_hashes, (long long)r->num_experts);
    if (s->num_hashes > 1 && (has_table(s) || s->hash == POSITION))
        return cot_fail(COT_INVALID, "router 'hash': num_hashes is %lld, expected 1 with tables and positions",
                        (long long)s->num_hashes);
    if (!has_table(s) || !build->params) return COT_OK;
    if (build->vocab_size < 1) return cot_fail(COT_INVALID, "router 'hash' needs token ids, expected a language model");
    COT_TRY(cot_build_vector(build, "table", build->vocab_size, COT_INIT_ZERO, &s->table));
    s->table->spec.update = COT_UPDATE_BUFFER;
    return COT_OK;
}

/* ---- tables ---- */

static cot_status make_bins(const hash_state *s, const cot_vocabulary *v, int64_t experts, int32_t *bin)
{
    if (s->hash == BALANCED) return cot_bins_balanced(v, experts, bin);
    if (s->hash == CLUSTERED) return cot_bins_clustered(v, experts, (uint64_t)s->seed, bin);
    return cot_bins_dispersed(v, experts, (uint64_t)s->seed, bin);
}

static cot_status prepare(cot_router *r, const cot_vocabulary *v)
{
    hash_state *s = r->state;
    if (!s->table) return COT_OK;
    int32_t *bin = cot_malloc((size_t)v->size * sizeof *bin);
    cot_status status = bin ? make_bins(s, v, r->num_experts, bin) : cot_fail(COT_OUT_OF_MEMORY, "no memory for a hash table");
    const cot_tensor *value = &s->table->value;
    for (int64_t id = 0; status == COT_OK && id < v->size && id < cot_tensor_count(value); id++)
        cot_value_set(value->data, value->dtype, id, bin[id]);
    s->table->version++;
    cot_free(bin);
    return status;
}

/* The lab's table, from the tokens of the input: [ids from 0 to the largest]. */
static int32_t *lab_table(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_tensor *logits, int64_t *size)
{
    const int64_t columns = cot_tensor_columns(logits);
    cot_vocabulary v;
    *size = 0;
    for (int64_t t = 0; t < in->tokens; t++) *size = in->ids[t] >= *size ? (int64_t)in->ids[t] + 1 : *size;
    int32_t *bin = cot_tape_alloc(tape, (size_t)*size * sizeof *bin);
    double *feature = cot_tape_alloc(tape, (size_t)(*size * columns) * sizeof *feature);
    if (cot_tape_failed(tape)) return NULL;
    memset(feature, 0, (size_t)(*size * columns) * sizeof *feature);
    cot_status status = cot_vocabulary_count(in->ids, in->tokens, *size, &v);
    for (int64_t i = 0; status == COT_OK && i < in->tokens * columns; i++)
        feature[in->ids[i / columns] * columns + i % columns] +=
            cot_value_at(logits->data, logits->dtype, i) / v.count[in->ids[i / columns]];
    if (status == COT_OK) {
        const cot_vocabulary by_logits = {*size, columns, v.count, feature};
        status = make_bins(r->state, &by_logits, r->num_experts, bin);
        cot_vocabulary_release(&v);
    }
    if (status != COT_OK) cot_tape_fail(tape, status);
    return bin;
}

/* ---- functions ---- */

/* What the expert is a function of; 0 stands for what is not there. */
static uint64_t key_of(const hash_state *s, const cot_route_input *in, int64_t t)
{
    const uint64_t before = in->previous ? (uint64_t)(in->previous[t] + 1) : 0;
    switch ((hash_kind)s->hash) {
    case PREVIOUS: return before;
    case BIGRAM: return before << 32 | (uint32_t)(in->ids[t] + 1);
    case ORACLE: return in->targets ? (uint64_t)(in->targets[t] + 1) : 0;
    case RANDOM:
    case BALANCED:
    case CLUSTERED:
    case DISPERSED:
    case POSITION: break;
    }
    return (uint64_t)(in->ids[t] + 1);
}

static void fill_functions(const cot_router *r, const cot_route_input *in, cot_routing *out)
{
    const hash_state *s = r->state;
    const int64_t each = r->num_experts / s->num_hashes;
    for (int64_t a = 0; a < out->assignments; a++) {
        const int64_t t = a / s->num_hashes, n = a % s->num_hashes;
        const cot_rng_key key = {.seed = (uint64_t)s->seed, .step = (uint32_t)n, .stream = COT_RNG_HASH};
        out->expert[a] = (int32_t)(n * each + (int64_t)cot_rng_below(key, key_of(s, in, t), (uint64_t)each));
    }
}

static void fill_table(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_tensor *logits, cot_routing *out)
{
    const hash_state *s = r->state;
    int64_t size = s->table ? cot_tensor_count(&s->table->value) : 0;
    const int32_t *lab = s->table ? NULL : lab_table(r, tape, in, logits, &size);
    for (int64_t t = 0; t < in->tokens && !cot_tape_failed(tape); t++) {
        const int32_t id = in->ids[t];
        if (id >= size) out->expert[t] = (int32_t)(id % r->num_experts);
        else out->expert[t] = lab ? lab[id] : (int32_t)cot_value_at(s->table->value.data, s->table->value.dtype, id);
    }
}

static bool has_input(const hash_state *s, cot_tape *tape, const cot_route_input *in)
{
    const bool positions = s->hash == POSITION;
    if (positions ? in->position != NULL : in->ids != NULL) return true;
    cot_tape_fail(tape, cot_fail(COT_INVALID, "router 'hash' has no %s, expected %s", positions ? "positions" : "token ids",
                                 positions ? "\"positions\"" : "\"tokens\" in the input, or a language model"));
    return false;
}

static void score(cot_router *r, cot_tape *tape, const cot_route_input *in, cot_scores *out)
{
    out->logits = cot_router_no_logits(r, tape, in->tokens);
}

static void select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores, cot_routing *out)
{
    const hash_state *s = r->state;
    cot_routing_start(tape, in->tokens, r->num_experts, r->top_k, in->tokens * r->top_k, out);
    if (cot_tape_failed(tape) || !has_input(s, tape, in)) return;
    if (has_table(s)) fill_table(r, tape, in, scores->logits, out);
    else if (s->hash == POSITION)
        for (int64_t t = 0; t < in->tokens; t++) out->expert[t] = (int32_t)(in->position[t] % r->num_experts);
    else fill_functions(r, in, out);
    out->gate = cot_gate_constant(tape, out->assignments, 1);
}

const cot_router_ops cot_router_hash = {
    .member = {"hash", "roller2021hash", "a fixed function of token ids", options},
    .traits = COT_ROUTER_FIXED_K | COT_ROUTER_CAUSAL | COT_ROUTER_TOKEN_EQUIVARIANT | COT_ROUTER_NO_LOGITS,
    .lab_input = "\"tokens\" (T ids), \"positions\" (T, for position), \"targets\" (T ids, -1 unknown, for oracle), \"sequences\" (lengths: no previous token at a start)",
    .state_size = sizeof(hash_state),
    .setup = setup,
    .prepare = prepare,
    .score = score,
    .select = select,
};
