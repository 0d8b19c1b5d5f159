/* Evaluation against a slow computation of its own: windows one by one, whole logits, softmax in double, choices from
 * sessions. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>

#include "data/corpus_fixture.h"

#include <coterie/evaluate.h>
#include <coterie/generate.h>
#include <coterie/runtime.h>
#include <jansson.h>

#include "models/model_fixture.h"

enum { V = 257, EXPERTS = 4, LAYERS = 3, SOURCES = 2, SPARSE = 2 };

/* One choice per token, so that a session's first choice is all there is to count. Layers 0 and 2 are sparse. */
static const char section[] =
    "{kind: lm, hidden_size: 16, num_layers: 3, init_std: 0.3, tie_word_embeddings: false, mixer: {kind: attention, num_heads: 2},"
    " ffn: {kind: dense, intermediate_size: 16}, layers: [{at: '::2', ffn: {kind: sparse, router: {kind: top_k, top_k: 1},"
    " experts: {kind: ffn, num_experts: 4, intermediate_size: 8}}}]}";

typedef struct {
    scratch        files;
    cot_tokenizer *tokenizer;
    cot_corpus    *corpus;
    cot_model     *model;
} fixture;

/* Validation text alone: a text file and rows, some of them too short to score anything. */
static fixture make_fixture(int64_t context)
{
    fixture f = {.files = scratch_make(), .tokenizer = byte_tokenizer()};
    make_folder(&f.files, "texts");
    put_text(&f.files, "texts/a.txt",
             "Tiger, tiger, burning bright\nIn the forests of the night,\nWhat immortal hand or eye\nCould frame thy "
             "fearful symmetry?\n");
    put_text(&f.files, "texts/b.jsonl",
             "{\"text\": \"int main(void) { return 0; }\"}\n{\"text\": \"x\"}\n{\"text\": \"\"}\n{\"text\": \"a b  "
             "c\\nd\"}\n{\"text\": \"yz\"}\n");
    char        text[512];
    cot_config *config;
    snprintf(text, sizeof text, "valid_path: '%s/texts'\ncache_dir: '%s/cache'\n", f.files.folder, f.files.folder);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    CHECK_OK(cot_corpus_create(config, f.tokenizer, NULL, NULL, &f.corpus));
    cot_config_destroy(config);
    assert_int_equal(cot_corpus_source_count(f.corpus), SOURCES);
    f.model = made_model(section, V, context, 2);
    return f;
}

static void drop_fixture(fixture *f)
{
    cot_corpus_destroy(f->corpus);
    cot_tokenizer_destroy(f->tokenizer);
    cot_model_destroy(f->model);
    scratch_remove(&f->files);
}

/* ---- the slow computation ---- */

typedef struct {
    double  nll[SOURCES];
    int64_t tokens[SOURCES], count[SPARSE][SOURCES][EXPERTS];
} slow;

static double nll_of(const float *logits, int32_t target)
{
    double sum = 0;
    for (int v = 0; v < V; v++) sum += exp((double)logits[v]);
    return log(sum) - (double)logits[target];
}

/* One window: inputs [begin, end) of a document, those from `scored` on are counted. */
static void score_window(cot_model *model, const int32_t *ids, size_t begin, size_t end, size_t scored, int source,
                         slow *out)
{
    static float logits[256 * V];
    cot_session *session;
    const float *ignored;
    assert_true(end - begin <= 256);
    CHECK_OK(cot_model_logits_of(model, ids + begin, (int64_t)(end - begin), logits));
    CHECK_OK(cot_session_create(model, 256, false, &session));
    for (size_t i = begin; i < end; i++) {
        CHECK_OK(cot_session_feed(session, ids + i, 1, &ignored));
        if (i < scored) continue;
        out->nll[source] += nll_of(logits + (i - begin) * V, ids[i + 1]);
        out->tokens[source]++;
        for (int l = 0; l < SPARSE; l++) out->count[l][source][cot_session_expert(session, 2 * l)]++;
    }
    cot_session_destroy(session);
}

