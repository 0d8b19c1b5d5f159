#include <coterie/evaluate.h>

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/logits.h"
#include "models/model.h"
#include "objectives/objective.h"
#include "routing/measures.h"

enum { ROWS = 16, LEAST_TOKENS = 4096 };

/* ---- counting experts by source ---- */

typedef struct {
    cot_evaluation *evaluation;
    const cot_batch *batch;
    cot_expert_use *use;         /* [layer_count] */
    int64_t       **by_source;   /* [layer_count] of [sources, experts] */
} counter;

static void observe(void *context, int32_t layer, const cot_routing *routing)
{
    counter *c = context;
    for (int64_t i = 0; i < c->evaluation->layer_count; i++) {
        if (c->evaluation->layers[i].layer != layer) continue;
        cot_expert_use_add(&c->use[i], routing);
        for (int64_t a = 0; a < routing->assignments; a++) {
            const int32_t token = routing->token[a];
            if (routing->slot[a] != COT_SLOT_SKIPPED && c->batch->targets[token] >= 0)
                c->by_source[i][c->batch->source[token] * routing->experts + routing->expert[a]]++;
        }
    }
}

/* Loads count each scored token once; router entropy and drops are means over all that was shown, context and padding
 * included. */
static void finish_layers(const counter *c)
{
    cot_evaluation *e = c->evaluation;
    for (int64_t i = 0; i < e->layer_count; i++) {
        cot_layer_use *layer = &e->layers[i];
        cot_expert_use *use = &c->use[i];
        const double dropped = use->assignments ? (double)use->dropped / (double)use->assignments : 0;
        memset(use->count, 0, (size_t)layer->experts * sizeof *use->count);
        use->assignments = 0;
        for (int64_t j = 0; j < e->source_count * layer->experts; j++) {
            use->count[j % layer->experts] += c->by_source[i][j];
            use->assignments += c->by_source[i][j];
        }
        const cot_expert_measures m = cot_expert_use_measure(use, layer->load);
        layer->cv2 = m.cv2, layer->importance_cv2 = m.importance_cv2, layer->max_vio = m.max_vio,
        layer->router_entropy = m.router_entropy, layer->drop_fraction = dropped;
        layer->dead = m.dead, layer->usage = m.usage, layer->unevenness = m.unevenness,
        layer->unevenness_bias = m.unevenness_bias;
        cot_use_histogram(use->count, layer->experts, layer->use_histogram);
        if (layer->grid.sub_keys) cot_use_grid(use->count, layer->grid.sub_keys, layer->grid.bin, layer->grid.use);
        for (int32_t s = 0; s < e->source_count; s++) {
            const int64_t *count = c->by_source[i] + s * layer->experts;
            int64_t total = 0;
            for (int64_t j = 0; j < layer->experts; j++) total += count[j];
            for (int64_t j = 0; j < layer->experts; j++)
                layer->source_load[s * layer->experts + j] = total ? (double)count[j] / (double)total : 0;
        }
    }
}

/* ---- memory ---- */

void cot_evaluation_destroy(cot_evaluation *e)
{
    if (!e) return;
    for (int32_t i = 0; e->sources && i < e->source_count; i++) cot_free((char *)e->sources[i].name);
    for (int64_t i = 0; e->layers && i < e->layer_count; i++) {
        cot_free(e->layers[i].load);
        cot_free(e->layers[i].source_load);
        cot_free(e->layers[i].grid.use);
    }
    cot_free(e->sources);
    cot_free(e->layers);
    cot_free(e);
}

static void counter_free(counter *c)
{
    for (int64_t i = 0; c->evaluation && i < c->evaluation->layer_count; i++) {
        if (c->use) cot_free(c->use[i].count);
        if (c->use) cot_free(c->use[i].weight);
        if (c->by_source) cot_free(c->by_source[i]);
    }
    cot_free(c->use);
    cot_free(c->by_source);
}

static bool grid_create(int64_t n, cot_key_grid *grid)
{
    if (n == 0) return true;
    const int64_t bin = cot_use_grid_bin(n), cells = (n + bin - 1) / bin;
    *grid = (cot_key_grid){.sub_keys = n, .bin = bin, .cells = cells};
    grid->use = cot_calloc((size_t)(cells * cells) * sizeof *grid->use);
    return grid->use != NULL;
}

