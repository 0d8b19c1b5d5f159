/* What a model is in a published config's words. Published families have one kind of mixer, one of sparse and one of
 * dense layer: every layer's card must repeat the earlier ones'. */
#include "models/model.h"

static bool same_rope(const cot_model_card *a, const cot_model_card *b)
{
    const cot_rope_scaling *r = &a->rope, *s = &b->rope;
    return a->rope_theta == b->rope_theta && r->rope_type == s->rope_type && r->factor == s->factor
           && r->original_max_position_embeddings == s->original_max_position_embeddings
           && r->attention_factor == s->attention_factor && r->beta_fast == s->beta_fast && r->beta_slow == s->beta_slow
           && r->mscale == s->mscale && r->mscale_all_dim == s->mscale_all_dim && r->truncate == s->truncate
           && r->low_freq_factor == s->low_freq_factor && r->high_freq_factor == s->high_freq_factor;
}

static bool same_mixer(const cot_model_card *a, const cot_model_card *b)
{
    return a->num_heads == b->num_heads && a->num_kv_heads == b->num_kv_heads && a->head_dim == b->head_dim
           && a->qkv_bias == b->qkv_bias && a->output_bias == b->output_bias && a->head_norms == b->head_norms
           && a->vector_norms == b->vector_norms && same_rope(a, b);
}

static void add_mixer(const cot_model_card *one, int64_t layer, cot_model_card *card)
{
    if (layer == 0) {
        card->num_heads = one->num_heads, card->num_kv_heads = one->num_kv_heads, card->head_dim = one->head_dim;
        card->qkv_bias = one->qkv_bias, card->output_bias = one->output_bias;
        card->head_norms = one->head_norms, card->vector_norms = one->vector_norms;
        card->rope_theta = one->rope_theta, card->rope = one->rope;
    } else if (!same_mixer(card, one)) {
        card->beyond = "mixers that differ between layers";
    }
    if (one->sliding_window == 0) cot_layer_add(&card->full_attention, layer);
    else if (card->sliding_window && card->sliding_window != one->sliding_window)
        card->beyond = "sliding windows that differ between layers";
    else card->sliding_window = one->sliding_window;
}

static bool same_experts(const cot_model_card *a, const cot_model_card *b)
{
    return a->num_experts == b->num_experts && a->top_k == b->top_k
           && a->moe_intermediate_size == b->moe_intermediate_size && a->norm_topk_prob == b->norm_topk_prob
           && a->shared_intermediate_size == b->shared_intermediate_size && a->shared_gate == b->shared_gate;
}

static void add_sparse(const cot_model_card *one, cot_model_card *card)
{
    if (card->num_experts == 0) {
        card->num_experts = one->num_experts, card->top_k = one->top_k;
        card->moe_intermediate_size = one->moe_intermediate_size, card->norm_topk_prob = one->norm_topk_prob;
        card->shared_intermediate_size = one->shared_intermediate_size, card->shared_gate = one->shared_gate;
        card->router_aux_loss_coef = one->router_aux_loss_coef;
    } else if (!same_experts(card, one)) {
        card->beyond = "sparse layers that differ";
    }
}

static void add_dense(const cot_model_card *one, cot_model_card *card)
{
    const bool seen = card->intermediate_size > 0;
    if (seen && (card->intermediate_size != one->intermediate_size || card->ffn_bias != one->ffn_bias))
        card->beyond = "dense layers that differ";
    card->intermediate_size = one->intermediate_size;
    card->ffn_bias = one->ffn_bias;
}

static void add_layer(const cot_layer *layer, int64_t index, cot_model_card *card)
{
    cot_model_card one = cot_model_card_empty();
    layer->mixer->ops->describe(layer->mixer, &one);
    for (int j = 0; j < layer->ffn_count; j++) layer->ffn[j]->ops->describe(layer->ffn[j], &one);
    if (layer->ffn_count > 1) one.beyond = "feed-forwards side by side";
    add_mixer(&one, index, card);
    if (one.num_experts) add_sparse(&one, card);
    else cot_layer_add(&card->dense, index);
    if (one.intermediate_size) add_dense(&one, card);
    if (one.beyond) card->beyond = one.beyond;
}

static void add_layers(const cot_model *model, cot_model_card *card)
{
    for (int64_t i = 0; i < model->num_layers; i++) add_layer(&model->layers[i], i, card);
    if (card->num_experts == 0) card->dense = (cot_layer_set){{0}};
    if (card->sliding_window == 0) card->full_attention = (cot_layer_set){{0}};
    /* Theirs is a mean over sparse layers, ours a sum. */
    card->router_aux_loss_coef *= (double)(card->num_layers - cot_layer_count(&card->dense));
    /* Published dynamic positions count from the length that the model says it is for. */
    if (card->rope.rope_type == COT_ROPE_DYNAMIC) card->max_position = card->rope.original_max_position_embeddings;
}

cot_model_card cot_model_card_of(const cot_model *model, const cot_tokenizer *tokenizer)
{
    cot_model_card card = cot_model_card_empty();
    card.vocab_size = model->vocab_size, card.hidden_size = model->hidden_size, card.num_layers = model->num_layers;
    card.max_position = model->context, card.rms_norm_eps = model->norm_eps;
    card.tie_word_embeddings = model->head == model->embed;
    card.dtype = COT_F32;
    card.model = model->section;
    add_layers(model, &card);
    double init_std = 0.02;
    (void)cot_config_double(cot_config_get(model->section, "init_std"), &init_std);
    card.initializer_range = init_std;
    card.ids = model->ids;
    if (card.ids.eos_count == 0 && tokenizer && cot_tokenizer_end_of_text(tokenizer) >= 0) {
        card.ids.eos_token_id[0] = cot_tokenizer_end_of_text(tokenizer);
        card.ids.eos_count = 1;
    }
    if (card.ids.bos_token_id < 0 && tokenizer) card.ids.bos_token_id = cot_tokenizer_start_of_text(tokenizer);
    return card;
}
