/* Dialects: what each published model family calls our parameters, sizes and settings.
 *
 * We have one set of internal names, stacks and layouts:
 *     embed.weight [V, D]      head.weight [V, D] (absent when tied)      final_norm.weight [D]
 *     layers.{i}.mixer_norm.weight [D]              layers.{i}.ffn_norm.weight [D]
 *     layers.{i}.mixer.qkv.weight [q + k + v rows, D], .qkv.bias, .out.weight, .out.bias
 *     layers.{i}.mixer.q_norm.weight, .k_norm.weight [d_h], or [q rows] and [k rows] for norms over the vector
 *     layers.{i}.ffn.gate_up.weight [2F, D], .gate_up.bias, .ffn.down.weight [D, F], .down.bias
 *     layers.{i}.ffn.router.weight [E, D], .ffn.experts.gate_up [E, 2F, D], .ffn.experts.down [E, D, F]
 *     layers.{i}.ffn.shared.gate_up.weight, .shared.down.weight, .shared.gate.weight [1, D]
 * A dialect is three tables: which traits its models have, which published tensors each internal one is stored as, and
 * the keys of its config.json. Writing, reading, `coterie info` and the tables of docs/formats.md all go by them. To
 * add a family, write one file with its tables and add one line to dialects.def. */
#ifndef COT_FORMATS_DIALECT_H
#define COT_FORMATS_DIALECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>

#include "base/rope.h"
#include "formats/safetensors.h"
#include "tensor/params.h"

enum { COT_MAX_EOS = 8, COT_TENSOR_NAME = 256, COT_MAX_LAYERS = 1024 };

/* Which layers, out of COT_MAX_LAYERS. */
typedef struct {
    uint64_t bits[COT_MAX_LAYERS / 64];
} cot_layer_set;

static inline uint64_t cot_layer_bit(int64_t layer) { return (uint64_t)1 << layer % 64; }
static inline bool     cot_layer_in(const cot_layer_set *set, int64_t layer)
{
    return set->bits[layer / 64] & cot_layer_bit(layer);
}
static inline void cot_layer_add(cot_layer_set *set, int64_t layer) { set->bits[layer / 64] |= cot_layer_bit(layer); }
static inline void cot_layer_remove(cot_layer_set *set, int64_t layer)
{
    set->bits[layer / 64] &= ~cot_layer_bit(layer);
}
int64_t            cot_layer_count(const cot_layer_set *set);

/* Tokens that begin, fill and end a text. */
typedef struct {
    int64_t bos_token_id, pad_token_id;  /* -1: none */
    int64_t eos_token_id[COT_MAX_EOS];
    int64_t eos_count;
} cot_text_ids;

static inline cot_text_ids cot_text_ids_none(void)
{
    return (cot_text_ids){.bos_token_id = -1, .pad_token_id = -1};
}
bool cot_text_ids_end(const cot_text_ids *ids, int64_t token);  /* does it end a text? */

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
    cot_layer_set full_attention;        /* layers that see all although sliding_window > 0 */
    cot_layer_set dense;                 /* layers without experts although num_experts > 0 */
    double  rope_theta, rms_norm_eps;
    cot_rope_scaling rope;
    double  initializer_range;           /* standard deviation of the first weights */
    double  router_aux_loss_coef;
    bool    norm_topk_prob;              /* gates of a token are made to sum to 1 */
    bool    shared_gate;                 /* the shared expert has a sigmoid gate */
    bool    tie_word_embeddings;
    bool    qkv_bias, output_bias;       /* of attention */
    bool    ffn_bias;                    /* of dense layers */
    bool    head_norms, vector_norms;    /* of q and k: for each head, or over all heads of the kind */
    cot_text_ids ids;
    cot_dtype   dtype;                   /* of the stored weights */
    const char *beyond;                  /* what the model has that no published family does, in a few words; or NULL */
    const cot_config *model;             /* our own full description, stored word for word under "coterie"; or NULL */
} cot_model_card;

cot_model_card cot_model_card_empty(void);

/* ---- the tables ---- */

/* What sets families apart, with words that follow "it has" or "it has no". */
#define COT_TRAIT_LIST(X)                                                                                     \
    X(EXPERTS, "experts")                                                                                     \
    X(DENSE_BETWEEN, "dense layers between sparse ones")                                                      \
    X(UNIT_GATES, "gates that are made to sum to 1")                                                          \
    X(RAW_GATES, "gates that are probabilities as they are")                                                  \
    X(SHARED, "a shared expert with a sigmoid gate")                                                          \
    X(PLAIN_SHARED, "a shared expert without a gate")                                                         \
    X(QKV_BIAS, "biases on q, k and v alone")                                                                 \
    X(OUTPUT_BIAS, "a bias on attention's output alone")                                                      \
    X(ALL_BIASES, "biases on q, k, v and the output")                                                         \
    X(FFN_BIAS, "biases in dense feed-forwards")                                                              \
    X(HEAD_NORMS, "norms of q and k for each head")                                                           \
    X(VECTOR_NORMS, "norms of q and k over the vector")                                                       \
    X(WINDOW, "a sliding window in every layer")                                                              \
    X(SOME_WINDOWS, "a sliding window in some layers")                                                        \
    X(HEAD_DIM, "a head_dim that is not hidden_size / num_heads")                                             \
    X(SCALED_ROPE, "scaled rotary positions")                                                                 \
    X(NO_ROPE, "no rotary positions")

