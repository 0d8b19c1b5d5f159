/* Merging one pre-token's bytes into tokens. */
#ifndef COT_DATA_TOKENIZERS_BPE_H
#define COT_DATA_TOKENIZERS_BPE_H

#include <stddef.h>
#include <stdint.h>

#include <coterie/tokenizer.h>

/* Encodes one pre-token: the merge of lowest rank goes first, the leftmost of these, until none is left.
 *
 *   ids   [length] out, of which *count are used
 *
 * Errors   COT_INVALID for a byte without a token or 2^31 bytes and more; COT_OUT_OF_MEMORY (long ones only). */
cot_status cot_bpe_encode(const cot_tokenizer *tokenizer, const char *bytes, size_t length, int32_t *ids,
                          size_t *count);

#endif
