/* Models on disk: what a model is in a published config's words, and its folder. */
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "formats/model_folder.h"
#include "models/llama2c_model.h"

/* Published families have one kind of mixer and one kind of sparse layer; a card of one layer must repeat the earlier ones'. */
static bool same_mixer(const cot_model_card *a, const cot_model_card *b)
{
    return a->num_heads == b->num_heads && a->num_kv_heads == b->num_kv_heads && a->head_dim == b->head_dim && a->sliding_window == b->sliding_window &&
           a->rope_theta == b->rope_theta && a->attention_bias == b->attention_bias && a->qk_norm == b->qk_norm;
}

static bool same_experts(const cot_model_card *a, const cot_model_card *b)
{
    return a->num_experts == b->num_experts && a->top_k == b->top_k && a->moe_intermediate_size == b->moe_intermediate_size &&
           a->norm_topk_prob == b->norm_topk_prob && a->shared_intermediate_size == b->shared_intermediate_size && a->shared_gate == b->shared_gate;
}

static void add_layer(const cot_layer *layer, bool first, cot_model_card *card)
{
    cot_model_card one = cot_model_card_empty();
    layer->mixer->ops->describe(layer->mixer, &one);
    for (int j = 0; j < layer->ffn_count; j++) layer->ffn[j]->ops->describe(layer->ffn[j], &one);
    if (layer->ffn_count > 1) one.beyond = "feed-forwards side by side";
    if (first) {
        const cot_model_card whole = *card;
        *card = one;
        card->vocab_size = whole.vocab_size, card->hidden_size = whole.hidden_size, card->num_layers = whole.num_layers;
        card->max_position = whole.max_position, card->rms_norm_eps = whole.rms_norm_eps, card->tie_word_embeddings = whole.tie_word_embeddings;
        card->dtype = whole.dtype, card->model = whole.model;
        card->dense_layers = one.num_experts == 0;
        return;
    }
    card->dense_layers += one.num_experts == 0;
    if (!same_mixer(card, &one)) card->beyond = "mixers that differ between layers";
    if (one.num_experts && !card->num_experts) {
        card->num_experts = one.num_experts, card->top_k = one.top_k, card->moe_intermediate_size = one.moe_intermediate_size;
        card->norm_topk_prob = one.norm_topk_prob, card->shared_intermediate_size = one.shared_intermediate_size, card->shared_gate = one.shared_gate;
        card->router_aux_loss_coef = one.router_aux_loss_coef;
    }
    if (one.num_experts && !same_experts(card, &one)) card->beyond = "sparse layers that differ";
    if (one.intermediate_size && card->intermediate_size && one.intermediate_size != card->intermediate_size) card->beyond = "dense layers that differ";
    if (one.intermediate_size) card->intermediate_size = one.intermediate_size;
    if (one.beyond) card->beyond = one.beyond;
}

cot_model_card cot_model_card_of(const cot_model *model, const cot_tokenizer *tokenizer)
{
    cot_model_card card = cot_model_card_empty();
    card.vocab_size = model->vocab_size, card.hidden_size = model->hidden_size, card.num_layers = model->num_layers;
    card.max_position = model->context, card.rms_norm_eps = model->norm_eps;
    card.tie_word_embeddings = model->head == model->embed;
    card.dtype = COT_F32;
    card.model = model->section;
    for (int64_t i = 0; i < model->num_layers; i++) add_layer(&model->layers[i], i == 0, &card);
    card.router_aux_loss_coef *= (double)(card.num_layers - card.dense_layers);  /* theirs is a mean over sparse layers, ours a sum */
    double init_std = 0.02;
    (void)cot_config_double(cot_config_get(model->section, "init_std"), &init_std);
    card.initializer_range = init_std;
    if (tokenizer && cot_tokenizer_end_of_text(tokenizer) >= 0) {
        card.eos_token_id[0] = cot_tokenizer_end_of_text(tokenizer);
        card.eos_count = 1;
    }
    return card;
}

const char *cot_model_published_as(const cot_model *model)
{
    const cot_model_card card = cot_model_card_of(model, NULL);
    return cot_dialect_for(&card, model->params)->model_type;
}

cot_status cot_model_save(const cot_model *model, const cot_tokenizer *tokenizer, const char *folder)
{
    const cot_model_card card = cot_model_card_of(model, tokenizer);
    COT_TRY(cot_model_folder_write(folder, &card, model->params, NULL));
    return tokenizer ? cot_tokenizer_save(tokenizer, folder, model->context) : COT_OK;
}

static cot_status load_tokenizer(const char *folder, const cot_model *model, cot_tokenizer **out)
{
    char *path = cot_path_join(folder, "tokenizer.json");
    if (!path) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
    cot_status status = cot_file_exists(path) ? cot_tokenizer_load(path, out) : COT_OK;
    if (status == COT_OK && *out && cot_tokenizer_vocab_size(*out) > model->vocab_size) {
        status = cot_fail(COT_FORMAT, "%s has %d symbols, the model beside it %lld", path, cot_tokenizer_vocab_size(*out), (long long)model->vocab_size);
        cot_tokenizer_destroy(*out);
        *out = NULL;
    }
    cot_free(path);
    return status;
}

static cot_status load(const char *folder, const cot_model_folder *f, cot_model **out)
{
    COT_TRY(cot_model_create(f->section, f->card.vocab_size, f->card.max_position, out));
    COT_TRY(cot_params_allocate_raw((*out)->params));
    COT_TRY(cot_model_folder_load_weights(folder, f, (*out)->params));
    for (size_t i = 0; i < cot_params_count((*out)->params); i++) cot_params_at((*out)->params, i)->version++;
    return COT_OK;
}

static cot_status load_folder(const char *folder, cot_model **out)
{
    cot_model_folder f;
    COT_TRY(cot_model_folder_read(folder, &f));
    const cot_status status = load(folder, &f, out);
    cot_model_folder_release(&f);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

cot_status cot_model_load(const char *path, cot_model **out, cot_tokenizer **tokenizer)
{
    *out = NULL;
    if (tokenizer) *tokenizer = NULL;
    const bool file = cot_file_exists(path);
    if (file && !ends_with(path, ".bin"))
        return cot_fail(COT_FORMAT, "'%s' is a file; expected a model folder, or a checkpoint of llama2.c (.bin)", path);
    cot_status status = file ? cot_llama2c_load(path, out) : load_folder(path, out);
    if (status == COT_OK && tokenizer && !file) status = load_tokenizer(path, *out, tokenizer);
    if (status != COT_OK) {
        cot_model_destroy(*out);
        *out = NULL;
    }
    return status;
}