static bool layers_create(cot_evaluation *e, const cot_model *model, counter *c)
{
    for (int64_t i = 0; i < model->num_layers; i++) e->layer_count += cot_model_layer_experts(model, i) > 0;
    e->layers = cot_calloc((size_t)e->layer_count * sizeof *e->layers);
    c->use = cot_calloc((size_t)e->layer_count * sizeof *c->use);
    c->by_source = cot_calloc((size_t)e->layer_count * sizeof *c->by_source);
    if (!e->layers || !c->use || !c->by_source) return false;
    for (int64_t i = 0, n = 0; i < model->num_layers; i++) {
        const int64_t experts = cot_model_layer_experts(model, i);
        if (!experts) continue;
        cot_layer_use *layer = &e->layers[n];
        layer->layer = i, layer->experts = experts;
        layer->load = cot_calloc((size_t)experts * sizeof(double));
        layer->source_load = cot_calloc((size_t)(experts * e->source_count) * sizeof(double));
        c->by_source[n] = cot_calloc((size_t)(experts * e->source_count) * sizeof(int64_t));
        c->use[n].count = cot_calloc((size_t)experts * sizeof *c->use[n].count);
        c->use[n].weight = cot_calloc((size_t)experts * sizeof *c->use[n].weight);
        if (!layer->load || !layer->source_load || !c->by_source[n] || !c->use[n].count || !c->use[n].weight ||
            !grid_create(cot_model_layer_sub_keys(model, i), &layer->grid))
            return false;
        cot_expert_use_clear(&c->use[n], experts, c->use[n].count, c->use[n].weight);
        n++;
    }
    return true;
}

static cot_status evaluation_create(const cot_model *model, const cot_corpus *corpus, counter *c, cot_evaluation **out)
{
    cot_evaluation *e = cot_calloc(sizeof *e);
    if (!e) return cot_fail(COT_OUT_OF_MEMORY, "no memory for an evaluation");
    *out = c->evaluation = e;
    e->total.name = "all";
    e->source_count = cot_corpus_source_count(corpus);
    e->sources = cot_calloc((size_t)e->source_count * sizeof *e->sources);
    bool whole = e->sources && layers_create(e, model, c);
    for (int32_t i = 0; whole && i < e->source_count; i++)
        whole = (e->sources[i].name = cot_strdup(cot_corpus_source(corpus, i).name)) != NULL;
    return whole ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for an evaluation");
}

/* ---- scores ---- */

/* Text that the documents' first tokens stand for: it is shown, never predicted. A token that stands before the text
 * has none. */
static cot_status first_token_bytes(const cot_corpus *corpus, const cot_tokenizer *tokenizer, cot_split split,
                                    int32_t source, uint64_t *bytes)
{
    const cot_text_size size = cot_corpus_size(corpus, split, source);
    const int32_t before = cot_tokenizer_start_of_text(tokenizer);
    int32_t *ids = cot_malloc(size.tokens * sizeof *ids);
    size_t *starts = cot_malloc(size.documents * sizeof *starts);
    *bytes = 0;
    if (ids && starts) {
        cot_corpus_tokens(corpus, split, source, ids, starts);
        for (uint64_t d = 0; d < size.documents; d++) {
            size_t length = 0;
            const bool any = starts[d] < size.tokens && (d + 1 == size.documents || starts[d] < starts[d + 1]);
            if (any && ids[starts[d]] != before) cot_tokenizer_first_token(tokenizer, ids[starts[d]], &length);
            *bytes += length;
        }
    }
    const bool whole = ids && starts;
    cot_free(ids);
    cot_free(starts);
    return whole ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for the tokens of a source");
}

static void finish_score(cot_score *s)
{
    s->loss = s->tokens ? s->nll / (double)s->tokens : NAN;
    s->perplexity = exp(s->loss);
    s->word_perplexity = s->words ? exp(s->nll / (double)s->words) : NAN;
    s->bits_per_byte = s->bytes ? s->nll / (0.69314718055994530942 * (double)s->bytes) : NAN;
}

/* With a limit on the tokens, bytes and words are taken in proportion: what a part of a source measures anyway. */
static cot_status finish_scores(cot_evaluation *e, const cot_corpus *corpus, const cot_tokenizer *tokenizer,
                                cot_split split)
{
    for (int32_t i = 0; i < e->source_count; i++) {
        cot_score *s = &e->sources[i];
        const cot_text_size size = cot_corpus_size(corpus, split, i);
        uint64_t first = 0;
        if (tokenizer && size.tokens) COT_TRY(first_token_bytes(corpus, tokenizer, split, i, &first));
        const uint64_t all = size.tokens > size.documents ? size.tokens - size.documents : 0;
        const double share = all ? (double)s->tokens / (double)all : 0;
        s->bytes = (uint64_t)llround(share * (double)(size.bytes - first));
        s->words = (uint64_t)llround(share * (double)size.words);
        e->total.nll += s->nll, e->total.tokens += s->tokens, e->total.bytes += s->bytes, e->total.words += s->words;
        finish_score(s);
    }
    finish_score(&e->total);
    return isfinite(e->total.nll) ? COT_OK : cot_fail(COT_NOT_FINITE, "the loss of the evaluation is not finite");
}

static void add_batch(cot_evaluation *e, const cot_batch *batch, const float *nll)
{
    const int64_t tokens = (int64_t)batch->rows * batch->context;
    for (int64_t t = 0; t < tokens; t++) {
        if (batch->targets[t] < 0) continue;
        e->sources[batch->source[t]].nll += (double)nll[t];
        e->sources[batch->source[t]].tokens++;
    }
}