/* Windows of each document at 0, stride, 2 * stride ..., each scoring what earlier ones did not. */
static slow score_slowly(const fixture *f, size_t window, size_t stride)
{
    slow out = {0};
    for (int s = 0; s < SOURCES; s++) {
        const cot_text_size size = cot_corpus_size(f->corpus, COT_SPLIT_VALID, s);
        int32_t ids[512];
        size_t  starts[16];
        assert_true(size.tokens <= 512 && size.documents < 16);
        cot_corpus_tokens(f->corpus, COT_SPLIT_VALID, s, ids, starts);
        starts[size.documents] = size.tokens;
        for (size_t d = 0; d < size.documents; d++) {
            const size_t length = starts[d + 1] - starts[d], inputs = length ? length - 1 : 0;
            for (size_t begin = 0, scored = 0; scored < inputs; begin += stride) {
                const size_t end = begin + window < inputs ? begin + window : inputs;
                score_window(f->model, ids + starts[d], begin, end, scored, s, &out);
                scored = end;
            }
        }
    }
    return out;
}

/* ---- comparisons ---- */

/* f32 rounding of logits of size 1 to 10: 1e-5 of a nat per token. */
static void check_score(const cot_score *got, double nll, int64_t tokens, uint64_t bytes, uint64_t words)
{
    assert_int_equal(got->tokens, tokens);
    assert_int_equal(got->bytes, bytes);
    assert_int_equal(got->words, words);
    if (!(fabs(got->nll - nll) <= 1e-5 * (double)tokens))
        fail_msg("%s: %.9g nats, expected %.9g", got->name, got->nll, nll);
    const double loss = got->nll / (double)tokens;
    assert_true(fabs(got->loss - loss) <= 1e-12 * loss);
    assert_true(fabs(got->perplexity - exp(loss)) <= 1e-12 * exp(loss));
    assert_true(fabs(log(got->word_perplexity) - got->nll / (double)words) <= 1e-9);
    assert_true(fabs(got->bits_per_byte - got->nll / log(2) / (double)bytes) <= 1e-12 * got->bits_per_byte);
}

/* Measures from the counts, as algorithms of load statistics have them: population variance, largest over mean. */
static void check_layer(const cot_layer_use *layer, const slow *want, int l)
{
    double load[EXPERTS], all = 0, cv2 = 0, most = 0, sum = 0;
    int64_t dead = 0;
    assert_int_equal(layer->layer, 2 * l);
    assert_int_equal(layer->experts, EXPERTS);
    for (int s = 0; s < SOURCES; s++) all += (double)want->tokens[s];
    for (int e = 0; e < EXPERTS; e++) {
        load[e] = (double)(want->count[l][0][e] + want->count[l][1][e]) / all;
        cv2 += (EXPERTS * load[e] - 1) * (EXPERTS * load[e] - 1) / EXPERTS;
        most = fmax(most, load[e]);
        dead += load[e] < 0.1 / EXPERTS;
        assert_true(fabs(layer->load[e] - load[e]) < 1e-12);
        sum += layer->load[e];
        for (int s = 0; s < SOURCES; s++)
            assert_true(fabs(layer->source_load[s * EXPERTS + e] -
                             (double)want->count[l][s][e] / (double)want->tokens[s]) < 1e-12);
    }
    assert_true(fabs(sum - 1) < 1e-12);
    assert_true(fabs(layer->cv2 - cv2) < 1e-12);
    assert_true(fabs(layer->max_vio - (most * EXPERTS - 1)) < 1e-12);
    assert_int_equal(layer->dead, dead);
    assert_true(layer->router_entropy > 0 && layer->router_entropy < log(EXPERTS));
    assert_true(layer->drop_fraction == 0);
}

/* Text that the documents' first tokens stand for is shown, not scored: one byte of the file, one of each of the four
 * rows that have any. */
