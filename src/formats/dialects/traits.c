/* What a model has that not every family has. */
#include <stdio.h>
#include <string.h>

#include "formats/dialects/dialect.h"

int64_t cot_layer_count(const cot_layer_set *set)
{
    int64_t count = 0;
    for (int64_t i = 0; i < COT_MAX_LAYERS; i++) count += cot_layer_in(set, i);
    return count;
}

const char *cot_trait_text(int index)
{
    static const char *const texts[] = {
#define X(id, text) text,
        COT_TRAIT_LIST(X)
#undef X
    };
    return texts[index];
}

static uint32_t expert_traits(const cot_model_card *card)
{
    if (card->num_experts == 0) return 0;
    uint32_t traits = COT_TRAIT_EXPERTS | (card->norm_topk_prob ? COT_TRAIT_UNIT_GATES : COT_TRAIT_RAW_GATES);
    if (cot_layer_count(&card->dense) > 0) traits |= COT_TRAIT_DENSE_BETWEEN;
    if (card->shared_intermediate_size > 0) traits |= card->shared_gate ? COT_TRAIT_SHARED : COT_TRAIT_PLAIN_SHARED;
    return traits;
}

static uint32_t attention_traits(const cot_model_card *card)
{
    uint32_t traits = 0;
    if (card->qkv_bias) traits |= card->output_bias ? COT_TRAIT_ALL_BIASES : COT_TRAIT_QKV_BIAS;
    else if (card->output_bias) traits |= COT_TRAIT_OUTPUT_BIAS;
    if (card->head_norms) traits |= COT_TRAIT_HEAD_NORMS;
    if (card->vector_norms) traits |= COT_TRAIT_VECTOR_NORMS;
    if (card->sliding_window > 0)
        traits |= cot_layer_count(&card->full_attention) > 0 ? COT_TRAIT_SOME_WINDOWS : COT_TRAIT_WINDOW;
    if (card->num_heads > 0 && card->num_heads * card->head_dim != card->hidden_size) traits |= COT_TRAIT_HEAD_DIM;
    if (card->rope_theta <= 0) traits |= COT_TRAIT_NO_ROPE;
    else if (card->rope.rope_type != COT_ROPE_DEFAULT) traits |= COT_TRAIT_SCALED_ROPE;
    return traits;
}

uint32_t cot_card_traits(const cot_model_card *card)
{
    return expert_traits(card) | attention_traits(card) | (card->ffn_bias ? COT_TRAIT_FFN_BIAS : 0);
}

bool cot_traits_misfit(uint32_t must, uint32_t may, const cot_model_card *card, char *reason, size_t size)
{
    const uint32_t has = cot_card_traits(card);
    for (int i = 0; i < COT_TRAITS; i++) {
        const bool surplus = has >> i & ~(must | may) >> i & 1, lacks = must >> i & ~has >> i & 1;
        if (!surplus && !lacks) continue;
        const char *text = cot_trait_text(i);
        if (lacks && strncmp(text, "a ", 2) == 0) text += 2;
        snprintf(reason, size, "it has %s%s", lacks ? "no " : "", text);
        return true;
    }
    if (card->beyond) snprintf(reason, size, "it has %s", card->beyond);
    return card->beyond != NULL;
}
