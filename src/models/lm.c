/* The decoder-only language model: x += mixer(norm(x)); x += ffn(norm(x)) in every layer, a last norm, an output
 * matrix.
 *
 * Layers take `mixer` and `ffn` of the section, and where `layers` has entries whose `at` meets them, the last such
 * entry's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "models/model.h"
#include "ops/embed.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/weighted_sum.h"

typedef struct {
    int64_t hidden_size, num_layers;
    double  rms_norm_eps, init_std, init_scale, dropout;
    bool    tie_word_embeddings;
    int32_t init;
    const cot_config *mixer, *ffn, *layers;
    cot_param *final_norm;
} lm;

static const cot_option options[] = {
    COT_OPTION_INT(lm, hidden_size, 256, 1, 1 << 20, "width of the residual stream"),
    COT_OPTION_INT(lm, num_layers, 4, 1, 1024, "layers"),
    COT_OPTION_PART(lm, mixer, "mixers", "what every layer mixes with, e.g. {kind: attention, num_heads: 4}"),
    COT_OPTION_PART(lm, ffn, "feed_forwards",
                    "what every layer feeds forward through: {kind: dense|sparse, ...}, or a list that runs side by side"),
    COT_OPTION_PART(lm, layers, "layers",
                    "where layers differ: a list of {at: LAYERS, mixer: ..., ffn: ...}; the last match wins"),
    COT_OPTION_BOOL(lm, tie_word_embeddings, true, "the output matrix is the embedding"),
    COT_OPTION_DOUBLE(lm, rms_norm_eps, 1e-5, 0, 1, "added under the root of every norm"),
    COT_OPTION_DOUBLE(lm, dropout, 0, 0, 0.95, "on the output of every mixer and dense feed-forward, while training"),
    COT_OPTION_CHOICE(lm, init, 0, "normal|truncated_normal", "how weights start"),
    COT_OPTION_DOUBLE(lm, init_std, 0.02, 0, 10, "standard deviation of init: normal"),
    COT_OPTION_DOUBLE(lm, init_scale, 0.1, 0, 10,
                      "s of init: truncated_normal, whose std is sqrt(s / fan_in) cut at two of them (Switch)"),
    COT_OPTION_END,
};

typedef struct {
    char             *at;
    const cot_config *mixer, *ffn;
} layer_entry;

const cot_option cot_layer_entry_options[] = {
    COT_OPTION_STRING(layer_entry, at, NULL,
                      "which layers: a number or a slice such as 1::2, -2: or 0:4; negative ones count from the end"),
    COT_OPTION_PART(layer_entry, mixer, "mixers", "what they mix with in place of the model's"),
    COT_OPTION_PART(layer_entry, ffn, "feed_forwards", "what they feed forward through in place of the model's"),
    COT_OPTION_END,
};

/* Python's slice a:b:c, or one number; negative counts from the end. */
static bool parse_at(const char *text, int64_t count, int64_t *from, int64_t *to, int64_t *step)
{
    int64_t part[3] = {0, count, 1};
    bool    given[3] = {false, false, false};
    int     parts = 0;
    for (const char *p = text;; p++) {
        char *end;
        const long long v = strtoll(p, &end, 10);
        if (end != p && parts < 3) part[parts] = v, given[parts] = true;
        parts++;
        p = end;
        if (*p != ':' || parts > 3) {
            if (*p || parts > 3) return false;
            break;
        }
    }
    if (given[0] && part[0] < 0) part[0] += count;
    if (given[1] && part[1] < 0) part[1] += count;
    if (parts == 1) part[1] = part[0] + 1;
    *from = part[0], *to = part[1] < count ? part[1] : count, *step = part[2];
    return part[0] >= 0 && part[2] > 0 && (parts > 1 || given[0]);
}

static cot_status layer_matches(const cot_config *entry, const char *at, int64_t layer, int64_t count, bool *matches)
{
    int64_t from = 0, to = 0, step = 1;
    if (at && parse_at(at, count, &from, &to, &step) && (from < count || strchr(at, ':'))) {
        *matches = layer >= from && layer < to && (layer - from) % step == 0;
        return COT_OK;
    }
    if (!at) return cot_config_fail(entry, "has no 'at', expected a layer or a slice such as 1::2");
    return cot_config_fail(cot_config_get(entry, "at"),
                           "is '%s', expected a layer from 0 to %lld or a slice such as 1::2", at,
                           (long long)count - 1);
}

