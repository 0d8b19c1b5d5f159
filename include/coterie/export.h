/* Export: a model in another program's file. */
#ifndef COTERIE_EXPORT_H
#define COTERIE_EXPORT_H

#include <coterie/model.h>

/** How weights are stored in a GGUF file. Norms, biases and routers are f32 in all of them. */
typedef enum {
    COT_EXPORT_F32,
    COT_EXPORT_F16,
    COT_EXPORT_BF16,
    COT_EXPORT_Q8_0 /**< 8 bits and a scale for 32 weights; f16 where a row does not divide by 32 */
} cot_export_type;

/** Told now and then: bytes written so far, of all. Returns false to stop (COT_STOPPED). */
typedef bool (*cot_export_progress)(void *context, uint64_t done, uint64_t total);

typedef struct {
    cot_export_type     type;
    const char         *name;     /**< what the file calls the model; NULL = "coterie" */
    cot_export_progress progress; /**< may be NULL */
    void               *context;  /**< handed to it */
} cot_export_options;

/**
 * Writes model and tokenizer as one GGUF file that llama.cpp runs.
 *
 * GGUF's `llama` architecture holds decoders of RMSNorm, rotary attention and SwiGLU whose feed-forwards are all dense,
 * or all experts behind a top-k router with gates that sum to 1.
 *
 *   path   appears whole or not at all
 *
 * Errors   COT_INVALID when the model or its tokenizer has no counterpart in GGUF (the message says what), or a weight
 *          does not fit the type; COT_STOPPED; COT_IO.
 */
COT_API cot_status cot_export_gguf(const cot_model *model, const cot_tokenizer *tokenizer, const char *path,
                                   const cot_export_options *options);

#endif
