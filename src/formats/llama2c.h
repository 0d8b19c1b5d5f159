/* Checkpoints of llama2.c, version 0: a dense Llama in one file without names.
 *
 *     7 x i32     width D, hidden width F, layers L, heads, key heads, vocabulary V (negative: the output has its own
 *                 matrix), context
 *     f32         embedding [V, D]; of all layers at once: norm [D], q [D, D], k, v [kv, D], output [D, D], norm [D],
 *                 gate [F, D], down [D, F], up [F, D]; last norm [D]; rotary cosines and sines [context, head / 2],
 *                 which say nothing new; output matrix [V, D] where it has one
 *
 * All little-endian. Rotary positions turn rows 2j and 2j + 1 of a head, ours j and j + head / 2: reading changes their
 * places in q and k. */
#ifndef COT_FORMATS_LLAMA2C_H
#define COT_FORMATS_LLAMA2C_H

#include <stdbool.h>

#include "formats/file.h"
#include "tensor/params.h"

#define COT_LLAMA2C_EPS 1e-5    /* of its norms */
#define COT_LLAMA2C_THETA 10000 /* base of its rotary frequencies */

typedef struct {
    cot_file_map map;
    const char  *path; /* borrowed, for messages */
    int64_t      width, hidden, layers, heads, kv_heads, vocabulary, context;
    bool         tied;
} cot_llama2c;

/* Maps a file and checks its header against its length.
 * Errors: COT_IO; COT_FORMAT naming the file and what is wrong. */
cot_status cot_llama2c_open(const char *path, cot_llama2c *out);
void       cot_llama2c_close(cot_llama2c *file);

/* Fills the parameters, f32, of a model that was made for the file's sizes and whose memory has been taken. */
void cot_llama2c_read(const cot_llama2c *file, cot_params *params);

#endif