static cot_status layer_sections(const lm *s, int64_t layer, const cot_config **mixer, const cot_config **ffn)
{
    *mixer = s->mixer;
    *ffn = s->ffn;
    for (size_t i = 0; i < cot_config_size(s->layers); i++) {
        const cot_config *section = cot_config_at(s->layers, i);
        layer_entry entry;
        bool matches = false;
        COT_TRY(cot_options_apply(cot_layer_entry_options, &entry, section));
        const cot_status status = layer_matches(section, entry.at, layer, s->num_layers, &matches);
        cot_options_release(cot_layer_entry_options, &entry);
        COT_TRY(status);
        if (matches && entry.mixer) *mixer = entry.mixer;
        if (matches && entry.ffn) *ffn = entry.ffn;
    }
    return COT_OK;
}

static cot_status build_ffn(cot_layer *layer, const cot_config *section, cot_build *build, const char *prefix)
{
    const bool   list = cot_config_get_kind(section) == COT_CONFIG_LIST;
    const size_t count = list ? cot_config_size(section) : 1;
    if (count < 1 || count > 4)
        return cot_fail(COT_INVALID, "%s:%d: ffn has %zu members, expected 1 to 4", cot_config_file(section),
                        cot_config_line(section), count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        if (i == 0) snprintf(name, sizeof name, "%s", prefix);
        else snprintf(name, sizeof name, "%s.%zu", prefix, i);
        build->prefix = name;
        COT_TRY(cot_feed_forward_create(list ? cot_config_at(section, i) : section, build, &layer->ffn[i]));
        layer->ffn_count++;
    }
    return COT_OK;
}

static cot_status build_layer(cot_model *model, cot_build build, int64_t index)
{
    const lm *s = model->state;
    cot_layer *layer = &model->layers[index];
    const cot_config *mixer, *ffn;
    char prefix[64];
    build.layer = (int32_t)index;
    COT_TRY(layer_sections(s, index, &mixer, &ffn));
    if (!mixer || !ffn)
        return cot_fail(COT_INVALID, "model has no %s, expected a map such as {kind: %s}", mixer ? "ffn" : "mixer",
                        mixer ? "dense" : "attention");
    snprintf(layer->name, sizeof layer->name, "layers.%lld", (long long)index);
    snprintf(layer->ffn_name, sizeof layer->ffn_name, "layers.%lld.ffn", (long long)index);
    build.prefix = layer->name;
    COT_TRY(cot_build_vector(&build, "mixer_norm.weight", s->hidden_size, COT_INIT_ONE, &layer->mixer_norm));
    snprintf(prefix, sizeof prefix, "%s.mixer", layer->name);
    build.prefix = prefix;
    COT_TRY(cot_mixer_create(mixer, &build, &layer->mixer));
    build.prefix = layer->name;
    COT_TRY(cot_build_vector(&build, "ffn_norm.weight", s->hidden_size, COT_INIT_ONE, &layer->ffn_norm));
    return build_ffn(layer, ffn, &build, layer->ffn_name);
}

static cot_status build_ends(cot_model *model, const cot_build *build)
{
    lm *s = model->state;
    cot_param_spec spec = {.name = "embed.weight",
                           .rank = 2,
                           .shape = {model->vocab_size, s->hidden_size},
                           .init = cot_build_init(build, s->hidden_size)};
    COT_TRY(cot_params_add(model->params, &spec, &model->embed));
    model->head = model->embed;
    if (s->tie_word_embeddings) return COT_OK;
    spec.name = "head.weight";
    return cot_params_add(model->params, &spec, &model->head);
}

static cot_status setup(cot_model *model)
{
    lm *s = model->state;
    model->hidden_size = s->hidden_size;
    model->num_layers = s->num_layers;
    model->norm_eps = s->rms_norm_eps;
    model->layers = cot_calloc((size_t)s->num_layers * sizeof *model->layers);
    if (!model->layers) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld layers", (long long)s->num_layers);
    const cot_build build = {.params = model->params,
                             .num_layers = (int32_t)s->num_layers,
                             .hidden_size = s->hidden_size,
                             .vocab_size = model->vocab_size,
                             .context = model->context,
                             .norm_eps = s->rms_norm_eps,
                             .dropout = s->dropout,
                             .init = s->init ? COT_INIT_TRUNCATED_NORMAL : COT_INIT_NORMAL,
                             .init_value = s->init ? s->init_scale : s->init_std};
    COT_TRY(build_ends(model, &build));
    for (int64_t i = 0; i < s->num_layers; i++) COT_TRY(build_layer(model, build, i));
    const cot_param_spec norm = {
        .name = "final_norm.weight", .rank = 1, .shape = {s->hidden_size}, .init = {COT_INIT_ONE, 0}, .no_decay = true};
    return cot_params_add(model->params, &norm, &s->final_norm);
}

