/* The tokenizer that a recipe's data block asks for: read from a file, or trained on the training text and cached. */
#ifndef COT_DATA_RECIPE_TOKENIZER_H
#define COT_DATA_RECIPE_TOKENIZER_H

#include <coterie/data.h>

#include "base/options.h"

extern const cot_option cot_tokenizer_section_options[];  /* what `tokenizer: {...}` may set */

/* `tokenizer:` is {kind: bpe, vocab_size: 2048} (trained on the training split, kept in the cache folder), {path: FILE
 * OR FOLDER}, or a path alone. Without it: that of the model `folder` (or a checkpoint of llama2.c); without one (NULL)
 * bpe of 2048. kind: random has none (*out is NULL).
 *
 * *keep is NULL, or after training the folder that it is to be kept in: for cot_recipe_tokenizer_keep() when the whole
 * corpus has turned out to be readable, so that nothing is written for one that is not.
 *
 * Errors   the options' with file and line; those of reading text and of the tokenizer. */
cot_status cot_recipe_tokenizer(const cot_config *data, const char *folder, cot_data_progress progress, void *context,
                                cot_tokenizer **out, char **keep);

/* Writes the tokenizer there; where that fails it is trained again next time. Frees `folder`, which may be NULL. */
void cot_recipe_tokenizer_keep(const cot_tokenizer *tokenizer, char *folder);

#endif
