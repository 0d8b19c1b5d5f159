/* Dialects: what each published model family calls our parameters, sizes and settings.
 *
 * We have one set of internal names, stacks and layouts:
 *     embed.weight [V, D]      head.weight [V, D] (absent when tied)      final_norm.weight [D]
 *     layers.{i}.mixer_norm.weight [D]              layers.{i}.ffn_norm.weight [D]
 *     layers.{i}.mixer.qkv.weight [q + k + v rows, D], .qkv.bias, .q_norm.weight, .k_norm.weight [d_h], .out.weight
 *     layers.{i}.ffn.gate_up.weight [2F, D], .ffn.down.weight [D, F]
 *     layers.{i}.ffn.router.weight [E, D], .ffn.experts.gate_up [E, 2F, D], .ffn.experts.down [E, D, F]
 *     layers.{i}.ffn.shared.gate_up.weight, .shared.down.weight, .shared.gate.weight [1, D]
 * A dialect is two tables: one maps each internal tensor to published ones, the other a config.json's keys to a model
 * card. To add a family, write one file with its tables and add one line to dialects.def. */
#ifndef COT_FORMATS_DIALECT_H
#define COT_FORMATS_DIALECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>

#include "formats/safetensors.h"
#include "tensor/params.h"

enum { COT_MAX_EOS = 8, COT_TENSOR_NAME = 256 };

/* What a config.json says about a decoder, in published words. 0 and false mean "none" unless said otherwise; start
 * from cot_model_card_empty(). */
typedef struct {
    int64_t vocab_size, hidden_size, num_layers, max_position;
    int64_t num_heads, num_kv_heads, head_dim;
    int64_t intermediate_size;           /* of dense layers; 0 when there are none */
    int64_t num_experts, top_k;          /* num_experts 0: a dense model */
    int64_t moe_intermediate_size;       /* of one expert */
    int64_t shared_intermediate_size;    /* of the shared expert */
    int64_t sliding_window;              /* tokens that one sees, itself included */
    int64_t dense_layers;                /* how many layers are dense although num_experts > 0 */
    double  rope_theta, rms_norm_eps;
    double  initializer_range;           /* standard deviation of the first weights */
    double  router_aux_loss_coef;
    bool    norm_topk_prob;              /* gates of a token are made to sum to 1 */
    bool    shared_gate;                 /* the shared expert has a sigmoid gate */
    bool    tie_word_embeddings, attention_bias, qk_norm;
    int64_t bos_token_id, pad_token_id;  /* -1: none */
    int64_t eos_token_id[COT_MAX_EOS];
    int64_t eos_count;
    cot_dtype   dtype;                   /* of the stored weights */
    const char *beyond;                  /* what the model has that no published family does, in a few words; or NULL */
    const cot_config *model;             /* our own full description, stored word for word under "coterie"; or NULL */
} cot_model_card;

cot_model_card cot_model_card_empty(void);

/* ---- the tables ---- */

/* Which rows of an internal tensor (of one expert of it) a published one holds. */
typedef enum { COT_PART_WHOLE, COT_PART_Q, COT_PART_K, COT_PART_V, COT_PART_GATE, COT_PART_UP } cot_part;

typedef struct {
    const char *ours;       /* pattern: {i} stands for a layer; NULL ends a table */
    const char *published;  /* the same, and {e} for an expert: then the first dimension of ours counts experts */
    cot_part    part;
} cot_dialect_tensor;

typedef enum {
    COT_KEY_INT,       /* a whole number of the card, from 1 */
    COT_KEY_OPTIONAL,  /* the same; null is 0, and 0 is written as null */
    COT_KEY_ID,        /* the same with -1 */
    COT_KEY_REAL,
    COT_KEY_BOOL,
    COT_KEY_IMPLIED,   /* a bool that the family does not write down: always `absent` */
    COT_KEY_FIXED,     /* models of the family differ in it, ours do not: `text` is written, all else refused */
} cot_key_kind;

typedef struct {
    const char  *key;      /* in config.json; NULL ends a table */
    cot_key_kind kind;
    size_t       offset;   /* of the card's field */
    double       absent;   /* its value when the key is missing; a COT_KEY_INT of 0 must be there */
    const char  *text;     /* COT_KEY_FIXED: the value as JSON */
} cot_dialect_key;

