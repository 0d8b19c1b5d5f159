/* Parts of cot_export_gguf(). */
#ifndef COT_MODELS_GGUF_EXPORT_H
#define COT_MODELS_GGUF_EXPORT_H

#include <coterie/tokenizer.h>

#include "formats/gguf.h"

/* Declares the tokenizer for a model of `vocab_size` symbols, of which those beyond the tokenizer's are unused.
 * Errors: COT_INVALID when llama.cpp would give other ids than we do; COT_OUT_OF_MEMORY. */
cot_status cot_gguf_tokenizer(cot_gguf *file, const cot_tokenizer *tokenizer, int64_t vocab_size);

#endif
