#include "models/model.h"

#include <coterie/data.h>

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "ops/linear.h"

#define MODEL(id) extern const cot_model_ops cot_model_##id;
#include "models/models.def"
#undef MODEL

static const cot_model_ops *const models[] = {
#define MODEL(id) &cot_model_##id,
#include "models/models.def"
#undef MODEL
};

const cot_member *cot_model_at(size_t index)
{
    return index < sizeof models / sizeof *models ? &models[index]->member : NULL;
}

static cot_status setup(cot_model *model, const cot_config *section, cot_dtype real)
{
    COT_TRY(cot_config_copy(section, &model->section));
    COT_TRY(cot_params_create(real, &model->params));
    COT_TRY(cot_state_create(&model->ops->member, model->ops->state_size, model->section, &model->state));
    return model->ops->setup(model);
}

cot_status cot_model_create_as(const cot_config *section, int64_t vocab_size, int64_t context, cot_dtype real,
                               cot_model **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("model", cot_model_at, section, &member));
    if (vocab_size < 1) return cot_fail(COT_INVALID, "vocab_size is %lld, expected 1 or more", (long long)vocab_size);
    if (context < 1) return cot_fail(COT_INVALID, "context is %lld, expected 1 or more", (long long)context);
    cot_model *model = cot_calloc(sizeof *model);
    if (!model) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a model");
    model->ops = (const cot_model_ops *)member;
    model->ids = cot_text_ids_none();
    model->vocab_size = vocab_size;
    model->context = context;
    const cot_status status = setup(model, section, real);
    if (status != COT_OK) {
        cot_model_destroy(model);
        return status;
    }
    *out = model;
    return COT_OK;
}

cot_status cot_model_create(const cot_config *section, int64_t vocab_size, int64_t context, cot_model **out)
{
    return cot_model_create_as(section, vocab_size, context, COT_F32, out);
}

void cot_model_destroy(cot_model *model)
{
    if (!model) return;
    if (model->state) model->ops->teardown(model);
    cot_state_destroy(&model->ops->member, model->state);
    cot_params_destroy(model->params);
    cot_config_destroy(model->section);
    cot_free(model);
}

cot_status cot_model_initialise(cot_model *model, uint64_t seed) { return cot_params_allocate(model->params, seed); }

const cot_config *cot_model_section(const cot_model *model) { return model->section; }

static bool needs_vocabulary(const cot_model *model)
{
    for (int64_t i = 0; i < model->num_layers; i++)
        for (int j = 0; j < model->layers[i].ffn_count; j++) {
            const cot_feed_forward *ffn = model->layers[i].ffn[j];
            if (ffn->ops->needs_vocabulary && ffn->ops->needs_vocabulary(ffn)) return true;
        }
    return false;
}

static cot_status prepare_layers(cot_model *model, const cot_vocabulary *vocabulary)
{
    for (int64_t i = 0; i < model->num_layers; i++)
        for (int j = 0; j < model->layers[i].ffn_count; j++) {
            cot_feed_forward *ffn = model->layers[i].ffn[j];
            if (ffn->ops->needs_vocabulary && ffn->ops->needs_vocabulary(ffn))
                COT_TRY(ffn->ops->prepare(ffn, vocabulary));
        }
    return COT_OK;
}

cot_status cot_model_prepare(cot_model *model, const cot_corpus *corpus)
{
    const uint64_t count = cot_corpus_size(corpus, COT_SPLIT_TRAIN, -1).tokens;
    cot_vocabulary vocabulary = {0};
    if (!needs_vocabulary(model)) return COT_OK;
    int32_t *ids = cot_malloc((size_t)count * sizeof *ids);
    if (!ids) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the ids of the training text");
    cot_corpus_tokens(corpus, COT_SPLIT_TRAIN, -1, ids, NULL);
    cot_status status = cot_vocabulary_count(ids, (int64_t)count, model->vocab_size, &vocabulary);
    cot_free(ids);
    if (status == COT_OK) status = prepare_layers(model, &vocabulary);
    cot_vocabulary_release(&vocabulary);
    return status;
}

void cot_model_begin_step(cot_model *model)
{
    for (int64_t i = 0; i < model->num_layers; i++)
        for (int j = 0; j < model->layers[i].ffn_count; j++) cot_feed_forward_begin_step(model->layers[i].ffn[j]);
}

void cot_model_end_step(cot_model *model)
{
    for (int64_t i = 0; i < model->num_layers; i++)
        for (int j = 0; j < model->layers[i].ffn_count; j++) cot_feed_forward_end_step(model->layers[i].ffn[j]);
}

cot_tensor *cot_model_logits(cot_model *model, cot_tape *tape, cot_tensor *hidden)
{
    return cot_linear_real(tape, hidden, cot_tape_param(tape, model->head));
}