static void evaluation_is_the_slow_computation(void **state)
{
    (void)state;
    static const struct {
        int64_t window, stride, window_used, stride_used;
    } cases[] = {{0, 0, 20, 10}, {16, 16, 16, 16},   {16, 1, 16, 1}, {7, 5, 7, 5},
                 {1, 1, 1, 1},   {200, 0, 200, 100}, {5, 0, 5, 3}};
    fixture f = make_fixture(20);
    const cot_text_size a = cot_corpus_size(f.corpus, COT_SPLIT_VALID, 0),
                        b = cot_corpus_size(f.corpus, COT_SPLIT_VALID, 1);
    assert_int_equal(a.bytes, 29 + 29 + 26 + 34);
    assert_int_equal(b.bytes, 28 + 1 + 0 + 8 + 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cot_evaluate_options o = {.split = COT_SPLIT_VALID, .window = cases[i].window, .stride = cases[i].stride};
        cot_evaluation *e;
        CHECK_OK(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
        assert_int_equal(e->window, cases[i].window_used);
        assert_int_equal(e->stride, cases[i].stride_used);
        const slow want = score_slowly(&f, (size_t)e->window, (size_t)e->stride);
        assert_int_equal(e->source_count, SOURCES);
        assert_string_equal(e->sources[0].name, "a");
        assert_string_equal(e->sources[1].name, "b");
        check_score(&e->sources[0], want.nll[0], want.tokens[0], a.bytes - 1, a.words);
        check_score(&e->sources[1], want.nll[1], want.tokens[1], b.bytes - 4, b.words);
        check_score(&e->total, want.nll[0] + want.nll[1], want.tokens[0] + want.tokens[1], a.bytes + b.bytes - 5,
                    a.words + b.words);
        assert_int_equal(e->layer_count, SPARSE);
        for (int l = 0; l < SPARSE; l++) check_layer(&e->layers[l], &want, l);
        cot_evaluation_destroy(e);
    }
    drop_fixture(&f);
}

/* Words are separated by white space, and an end of line is one: what published perplexities per word divide by. */
static void words_are_counted_with_ends_of_line(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    assert_int_equal(cot_corpus_size(f.corpus, COT_SPLIT_VALID, 0).words, 4 + 6 + 5 + 5 + 4);
    assert_int_equal(cot_corpus_size(f.corpus, COT_SPLIT_VALID, 1).words, 6 + 1 + 0 + 5 + 1);
    drop_fixture(&f);
}

/* All logits zero: V equally probable symbols, whatever the text. */
static void a_uniform_model_costs_ln_v(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    fill_parameter(f.model, "head.weight", 0);
    fill_parameter(f.model, "layers.0.ffn.router.weight", 0);
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID};
    cot_evaluation *e;
    CHECK_OK(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
    assert_true(fabs(e->total.loss - log(V)) < 1e-6);
    assert_true(fabs(e->total.perplexity - V) < 1e-3);
    /* A router that knows nothing: full entropy, and ties go to expert 0. */
    assert_true(fabs(e->layers[0].router_entropy - log(EXPERTS)) < 1e-6);
    assert_true(e->layers[0].load[0] == 1 && e->layers[0].load[1] == 0);
    assert_true(fabs(e->layers[0].cv2 - (EXPERTS - 1)) < 1e-12);
    assert_true(fabs(e->layers[0].max_vio - (EXPERTS - 1)) < 1e-12);
    assert_int_equal(e->layers[0].dead, EXPERTS - 1);
    cot_evaluation_destroy(e);
    drop_fixture(&f);
}

static void limited_evaluations_take_a_share(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID, .window = 8, .stride = 8, .max_tokens = 10};
    cot_evaluation *e;
    CHECK_OK(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
    /* After the window in which 10 are scored it is over: 16 of each source. A byte tokenizer scores a byte a token. */
    assert_int_equal(e->sources[0].tokens, 16);
    assert_int_equal(e->sources[1].tokens, 16);
    assert_int_equal(e->sources[0].bytes, 16);
    assert_int_equal(e->total.bytes, 32);
    cot_evaluation_destroy(e);
    drop_fixture(&f);
}

/* With capacity, drops are counted and the load is that before them. */
static void drops_are_counted(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    cot_model *limited =
        made_model("{kind: lm, hidden_size: 16, num_layers: 1, mixer: {kind: attention}, ffn: {kind: sparse, router: "
                   "{kind: top_k, top_k: 2},"
                   " experts: {kind: ffn, num_experts: 4, intermediate_size: 8}, capacity: {capacity_factor: 0.5}}}",
                   V, 20, 1);
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID};
    cot_evaluation *e;
    CHECK_OK(cot_evaluate(limited, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
    assert_true(e->layers[0].drop_fraction >= 0.45 && e->layers[0].drop_fraction < 1);  /* half the slots for all; rounding up gives a few more */
    double sum = 0;
    for (int i = 0; i < EXPERTS; i++) sum += e->layers[0].load[i];
    assert_true(fabs(sum - 1) < 1e-12);
    cot_evaluation_destroy(e);
    cot_model_destroy(limited);
    drop_fixture(&f);
}

/* Product keys: what the grid and the histogram say is what the loads say, expert i * 5 + j at row i, column j. */
static void product_keys_have_a_grid(void **state)
{
    (void)state;
    enum { N = 5, CHOICES = 4 };
    fixture f = make_fixture(20);
    cot_model *peer =
        made_model("{kind: lm, hidden_size: 16, num_layers: 1, mixer: {kind: attention}, ffn: {kind: sparse, router: "
                   "{kind: product_key, heads: 2, top_k: 2, query_dim: 8}, experts: {kind: neuron, num_experts: 25}}}",
                   V, 20, 1);
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID};
    cot_evaluation *e;
    assert_int_equal(cot_model_layer_sub_keys(peer, 0), N);
    assert_int_equal(cot_model_layer_sub_keys(f.model, 0), 0);
    CHECK_OK(cot_evaluate(peer, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
    const cot_layer_use *layer = &e->layers[0];
    const double all = CHOICES * (double)e->total.tokens;
    int64_t histogram[8] = {0}, sum = 0;
    assert_true(layer->grid.sub_keys == N && layer->grid.bin == 1 && layer->grid.cells == N);
    for (int i = 0; i < N * N; i++) {
        const int64_t use = layer->grid.use[i];
        assert_true(fabs((double)use - layer->load[i] * all) < 1e-9);
        sum += use;
        histogram[use >= 64 ? 7 : use >= 32 ? 6 : use >= 16 ? 5 : use >= 8 ? 4 : use >= 4 ? 3 : use >= 2 ? 2 : use]++;
    }
    assert_int_equal(sum, CHOICES * (int64_t)e->total.tokens);
    for (int b = 0; b < 7; b++) assert_int_equal(layer->use_histogram[b], histogram[b]);
    int64_t beyond = 0;
    for (int b = 7; b < COT_USE_BINS; b++) beyond += layer->use_histogram[b];
    assert_int_equal(beyond, histogram[7]);
    cot_evaluation_destroy(e);
    cot_model_destroy(peer);
    drop_fixture(&f);
}

/* ---- failures, and JSON ---- */

static bool stop_soon(void *context, uint64_t done, uint64_t total)
{
    uint64_t *seen = context;
    assert_true(done > *seen && done <= total);
    *seen = done;
    return done < total / 2;
}

static void what_cannot_be_scored_is_refused(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    cot_evaluation *e;
    cot_evaluate_options o = {.split = COT_SPLIT_TRAIN};
    CHECK_FAILS(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e), COT_INVALID, "no training document");
    assert_null(e);
    o = (cot_evaluate_options){.split = COT_SPLIT_VALID, .window = 4, .stride = 5};
    CHECK_FAILS(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e), COT_INVALID, "stride");
    o = (cot_evaluate_options){.split = COT_SPLIT_VALID, .window = -4};
    CHECK_FAILS(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e), COT_INVALID, "-4");
    o = (cot_evaluate_options){.split = COT_SPLIT_VALID, .window = 1, .stride = 1};
    uint64_t seen = 0;
    CHECK_FAILS(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, stop_soon, &seen, &e), COT_STOPPED, "stopped");
    cot_model *small = made_model(section, V - 1, 20, 2);
    CHECK_FAILS(cot_evaluate(small, f.corpus, f.tokenizer, &o, NULL, NULL, &e), COT_INVALID, "257");
    cot_model_destroy(small);
    fill_parameter(f.model, "head.weight", NAN);
    CHECK_FAILS(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e), COT_NOT_FINITE, "not finite");
    assert_null(e);
    drop_fixture(&f);
}

