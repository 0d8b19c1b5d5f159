/* Embedding: rows of a table by token id. */
#ifndef COT_OPS_EMBED_H
#define COT_OPS_EMBED_H

#include "tensor/tape.h"

/* y [T, d] real = table[ids[t], :]; table [V, d] real; ids [T] borrowed until the reset. Fails with COT_INVALID for an id outside [0, V). */
cot_tensor *cot_embed(cot_tape *tape, cot_tensor *table, const int32_t *ids, int64_t tokens);

#endif
