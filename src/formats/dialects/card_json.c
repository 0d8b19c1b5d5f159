#include "formats/dialects/card_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "formats/dialects/card_keys.h"
#include "formats/json.h"

/* Keys of every family; what differs between them is in their tables. */
static const cot_dialect_key shared_keys[] = {
    COT_KEY_MUST_BE("hidden_act", "\"silu\""),
    COT_KEY("bos_token_id", ID, ids.bos_token_id, -1),
    COT_KEY("pad_token_id", ID, ids.pad_token_id, -1),
    {.key = NULL},
};

static const char *const type_names[] = {
    [COT_F64] = "float64", [COT_F32] = "float32", [COT_BF16] = "bfloat16", [COT_F16] = "float16"};

/* ---- to JSON ---- */

static json_t *id_value(int64_t id) { return id < 0 ? json_null() : json_integer(id); }

static json_t *eos_value(const cot_text_ids *ids)
{
    if (ids->eos_count == 0) return json_null();
    if (ids->eos_count == 1) return json_integer(ids->eos_token_id[0]);
    json_t *list = json_array();
    for (int64_t i = 0; i < ids->eos_count; i++) json_array_append_new(list, json_integer(ids->eos_token_id[i]));
    return list;
}

cot_status cot_card_ids_to_json(const cot_model_card *card, json_t *root)
{
    if (card->ids.bos_token_id >= 0 && json_object_set_new(root, "bos_token_id", id_value(card->ids.bos_token_id)) != 0)
        return cot_keys_no_memory();
    if (card->ids.eos_count > 0 && json_object_set_new(root, "eos_token_id", eos_value(&card->ids)) != 0)
        return cot_keys_no_memory();
    if (card->ids.pad_token_id >= 0 && json_object_set_new(root, "pad_token_id", id_value(card->ids.pad_token_id)) != 0)
        return cot_keys_no_memory();
    return COT_OK;
}

cot_status cot_card_to_json(const cot_dialect *dialect, const cot_model_card *card, json_t *root)
{
    const char *type = type_names[card->dtype];
    json_t *head = json_pack("{s:[s], s:s}", "architectures", dialect->architecture, "model_type", dialect->model_type);
    json_t *tail =
        json_pack("{s:o, s:s, s:s}", "eos_token_id", eos_value(&card->ids), "torch_dtype", type, "dtype", type);
    const bool done = head && tail && json_object_update(root, head) == 0 && cot_keys_put(dialect->keys, card, root)
                      && cot_keys_put(shared_keys, card, root) && cot_rope_put(card, root)
                      && json_object_update(root, tail) == 0;
    json_decref(head);
    json_decref(tail);
    return done ? COT_OK : cot_keys_no_memory();
}

/* Numbers as they are written. */
static char *architecture_text(const cot_dialect *dialect, const cot_model_card *card)
{
    cot_model_card c = *card;
    c.ids = cot_text_ids_none();
    c.dtype = COT_F32;
    c.router_aux_loss_coef = c.initializer_range = 0;
    json_t *root = json_object();
    const bool done = root && cot_card_to_json(dialect, &c, root) == COT_OK;
    char *text = done ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(COT_JSON_DIGITS)) : NULL;
    json_decref(root);
    return text;
}

cot_status cot_cards_agree(const cot_dialect *dialect, const cot_model_card *a, const cot_model_card *b, bool *agree)
{
    char *text[2] = {architecture_text(dialect, a), architecture_text(dialect, b)};
    const cot_status status = text[0] && text[1] ? COT_OK : cot_keys_no_memory();
    *agree = status == COT_OK && strcmp(text[0], text[1]) == 0;
    free(text[0]);
    free(text[1]);
    return status;
}

/* ---- from JSON ---- */

/* One id or a list of them. */
cot_status cot_card_eos_from_json(const json_t *root, const char *file, cot_text_ids *ids)
{
    const cot_json_place at = {.file = file};
    static const char key[] = "eos_token_id";
    const json_t *value = json_object_get(root, key);
    const size_t count = json_is_array(value) ? json_array_size(value) : value && !json_is_null(value);
    if (count > COT_MAX_EOS)
        return cot_fail(COT_FORMAT, "'%s': eos_token_id lists %zu tokens, expected at most %d", file, count,
                        COT_MAX_EOS);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_is_array(value) ? json_array_get(value, i) : value;
        COT_TRY(cot_json_int(&at, key, id, 0, &ids->eos_token_id[i]));
    }
    ids->eos_count = (int64_t)count;
    return COT_OK;
}

static void read_type(const json_t *root, cot_model_card *card)
{
    const char *name = json_string_value(json_object_get(root, "dtype"));
    if (!name) name = json_string_value(json_object_get(root, "torch_dtype"));
    for (size_t i = 0; name && i < sizeof type_names / sizeof *type_names; i++)
        if (strcmp(type_names[i], name) == 0) card->dtype = (cot_dtype)i;
}

/* What follows from other sizes, and whether they fit together. */
static cot_status settle_heads(const cot_json_place *at, cot_model_card *card)
{
    if (card->num_heads < 1) return COT_OK;  /* ours may be without attention */
    if (card->num_kv_heads == 0) card->num_kv_heads = card->num_heads;
    if (card->num_heads % card->num_kv_heads != 0)
        return cot_fail(COT_FORMAT,
                        "'%s': num_key_value_heads is %lld, expected a divisor of num_attention_heads, %lld", at->file,
                        (long long)card->num_kv_heads, (long long)card->num_heads);
    if (card->head_dim == 0 && card->hidden_size % card->num_heads != 0)
        return cot_fail(COT_FORMAT,
                        "'%s': num_attention_heads is %lld, expected a divisor of hidden_size, %lld, or a head_dim",
                        at->file, (long long)card->num_heads, (long long)card->hidden_size);
    if (card->head_dim == 0) card->head_dim = card->hidden_size / card->num_heads;
    if (card->num_experts > 0 && card->top_k > card->num_experts)
        return cot_fail(COT_FORMAT, "'%s': num_experts_per_tok is %lld, but there are only %lld experts", at->file,
                        (long long)card->top_k, (long long)card->num_experts);
    return COT_OK;
}

/* A set of layers says nothing where there is nothing to choose. */
static void settle_layers(cot_model_card *card)
{
    if (cot_layer_count(&card->dense) == card->num_layers) card->num_experts = 0;
    if (cot_layer_count(&card->full_attention) == card->num_layers) card->sliding_window = 0;
    if (card->num_experts == 0) {
        card->top_k = card->moe_intermediate_size = card->shared_intermediate_size = 0;
        card->norm_topk_prob = card->shared_gate = false;
        card->dense = (cot_layer_set){{0}};
    }
    if (card->sliding_window == 0) card->full_attention = (cot_layer_set){{0}};
}

cot_status cot_card_from_json(const cot_dialect *dialect, const json_t *root, const char *file, cot_model_card *card)
{
    const cot_json_place at = {.file = file, .model_type = dialect->model_type};
    const json_t *quantised = json_object_get(root, "quantization_config");
    *card = cot_model_card_empty();
    if (quantised && !json_is_null(quantised))
        return cot_fail(COT_FORMAT, "'%s': the weights are quantised (quantization_config), expected plain ones", file);
    COT_TRY(cot_keys_read(&at, dialect->keys, root, card));
    COT_TRY(cot_keys_read(&at, shared_keys, root, card));
    COT_TRY(cot_card_eos_from_json(root, file, &card->ids));
    read_type(root, card);
    COT_TRY(settle_heads(&at, card));
    settle_layers(card);
    return cot_rope_read(&at, root, dialect->rope_theta, card);
}