static double number_at(const json_t *object, const char *key)
{
    if (!json_is_number(json_object_get(object, key))) fail_msg("'%s' is no number", key);
    return json_number_value(json_object_get(object, key));
}

static void check_score_json(const json_t *object, const cot_score *s)
{
    assert_true(number_at(object, "loss") == s->loss);
    assert_true(number_at(object, "perplexity") == s->perplexity);
    assert_true(number_at(object, "word_perplexity") == s->word_perplexity);
    assert_true(number_at(object, "bits_per_byte") == s->bits_per_byte);
    assert_true(number_at(object, "tokens") == (double)s->tokens);
    assert_true(number_at(object, "bytes") == (double)s->bytes);
}

static json_t *json_of(const cot_evaluation *e)
{
    char *text;
    CHECK_OK(cot_evaluation_to_json(e, &text));
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    free(text);
    return root;
}

static void json_holds_it_all(void **state)
{
    (void)state;
    fixture f = make_fixture(20);
    const cot_evaluate_options o = {.split = COT_SPLIT_VALID};
    cot_evaluation *e;
    CHECK_OK(cot_evaluate(f.model, f.corpus, f.tokenizer, &o, NULL, NULL, &e));
    json_t *root = json_of(e);
    check_score_json(root, &e->total);
    assert_true(number_at(root, "window") == 20 && number_at(root, "stride") == 10);
    for (int s = 0; s < SOURCES; s++) {
        const json_t *source = json_array_get(json_object_get(root, "sources"), (size_t)s);
        check_score_json(source, &e->sources[s]);
        assert_string_equal(json_string_value(json_object_get(source, "name")), e->sources[s].name);
        for (int l = 0; l < SPARSE; l++)
            assert_int_equal(
                json_array_size(json_object_get(json_array_get(json_object_get(source, "layers"), (size_t)l), "load")),
                EXPERTS);
    }
    for (int l = 0; l < SPARSE; l++) {
        const json_t *layer = json_array_get(json_object_get(root, "layers"), (size_t)l);
        const cot_layer_use *use = &e->layers[l];
        assert_true(number_at(layer, "layer") == (double)use->layer &&
                    number_at(layer, "dead_experts") == (double)use->dead);
        assert_true(number_at(layer, "cv2") == use->cv2 && number_at(layer, "max_vio") == use->max_vio);
        assert_true(number_at(layer, "router_entropy") == use->router_entropy &&
                    number_at(layer, "drop_fraction") == use->drop_fraction);
        for (int i = 0; i < EXPERTS; i++)
            assert_true(json_number_value(json_array_get(json_object_get(layer, "load"), (size_t)i)) == use->load[i]);
    }
    json_decref(root);
    cot_evaluation_destroy(e);
    drop_fixture(&f);
}

