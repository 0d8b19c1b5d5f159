#include "formats/card_section.h"

#include <stdlib.h>

#include "base/fail.h"
#include "formats/dialects/card_keys.h"
#include "formats/json.h"

static json_t *mixer(const cot_model_card *card, bool window)
{
    json_t *map = json_pack("{s:s, s:I, s:I, s:I, s:f, s:I, s:b, s:b, s:b}", "kind", "attention", "num_heads",
                            (json_int_t)card->num_heads, "num_kv_heads", (json_int_t)card->num_kv_heads, "head_dim",
                            (json_int_t)card->head_dim, "rope_theta", card->rope_theta, "sliding_window",
                            (json_int_t)(window ? card->sliding_window : 0), "bias", card->qkv_bias, "out_bias",
                            card->output_bias, "qk_norm", card->head_norms || card->vector_norms);
    if (card->vector_norms) json_object_set_new(map, "qk_norm_over", json_string("vector"));
    if (card->rope.rope_type != COT_ROPE_DEFAULT) json_object_set_new(map, "rope_scaling", cot_rope_json(card));
    return map;
}

static json_t *dense(const cot_model_card *card)
{
    return json_pack("{s:s, s:I, s:b}", "kind", "dense", "intermediate_size", (json_int_t)card->intermediate_size,
                     "bias", card->ffn_bias);
}

static json_t *sparse(const cot_model_card *card)
{
    json_t *ffn = json_pack("{s:s, s:{s:s, s:I, s:b}, s:{s:s, s:I, s:I}}", "kind", "sparse", "router", "kind", "top_k",
                            "top_k", (json_int_t)card->top_k, "norm_topk_prob", card->norm_topk_prob, "experts", "kind",
                            "ffn", "num_experts", (json_int_t)card->num_experts, "intermediate_size",
                            (json_int_t)card->moe_intermediate_size);
    /* Theirs looks at the tokens of all sparse layers as one batch, ours is added up over layers: at balance both are
     * the same. */
    const double coef = card->router_aux_loss_coef / (double)(card->num_layers - cot_layer_count(&card->dense));
    if (ffn && coef > 0)
        json_object_set_new(ffn, "balance",
                            json_pack("[{s:s, s:f, s:b}]", "kind", "aux", "coef", coef, "divide_by_k", 0));
    if (ffn && card->shared_intermediate_size > 0)
        json_object_set_new(ffn, "shared",
                            json_pack("{s:I, s:s}", "intermediate_size", (json_int_t)card->shared_intermediate_size,
                                      "gate", card->shared_gate ? "sigmoid" : "none"));
    return ffn;
}

/* The first evenly spaced members of a set as a slice "a:b:step"; they leave it. */
static json_t *take_slice(cot_layer_set *set, int64_t from, int64_t layers)
{
    int64_t next = from + 1, last = from;
    while (next < layers && !cot_layer_in(set, next)) next++;
    const int64_t step = next < layers ? next - from : 1;
    for (int64_t i = from; i < layers && cot_layer_in(set, i); i += step) cot_layer_remove(set, last = i);
    return json_sprintf("%lld:%lld:%lld", (long long)from, (long long)last + 1, (long long)step);
}

/* Entries {at: LAYERS, KEY: WHAT} for the layers of a set. Takes `what`. */
static bool add_entries(json_t *list, cot_layer_set set, int64_t layers, const char *key, json_t *what)
{
    bool done = what != NULL;
    for (int64_t i = 0; done && i < layers; i++) {
        if (!cot_layer_in(&set, i)) continue;
        json_t *entry = json_pack("{s:o, s:O}", "at", take_slice(&set, i, layers), key, what);
        done = json_array_append_new(list, entry) == 0;
    }
    json_decref(what);
    return done;
}

static json_t *describe(const cot_model_card *card)
{
    json_t *layers = json_array();
    const bool done = layers
                      && add_entries(layers, card->dense, card->num_layers, "ffn", dense(card))
                      && add_entries(layers, card->full_attention, card->num_layers, "mixer", mixer(card, false));
    if (!done) {
        json_decref(layers);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:I, s:f, s:b, s:f, s:o, s:o, s:o}", "kind", "lm", "hidden_size",
                     (json_int_t)card->hidden_size, "num_layers", (json_int_t)card->num_layers, "rms_norm_eps",
                     card->rms_norm_eps, "tie_word_embeddings", card->tie_word_embeddings, "init_std",
                     card->initializer_range, "mixer", mixer(card, true), "ffn",
                     card->num_experts ? sparse(card) : dense(card), "layers", layers);
}

cot_status cot_card_section(const cot_model_card *card, const char *file, cot_config **out)
{
    json_t *root = describe(card);
    char *text = root ? json_dumps(root, JSON_REAL_PRECISION(COT_JSON_DIGITS)) : NULL;
    json_decref(root);
    const cot_status status = text ? cot_config_parse(text, file, out) : cot_keys_no_memory();
    free(text);
    return status;
}