static void teardown(cot_model *model)
{
    for (int64_t i = 0; model->layers && i < model->num_layers; i++) {
        cot_mixer_destroy(model->layers[i].mixer);
        for (int j = 0; j < model->layers[i].ffn_count; j++) cot_feed_forward_destroy(model->layers[i].ffn[j]);
    }
    cot_free(model->layers);
}

static cot_tensor *layer_forward(const cot_model *model, cot_layer *layer, cot_tape *tape, const cot_pass *pass,
                                 cot_tensor *x, void *sequence)
{
    cot_tape_enter(tape, layer->name);
    cot_tensor *normed = cot_rmsnorm(tape, x, cot_tape_param(tape, layer->mixer_norm), model->norm_eps);
    x = layer->mixer->ops->forward(layer->mixer, tape, normed, x, pass->first, sequence);
    cot_tape_enter(tape, layer->ffn_name);
    normed = cot_rmsnorm(tape, x, cot_tape_param(tape, layer->ffn_norm), model->norm_eps);
    for (int i = 0; i < layer->ffn_count; i++) x = layer->ffn[i]->ops->forward(layer->ffn[i], tape, pass, normed, x);
    return x;
}

/* ---- a layer whose activations are recomputed: its losses leave as one sum ---- */

typedef struct {
    cot_model *model;
    cot_layer *layer;
    cot_pass   pass;
} segment;

static void run_segment(cot_tape *tape, void *context, bool again, cot_tensor *in, cot_tensor *out[2])
{
    segment *s = context;
    cot_losses *losses = s->pass.losses ? cot_tape_alloc(tape, sizeof *losses) : NULL;
    cot_pass pass = s->pass;
    if (losses) losses->count = 0;
    pass.losses = losses;
    if (again) pass.observe = NULL, pass.tally = false;
    out[0] = layer_forward(s->model, s->layer, tape, &pass, in, NULL);
    if (losses && losses->count) out[1] = cot_weighted_sum(tape, losses->loss, NULL, losses->count);
}

static cot_tensor *recomputed_layer(cot_model *model, cot_layer *layer, cot_tape *tape, const cot_pass *pass,
                                    cot_tensor *x)
{
    cot_tensor *out[2];
    segment *s = cot_tape_alloc(tape, sizeof *s);
    if (!s) return x;
    *s = (segment){model, layer, *pass};
    cot_tape_recompute(tape, run_segment, s, x, out);
    if (out[1] && pass->losses->count < COT_MAX_LOSSES) {
        const int i = pass->losses->count++;
        pass->losses->loss[i] = out[1];
        pass->losses->kind[i] = "balance";
        pass->losses->layer[i] = layer->mixer->build.layer;
    }
    return out[0] ? out[0] : x;
}

/* Rewards come after the pass, when a layer that is to be recomputed has forgotten its routing. */
static bool is_rewarded(const cot_layer *layer)
{
    for (int i = 0; i < layer->ffn_count; i++)
        if (layer->ffn[i]->ops->is_rewarded && layer->ffn[i]->ops->is_rewarded(layer->ffn[i])) return true;
    return false;
}

static cot_tensor *hidden(cot_model *model, cot_tape *tape, const cot_pass *pass, void **sequences, bool recompute)
{
    const lm *s = model->state;
    cot_tape_enter(tape, "embed");
    cot_tensor *x = cot_embed(tape, cot_tape_param(tape, model->embed), pass->ids, pass->tokens);
    for (int64_t i = 0; i < s->num_layers && !cot_tape_failed(tape); i++)
        x = recompute && !sequences && !is_rewarded(&model->layers[i])
                ? recomputed_layer(model, &model->layers[i], tape, pass, x)
                : layer_forward(model, &model->layers[i], tape, pass, x, sequences ? sequences[i] : NULL);
    cot_tape_enter(tape, "final_norm");
    x = cot_rmsnorm(tape, x, cot_tape_param(tape, s->final_norm), s->rms_norm_eps);
    cot_tape_enter(tape, "head");
    return x;
}

const cot_model_ops cot_model_lm = {
    .member = {"lm", "vaswani2017attention, touvron2023llama", "decoder-only transformer language model", options},
    .state_size = sizeof(lm),
    .setup = setup,
    .teardown = teardown,
    .hidden = hidden,
};