/* Sources without a scored token, and numbers too large for a double, are there as null. */
static void json_says_null_for_what_is_unknown(void **state)
{
    (void)state;
    cot_score source = {
        .name = "empty", .loss = NAN, .perplexity = INFINITY, .word_perplexity = NAN, .bits_per_byte = NAN};
    const cot_evaluation e = {.window = 8, .stride = 4, .total = source, .source_count = 1, .sources = &source};
    json_t *root = json_of(&e);
    static const char *const keys[] = {"loss", "perplexity", "word_perplexity", "bits_per_byte"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(json_is_null(json_object_get(root, keys[i])));
        assert_true(json_is_null(json_object_get(json_array_get(json_object_get(root, "sources"), 0), keys[i])));
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluation_is_the_slow_computation), cmocka_unit_test(words_are_counted_with_ends_of_line),
        cmocka_unit_test(a_uniform_model_costs_ln_v),         cmocka_unit_test(limited_evaluations_take_a_share),
        cmocka_unit_test(drops_are_counted),                  cmocka_unit_test(product_keys_have_a_grid),
        cmocka_unit_test(what_cannot_be_scored_is_refused),
        cmocka_unit_test(json_holds_it_all),                  cmocka_unit_test(json_says_null_for_what_is_unknown),
    };
    (void)cot_set_threads(1);  /* models this small gain nothing from more */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