bool cot_model_parameter(const cot_model *model, size_t index, const char **name, int *rank, int64_t shape[4])
{
    if (index >= cot_params_count(model->params)) return false;
    const cot_param *param = cot_params_at(model->params, index);
    *name = param->name;
    *rank = param->value.rank;
    memcpy(shape, param->value.shape, sizeof param->value.shape);
    return true;
}

/* ---- sequences ---- */

void cot_model_sequences_destroy(const cot_model *model, void **sequences)
{
    for (int64_t i = 0; sequences && i < model->num_layers; i++)
        if (sequences[i]) model->layers[i].mixer->ops->sequence_destroy(sequences[i]);
    cot_free(sequences);
}

cot_status cot_model_sequences_create(const cot_model *model, int64_t capacity, bool whole, cot_mode mode, void ***out)
{
    *out = NULL;
    void **sequences = cot_calloc((size_t)model->num_layers * sizeof *sequences);
    if (!sequences) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a session");
    for (int64_t i = 0; i < model->num_layers; i++) {
        const cot_mixer *mixer = model->layers[i].mixer;
        const cot_status status = mixer->ops->sequence_create(mixer, capacity, whole, mode, &sequences[i]);
        if (status == COT_OK) continue;
        cot_model_sequences_destroy(model, sequences);
        return status;
    }
    *out = sequences;
    return COT_OK;
}

int64_t cot_model_sequences_truncate(const cot_model *model, void **sequences, int64_t length)
{
    for (int64_t i = 0; i < model->num_layers; i++) {
        const int64_t held = model->layers[i].mixer->ops->sequence_truncate(sequences[i], length);
        if (held >= length) continue;
        length = held;  /* layers before this one must follow */
        i = -1;
    }
    return length;
}

/* ---- what it costs ---- */

cot_model_info cot_model_describe(const cot_model *model, int64_t context)
{
    if (context <= 0) context = model->context;
    const double seen = ((double)context + 1) / 2;  /* the causal half */
    cot_model_info info = {.kind = model->ops->member.name,
                           .vocab_size = model->vocab_size,
                           .context = context,
                           .hidden_size = model->hidden_size,
                           .num_layers = model->num_layers,
                           .parameters_total = cot_params_elements(model->params, false)};
    int64_t inactive = 0, sequences = 0;
    double layers = 0;
    for (int64_t i = 0; i < model->num_layers; i++) {
        const cot_layer *layer = &model->layers[i];
        layers += layer->mixer->ops->cost(layer->mixer, seen).flops;
        sequences += layer->mixer->ops->sequence_bytes(layer->mixer, context, COT_MODE_F32);
        for (int j = 0; j < layer->ffn_count; j++) {
            const cot_cost cost = layer->ffn[j]->ops->cost(layer->ffn[j]);
            layers += cost.flops;
            inactive += cost.inactive;
        }
        info.sparse_layers += cot_model_layer_experts(model, i) > 0;
    }
    info.parameters_active = info.parameters_total - inactive;
    info.flops_forward = layers + 2.0 * (double)model->hidden_size * (double)model->vocab_size;
    info.flops_training = 3 * info.flops_forward;
    info.flops_recompute = layers;
    const cot_params_size all = cot_params_measure(model->params, false),
                          experts = cot_params_measure(model->params, true);
    info.bytes_training = all.training;
    info.parameters_experts = experts.elements;
    info.bytes_experts = experts.bytes;
    info.bytes_experts_training = experts.training;
    info.published_as = cot_model_published_as(model);
    info.stored_as = model->stored_as;
    info.bytes_serving = all.bytes + sequences;
    return info;
}

int64_t cot_model_layer_experts(const cot_model *model, int64_t layer)
{
    int64_t experts = 0;
    for (int j = 0; j < model->layers[layer].ffn_count; j++)
        experts += cot_feed_forward_num_experts(model->layers[layer].ffn[j]);
    return experts;
}

int64_t cot_model_layer_sub_keys(const cot_model *model, int64_t layer)
{
    int64_t n = 0;
    for (int j = 0; j < model->layers[layer].ffn_count; j++) n += cot_feed_forward_sub_keys(model->layers[layer].ffn[j]);
    return n * n == cot_model_layer_experts(model, layer) ? n : 0;
}

void cot_model_layer_text(const cot_model *model, int64_t index, char *text, size_t size)
{
    const cot_layer *layer = &model->layers[index];
    char part[160];
    layer->mixer->ops->text(layer->mixer, part, sizeof part);
    size_t used = (size_t)snprintf(text, size, "%s", part);
    for (int j = 0; j < layer->ffn_count && used < size; j++) {
        layer->ffn[j]->ops->text(layer->ffn[j], part, sizeof part);
        used += (size_t)snprintf(text + used, size - used, "%s%s", j ? " + " : "; ", part);
    }
}