typedef enum {
#define X(id, text) COT_TRAIT_INDEX_##id,
    COT_TRAIT_LIST(X)
#undef X
    COT_TRAITS
} cot_trait_index;

enum {
#define X(id, text) COT_TRAIT_##id = 1 << COT_TRAIT_INDEX_##id,
    COT_TRAIT_LIST(X)
#undef X
};

const char *cot_trait_text(int index);
uint32_t    cot_card_traits(const cot_model_card *card);

/* Why a format whose models must and may have these traits has no place for the card, in words such as
 * "it has experts", into reason [size]; false when it has. */
bool cot_traits_misfit(uint32_t must, uint32_t may, const cot_model_card *card, char *reason, size_t size);

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
    COT_KEY_USED,      /* a bool: does the whole number of an earlier row count? If not it becomes 0 */
    COT_KEY_LAYERS,    /* a list of layers: adds them to a set */
    COT_KEY_STEP,      /* a whole number n, written as 1: adds all but every n-th layer to a set */
    COT_KEY_LAYER_TYPES,  /* a kind of attention for each layer: adds "full_attention" to a set. A window needs it */
    COT_KEY_FIXED,     /* models of the family differ in it, ours do not: `text` is written, all else refused */
} cot_key_kind;

typedef struct {
    const char  *key;      /* in config.json; NULL ends a table */
    cot_key_kind kind;
    size_t       offset;   /* of the card's field */
    double       absent;   /* its value when the key is missing; a COT_KEY_INT of 0 must be there */
    const char  *text;     /* COT_KEY_FIXED: the value as JSON */
    const char  *also;     /* another name that readers know, or NULL */
    const char  *field;    /* the card's word for it */
} cot_dialect_key;

#define COT_KEY(json_key, kind_, field_, absent_) \
    {.key = (json_key), .kind = COT_KEY_##kind_, .offset = offsetof(cot_model_card, field_), .absent = (absent_), \
     .field = #field_}
#define COT_KEY_ALSO(json_key, also_, kind_, field_, absent_) \
    {.key = (json_key), .kind = COT_KEY_##kind_, .offset = offsetof(cot_model_card, field_), .absent = (absent_), \
     .also = (also_), .field = #field_}
#define COT_KEY_MUST_BE(json_key, text_) {.key = (json_key), .kind = COT_KEY_FIXED, .text = (text_)}

typedef struct {
    const char *model_type;    /* in config.json, e.g. "llama" */
    const char *architecture;  /* e.g. "LlamaForCausalLM" */
    const char *source;        /* key in docs/references.bib, or NULL */
    uint32_t    must, may;     /* traits (COT_TRAIT_...) that a model of the family has, and may have */
    const cot_dialect_tensor *tensors;
    const cot_dialect_tensor *joined;   /* other names in which some versions store whole internal tensors, or NULL */
    const cot_dialect_key    *keys;
    const char *const        *ignored;  /* patterns of published tensors that tell us nothing; NULL ends the list */
    double rope_theta;                  /* where config.json names none */
    bool   keeps_unknown;               /* takes every model: internal tensors without a row keep their internal name */
} cot_dialect;

/* Tensors of published folders that tell us nothing: a tied output matrix, and what follows from the configuration. */
extern const char *const cot_dialect_ignored[];

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
#define COT_DIALECT_QKV_BIAS                                                                                    \
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.q_proj.bias", COT_PART_Q},                        \
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.k_proj.bias", COT_PART_K},                        \
    {"layers.{i}.mixer.qkv.bias", "model.layers.{i}.self_attn.v_proj.bias", COT_PART_V}
#define COT_DIALECT_OUTPUT_BIAS {"layers.{i}.mixer.out.bias", "model.layers.{i}.self_attn.o_proj.bias", COT_PART_WHOLE}
#define COT_DIALECT_QK_NORMS                                                                                    \
    {"layers.{i}.mixer.q_norm.weight", "model.layers.{i}.self_attn.q_norm.weight", COT_PART_WHOLE},             \
    {"layers.{i}.mixer.k_norm.weight", "model.layers.{i}.self_attn.k_norm.weight", COT_PART_WHOLE}
#define COT_DIALECT_DENSE                                                                                       \
    {"layers.{i}.ffn.gate_up.weight", "model.layers.{i}.mlp.gate_proj.weight", COT_PART_GATE},                  \
    {"layers.{i}.ffn.gate_up.weight", "model.layers.{i}.mlp.up_proj.weight", COT_PART_UP},                      \
    {"layers.{i}.ffn.down.weight", "model.layers.{i}.mlp.down_proj.weight", COT_PART_WHOLE}
#define COT_DIALECT_DENSE_BIAS                                                                                  \
    {"layers.{i}.ffn.gate_up.bias", "model.layers.{i}.mlp.gate_proj.bias", COT_PART_GATE},                      \
    {"layers.{i}.ffn.gate_up.bias", "model.layers.{i}.mlp.up_proj.bias", COT_PART_UP},                          \
    {"layers.{i}.ffn.down.bias", "model.layers.{i}.mlp.down_proj.bias", COT_PART_WHOLE}
#define COT_DIALECT_EXPERTS                                                                                     \
    {"layers.{i}.ffn.router.weight", "model.layers.{i}.mlp.gate.weight", COT_PART_WHOLE},                       \
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.mlp.experts.{e}.gate_proj.weight", COT_PART_GATE},     \
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.mlp.experts.{e}.up_proj.weight", COT_PART_UP},         \
    {"layers.{i}.ffn.experts.down", "model.layers.{i}.mlp.experts.{e}.down_proj.weight", COT_PART_WHOLE}