static cot_status score_batches(cot_model *model, cot_windows *windows, cot_tape *tape, cot_objective *objective,
                                counter *c, cot_evaluate_progress progress, void *context)
{
    const uint64_t total = cot_windows_scored(windows);
    uint64_t done = 0;
    for (;;) {
        cot_batch batch;
        COT_TRY(cot_windows_next(windows, &batch));
        if (batch.used_rows == 0) return COT_OK;
        batch.rows = batch.used_rows;
        cot_tensor *nll = NULL;
        c->batch = &batch;
        const cot_objective_input in = {.batch = &batch, .token_weight = 1, .observe = observe, .context = c};
        cot_tape_reset(tape, false, false, 0, 0);
        objective->ops->loss(objective->state, tape, model, &in, &nll);
        COT_TRY(cot_tape_status(tape));
        add_batch(c->evaluation, &batch, nll->data);
        done += (uint64_t)batch.scored;
        if (progress && !progress(context, done, total)) return cot_fail(COT_STOPPED, "the evaluation was stopped");
    }
}

static cot_status evaluate(cot_model *model, const cot_corpus *corpus, const cot_tokenizer *tokenizer,
                           const cot_evaluate_options *o, cot_windows *windows, counter *c,
                           cot_evaluate_progress progress, void *context)
{
    cot_tape *tape = NULL;
    cot_objective *objective = NULL;
    cot_status status = cot_tape_create(o->bf16 ? COT_MODE_BF16 : COT_MODE_F32, &tape);
    if (status == COT_OK) status = cot_objective_create(NULL, &objective);
    if (status == COT_OK) status = score_batches(model, windows, tape, objective, c, progress, context);
    if (status == COT_OK) {
        finish_layers(c);
        status = finish_scores(c->evaluation, corpus, tokenizer, o->split);
    }
    cot_objective_destroy(objective);
    cot_tape_destroy(tape);
    return status;
}

cot_status cot_evaluate(cot_model *model, const cot_corpus *corpus, const cot_tokenizer *tokenizer,
                        const cot_evaluate_options *options, cot_evaluate_progress progress, void *context,
                        cot_evaluation **out)
{
    *out = NULL;
    if (cot_corpus_vocabulary(corpus) > model->vocab_size)
        return cot_fail(COT_INVALID, "the data have %d symbols, the model %lld: they belong to different tokenizers",
                        cot_corpus_vocabulary(corpus), (long long)model->vocab_size);
    const int64_t window = options->window ? options->window : model->context,
                  stride = options->stride ? options->stride : (window + 1) / 2;
    const int64_t rows = window >= LEAST_TOKENS / ROWS ? ROWS : LEAST_TOKENS / window;
    const cot_window_options w = {
        .split = options->split, .window = window, .stride = stride, .rows = rows, .max_tokens = options->max_tokens};
    cot_windows *windows = NULL;
    cot_evaluation *evaluation = NULL;
    counter c = {0};
    cot_status status = cot_windows_create(corpus, &w, &windows);
    if (status == COT_OK) status = evaluation_create(model, corpus, &c, &evaluation);
    if (status == COT_OK) status = evaluate(model, corpus, tokenizer, options, windows, &c, progress, context);
    counter_free(&c);
    cot_windows_destroy(windows);
    if (status != COT_OK) {
        cot_evaluation_destroy(evaluation);
        return status;
    }
    evaluation->window = window;
    evaluation->stride = stride;
    *out = evaluation;
    return COT_OK;
}

cot_status cot_model_logits_of(cot_model *model, const int32_t *ids, int64_t count, float *logits)
{
    cot_tape *tape = NULL;
    if (count < 1) return cot_fail(COT_INVALID, "the sequence has %lld tokens, expected 1 or more", (long long)count);
    int32_t *first = cot_calloc((size_t)count * sizeof *first);
    cot_status status = first ? cot_tape_create(COT_MODE_F32, &tape)
                              : cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld tokens", (long long)count);
    if (status == COT_OK) {
        const cot_pass pass = {.ids = ids, .first = first, .tokens = count};
        cot_tape_reset(tape, false, false, 0, 0);
        const cot_tensor *result = cot_model_logits(model, tape, model->ops->hidden(model, tape, &pass, NULL, false));
        status = cot_tape_status(tape);
        if (status == COT_OK) memcpy(logits, result->data, (size_t)(count * model->vocab_size) * sizeof *logits);
    }
    cot_tape_destroy(tape);
    cot_free(first);
    return status;
}

cot_status cot_model_logits_file(cot_model *model, const char *ids_path, const char *logits_path)
{
    int32_t *ids = NULL;
    size_t count = 0;
    COT_TRY(cot_token_ids_read(ids_path, model->vocab_size, &ids, &count));
    float *logits = cot_malloc(count * (size_t)model->vocab_size * sizeof *logits);
    cot_status status = logits ? cot_model_logits_of(model, ids, (int64_t)count, logits)
                               : cot_fail(COT_OUT_OF_MEMORY, "no memory for the logits of %zu tokens", count);
    if (status == COT_OK) status = cot_logits_write(logits_path, logits, (int64_t)count, model->vocab_size);
    cot_free(logits);
    cot_free(ids);
    return status;
}
