/* A model: its architecture, parameters and what it costs. */
#ifndef COTERIE_MODEL_H
#define COTERIE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>
#include <coterie/status.h>
#include <coterie/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cot_model cot_model;

/**
 * Declares a model from the `model` section of a recipe. Takes no memory for parameters yet, so that shapes, sizes and costs can be
 * looked at first.
 *
 *   section      the map {kind: lm, hidden_size: ...}; copied
 *   vocab_size   symbols, 1 or more
 *   context      longest sequence that it is meant for, in tokens
 *
 * Errors   COT_INVALID, COT_NOT_FOUND with file, line and key for anything that cannot work (heads that do not divide the width,
 *          top_k > num_experts, unknown kinds and keys).
 */
COT_API cot_status cot_model_create(const cot_config *section, int64_t vocab_size, int64_t context, cot_model **out);

/** Frees a model; accepts NULL. */
COT_API void cot_model_destroy(cot_model *model);

/**
 * Takes memory for the parameters and draws their start from `seed`.
 *
 * Errors   COT_OUT_OF_MEMORY with the size that was asked for.
 */
COT_API cot_status cot_model_initialise(cot_model *model, uint64_t seed);

/**
 * Loads a model folder (config.json, model.safetensors or shards, tokenizer.json), or a checkpoint of llama2.c, version 0
 * (a file whose name ends in .bin; its tokenizer is tokV.bin or tokenizer.bin beside it, V being the vocabulary's size).
 *
 *   tokenizer   out; may be NULL when it is not wanted. A model without a tokenizer gives NULL.
 *
 * Errors   COT_IO, COT_FORMAT, COT_NOT_FOUND naming file and place.
 */
COT_API cot_status cot_model_load(const char *path, cot_model **out, cot_tokenizer **tokenizer);

/**
 * Writes model.safetensors, config.json, generation_config.json and, when `tokenizer` is not NULL, tokenizer.json and
 * tokenizer_config.json. Each file is written under a temporary name and renamed. Names and keys are those of the first published
 * family that has a place for the model, else our own (cot_model_format_at(), docs/formats.md).
 */
COT_API cot_status cot_model_save(const cot_model *model, const cot_tokenizer *tokenizer, const char *folder);

/** What a model is and costs. A multiply-add counts as two FLOPs; attention counts its causal half. */
typedef struct {
    const char *kind;                     /**< "lm" */
    const char *published_as;             /**< "llama", "mixtral", ...: the family whose names its files use when saved */
    const char *stored_as;                /**< the same of the folder that it was loaded from; NULL: from none */
    int64_t     vocab_size, context, hidden_size, num_layers, sparse_layers;
    int64_t     parameters_total, parameters_active;  /**< active: touched by one token */
    double      flops_forward;            /**< per token, mean over the positions of `context` */
    double      flops_training;           /**< 3 times forward */
    double      flops_recompute;          /**< more per token when activations are recomputed: one forward of the layers */
    int64_t     parameters_experts;       /**< in pools of experts, */
    int64_t     bytes_experts;            /**< ... their bytes as kept for inference, */
    int64_t     bytes_experts_training;   /**< ... and with gradients (tables by touched row have none) and two moments */
    int64_t     bytes_serving;            /**< parameters as kept for inference (f32; rows in bf16 where so asked), and the keys and values of one context */
    int64_t     bytes_training;           /**< parameters, gradients, two moments; without activations */
} cot_model_info;

/** Describes a model at a context; `context` 0 = its own. */
COT_API cot_model_info cot_model_describe(const cot_model *model, int64_t context);

/** A format that model folders have: a published family's, or our own. */
typedef struct {
    const char *model_type;               /**< "mixtral" */
    const char *architecture;             /**< "MixtralForCausalLM" */
    char        misfit[256];              /**< why it has no place for the model, e.g. "it has no experts"; "" = it has */
} cot_model_format;

/** The index-th format in the order in which they are tried; false past the end. A model is saved in the first that fits. */
COT_API bool cot_model_format_at(const cot_model *model, size_t index, cot_model_format *out);

/** One sparse or dense layer in words, e.g. "attention with 6 heads of 64; 16 experts of 512, 2 per token (top_k router)"; `text` gets at most `size` bytes. */
COT_API void cot_model_layer_text(const cot_model *model, int64_t layer, char *text, size_t size);

/** Experts of a layer; 0 for a dense one. */
COT_API int64_t cot_model_layer_experts(const cot_model *model, int64_t layer);

/** n of a layer whose n * n experts are pairs of sub-keys (expert i * n + j that of i and j); 0 for others. */
COT_API int64_t cot_model_layer_sub_keys(const cot_model *model, int64_t layer);

/** The `model` section that it was made from, borrowed. */
COT_API const cot_config *cot_model_section(const cot_model *model);

/** Visits parameters: name, shape (rank entries), and whether it is trained. Returns false past the end. */
COT_API bool cot_model_parameter(const cot_model *model, size_t index, const char **name, int *rank, int64_t shape[4]);

#ifdef __cplusplus
}
#endif

#endif