#define COT_DIALECT_SHARED                                                                                      \
    {"layers.{i}.ffn.shared.gate_up.weight", "model.layers.{i}.mlp.shared_expert.gate_proj.weight", COT_PART_GATE}, \
    {"layers.{i}.ffn.shared.gate_up.weight", "model.layers.{i}.mlp.shared_expert.up_proj.weight", COT_PART_UP}, \
    {"layers.{i}.ffn.shared.down.weight", "model.layers.{i}.mlp.shared_expert.down_proj.weight", COT_PART_WHOLE}, \
    {"layers.{i}.ffn.shared.gate.weight", "model.layers.{i}.mlp.shared_expert_gate.weight", COT_PART_WHOLE}
/* transformers 5 joins a layer's experts in memory, and in files when asked to (save_original_format=False). */
#define COT_DIALECT_JOINED                                                                                      \
    {"layers.{i}.ffn.router.weight", "model.layers.{i}.mlp.gate.weight", COT_PART_WHOLE},                       \
    {"layers.{i}.ffn.experts.gate_up", "model.layers.{i}.mlp.experts.gate_up_proj", COT_PART_WHOLE},            \
    {"layers.{i}.ffn.experts.down", "model.layers.{i}.mlp.experts.down_proj", COT_PART_WHOLE}
#define COT_DIALECT_END {NULL, NULL, COT_PART_WHOLE}

/* Keys of every family's shape, with the defaults of absent ones. */
#define COT_KEYS_DECODER(vocab_, hidden_, layers_, heads_, kv_heads_, position_, eps_)                          \
    COT_KEY("vocab_size", INT, vocab_size, vocab_),                                                             \
    COT_KEY("hidden_size", INT, hidden_size, hidden_),                                                          \
    COT_KEY("num_hidden_layers", INT, num_layers, layers_),                                                     \
    COT_KEY("num_attention_heads", INT, num_heads, heads_),                                                     \
    COT_KEY("num_key_value_heads", OPTIONAL, num_kv_heads, kv_heads_),                                          \
    COT_KEY("head_dim", OPTIONAL, head_dim, 0),                                                                 \
    COT_KEY("max_position_embeddings", INT, max_position, position_),                                           \
    COT_KEY("initializer_range", REAL, initializer_range, 0.02),                                                \
    COT_KEY("rms_norm_eps", REAL, rms_norm_eps, eps_),                                                          \
    COT_KEY("tie_word_embeddings", BOOL, tie_word_embeddings, 0)

/* ---- finding one ---- */

const cot_dialect *cot_dialect_at(size_t index);                /* NULL past the end */
const cot_dialect *cot_dialect_find(const char *model_type);    /* NULL when unknown */

/* The same for a family: the card's traits must fit and every parameter have a name. params may be NULL. */
bool cot_dialect_misfit(const cot_dialect *dialect, const cot_model_card *card, const cot_params *params, char *reason,
                        size_t size);

/* The dialect in which a model is published: the first of dialects.def that has a place for it; our own has for all. */
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

/* The other name under which a whole internal tensor may be stored, into out [size]; false when there is none. */
bool cot_dialect_joined_name(const cot_dialect *dialect, const char *name, char *out, size_t size);

/* One piece: the whole tensor under that name. */
cot_status cot_dialect_whole(const char *published, const cot_param_spec *spec, cot_piece_visitor visit, void *context);

/* Has the dialect a name for it? */
bool cot_dialect_knows(const cot_dialect *dialect, const char *name);

/* Does `text` follow `pattern`? Numbers of {i} and {e} go to *i and *e. */
bool cot_pattern_match(const char *pattern, const char *text, int64_t *i, int64_t *e);

/* The pattern with numbers in its holes; false when it does not fit. */
bool cot_pattern_fill(const char *pattern, int64_t i, int64_t e, char *out, size_t size);

#endif