#define COT_KEY(json_key, kind_, field, absent_) \
    {.key = (json_key), .kind = COT_KEY_##kind_, .offset = offsetof(cot_model_card, field), .absent = (absent_)}
#define COT_KEY_MUST_BE(json_key, text_) {.key = (json_key), .kind = COT_KEY_FIXED, .text = (text_)}

typedef struct {
    const char *model_type;    /* in config.json, e.g. "llama" */
    const char *architecture;  /* e.g. "LlamaForCausalLM" */
    const cot_dialect_tensor *tensors;
    const cot_dialect_key    *keys;
    const char *const        *ignored;  /* patterns of published tensors that tell us nothing; NULL ends the list */
    double rope_theta;                  /* where config.json names none */
    bool   keeps_unknown;               /* internal tensors without a row are stored under their internal name */
    const char *(*misfit)(const cot_model_card *card);  /* why the family has no place for the model, or NULL */
} cot_dialect;

/* The rows and keys that all decoder families share. */
#define COT_DIALECT_DECODER                                                                                     \
    {"embed.weight", "model.embed_tokens.weight", COT_PART_WHOLE},                                              \
    {"layers.{i}.mixer_norm.weight", "model.layers.{i}.input_layernorm.weight", COT_PART_WHOLE},                \
    {"layers.{i}.mixer.qkv.weight", "model.layers.{i}.self_attn.q_proj.weight", COT_PART_Q},                    \
    {"layers.{i}.mixer.qkv.weight", "model.layers.{i}.self_attn.k_proj.weight", COT_PART_K},                    \
    {"layers.{i}.mixer.qkv.weight", "model.layers.{i}.self_attn.v_proj.weight", COT_PART_V},                    \
    {"layers.{i}.mixer.out.weight", "model.layers.{i}.self_attn.o_proj.weight", COT_PART_WHOLE},                \
    {"layers.{i}.ffn_norm.weight", "model.layers.{i}.post_attention_layernorm.weight", COT_PART_WHOLE},         \
    {"final_norm.weight", "model.norm.weight", COT_PART_WHOLE},                                                 \
    {"head.weight", "lm_head.weight", COT_PART_WHOLE}
#define COT_DIALECT_DENSE                                                                                       \
    {"layers.{i}.ffn.gate_up.weight", "model.layers.{i}.mlp.gate_proj.weight", COT_PART_GATE},                  \
    {"layers.{i}.ffn.gate_up.weight", "model.layers.{i}.mlp.up_proj.weight", COT_PART_UP},                      \
    {"layers.{i}.ffn.down.weight", "model.layers.{i}.mlp.down_proj.weight", COT_PART_WHOLE}

/* ---- finding one ---- */

const cot_dialect *cot_dialect_at(size_t index);                /* NULL past the end */
const cot_dialect *cot_dialect_find(const char *model_type);    /* NULL when unknown */

/* The dialect in which a model is published: the first of dialects.def that has a place for the card and a name for
 * every parameter; our own has for all. */
const cot_dialect *cot_dialect_for(const cot_model_card *card, const cot_params *params);

/* ---- tensors ---- */

/* One published tensor and where it lies in the internal one: `count` elements from `first` on. */
typedef struct {
    char    name[COT_TENSOR_NAME];
    int32_t rank;
    int64_t shape[COT_MAX_RANK];
    int64_t first, count;
} cot_piece;

typedef cot_status (*cot_piece_visitor)(void *context, const cot_piece *piece);

/* Calls visit for each published tensor that `name` [spec->shape] is stored as; stops at the first failure. The rows
 * of q, k and v are spec->row_part where there are three, else they go by the card's heads.
 * Errors: COT_NOT_FOUND when the dialect has no name for it; COT_SHAPE_MISMATCH when its rows do not divide. */
cot_status cot_dialect_pieces(const cot_dialect *dialect, const cot_model_card *card, const char *name,
                              const cot_param_spec *spec, cot_piece_visitor visit, void *context);

/* Has the dialect a name for it? */
bool cot_dialect_knows(const cot_dialect *dialect, const char *name);

/* Does `text` follow `pattern`? Numbers of {i} and {e} go to *i and *e. */
bool cot_pattern_match(const char *pattern, const char *text, int64_t *i, int64_t *e);

/* The pattern with numbers in its holes; false when it does not fit. */
bool cot_pattern_fill(const char *pattern, int64_t i, int64_t e, char *out, size_t size);

#endif
