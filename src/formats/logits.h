/* Token ids in, logits out: what one engine hands another to be compared. */
#ifndef COT_FORMATS_LOGITS_H
#define COT_FORMATS_LOGITS_H

#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#include "formats/safetensors.h"

/* Reads one JSON list of token ids, each in [0, vocab_size), from a file of at most 16 MB. The caller frees *ids with
 * cot_free().
 * Errors: COT_IO; COT_FORMAT naming the place in the list; an empty list is one. */
cot_status cot_token_ids_read(const char *path, int64_t vocab_size, int32_t **ids, size_t *count);

/* Starts a safetensors file with the single tensor "logits" [tokens, vocab_size] f32. Rows come in order by
 * cot_safetensors_writer_put(); then commit. */
cot_status cot_logits_writer_open(const char *path, int64_t tokens, int64_t vocab_size, cot_safetensors_writer **out);

/* The same in one call, from logits [tokens, vocab_size] f32. */
cot_status cot_logits_write(const char *path, const float *logits, int64_t tokens, int64_t vocab_size);

#endif
