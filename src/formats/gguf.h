/* Writing GGUF, the file of llama.cpp: settings, a directory of tensors, their elements.
 *
 *     "GGUF", u32 version 3, u64 number of tensors, u64 number of settings
 *     each setting    key, u32 kind, value (a text is u64 length and bytes, a list u32 kind, u64 count and members)
 *     each tensor     name, u32 dimensions, u64 sizes (the fastest first), u32 type, u64 offset into the data
 *     data            each tensor on a multiple of 32 bytes
 *
 * Settings and tensors are declared first, in memory; then the file is opened and elements are written row by row in
 * the order of declaration. All integers are little-endian. Declaring cannot fail: when memory is short, opening says
 * so. */
#ifndef COT_FORMATS_GGUF_H
#define COT_FORMATS_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

/* How elements are stored. Q8_0: 32 of a row at a time, as one f16 scale and 32 signed bytes. */
typedef enum { COT_GGUF_F32 = 0, COT_GGUF_F16 = 1, COT_GGUF_Q8_0 = 8, COT_GGUF_BF16 = 30 } cot_gguf_type;

enum { COT_GGUF_Q8_BLOCK = 32 };

const char *cot_gguf_type_name(cot_gguf_type type); /* "f32" ... */

/* Bytes of a row. Q8_0 needs `columns` to be a multiple of 32. */
size_t cot_gguf_row_bytes(cot_gguf_type type, size_t columns);

/* Stores a row; false when one of its numbers is not finite in the file's type. Rounds to nearest: ties to even in F16
 * and BF16, away from zero in Q8_0, whose scale is the largest magnitude of a block divided by 127. */
bool cot_gguf_encode(cot_gguf_type type, const float *row, size_t columns, unsigned char *out);

typedef struct cot_gguf cot_gguf;

cot_status cot_gguf_create(cot_gguf **out);
void       cot_gguf_destroy(cot_gguf *file); /* removes an uncommitted file; accepts NULL */

/* ---- settings ---- */

void cot_gguf_u32(cot_gguf *file, const char *key, uint32_t value);
void cot_gguf_f32(cot_gguf *file, const char *key, float value);
void cot_gguf_bool(cot_gguf *file, const char *key, bool value);
void cot_gguf_text(cot_gguf *file, const char *key, const char *value);
void cot_gguf_i32s(cot_gguf *file, const char *key, const int32_t *values, size_t count);
void cot_gguf_f32s(cot_gguf *file, const char *key, const float *values, size_t count);
/* A list of `count` texts, which the next calls of cot_gguf_item() give. */
void cot_gguf_texts(cot_gguf *file, const char *key, size_t count);
void cot_gguf_item(cot_gguf *file, const char *text, size_t length);

/* ---- tensors ---- */

/* A tensor of `rank` 1 to 4; `shape` in our order, rows of shape[rank - 1] numbers. */
void     cot_gguf_tensor(cot_gguf *file, const char *name, cot_gguf_type type, int rank, const int64_t *shape);
uint64_t cot_gguf_data_bytes(const cot_gguf *file); /* of all tensors declared, gaps included */

/* Starts the file that appears at `path` when committed. Errors: COT_IO; COT_OUT_OF_MEMORY. */
cot_status cot_gguf_open(cot_gguf *file, const char *path);

/* The next `count` rows of the tensor whose turn it is; they may not reach into the one after it.
 * Errors: COT_INVALID naming the tensor when a number does not fit its type; COT_IO.
 * Threads: encodes on several. */
cot_status cot_gguf_rows(cot_gguf *file, const float *const *rows, size_t count);

/* Puts the file in its place. Errors: COT_INVALID when rows are missing; COT_IO. */
cot_status cot_gguf_commit(cot_gguf *file);

#endif
