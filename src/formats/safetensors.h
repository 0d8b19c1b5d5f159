/* safetensors: named tensors in one file, or in several that an index lists.
 *
 *     offset 0      u64 little-endian  N, the header's length
 *     offset 8      N bytes            JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}}
 *     offset 8 + N  data               tensors back to back, row-major; offsets count from here
 *
 * The reader maps files and believes nothing: it accepts what the format's own library accepts (no holes, no overlaps,
 * no bytes left over) and nothing else. The writer puts the data on a multiple of 64 bytes by padding the header with
 * spaces, and first those tensors whose size is a multiple of 64, then the rest by falling power of two: each tensor
 * whose predecessors allow it starts on a cache line, and all start on a multiple of their element's size. */
#ifndef COT_FORMATS_SAFETENSORS_H
#define COT_FORMATS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#include "tensor/dtype.h"

/* Element types that a file may hold: name, bytes, and our own type or -1 where we have none (such tensors can be
 * listed but not read). */
#define COT_STORED_LIST(X)                                                                               \
    X(F64, 8, COT_F64) X(F32, 4, COT_F32) X(BF16, 2, COT_BF16) X(F16, 2, COT_F16) X(I64, 8, COT_I64)     \
    X(I32, 4, COT_I32) X(U8, 1, COT_U8) X(I16, 2, -1) X(I8, 1, -1) X(U64, 8, -1) X(U32, 4, -1)           \
    X(U16, 2, -1) X(BOOL, 1, -1) X(F8_E4M3, 1, -1) X(F8_E5M2, 1, -1)

typedef enum {
#define X(id, size, ours) COT_STORED_##id,
    COT_STORED_LIST(X)
#undef X
    COT_STORED_COUNT
} cot_stored;

enum { COT_STORED_MAX_RANK = 8 };

/* ---- reading ---- */

typedef struct {
    const char *name;
    cot_stored  dtype;
    int32_t     rank;                        /* 0: a scalar */
    int64_t     shape[COT_STORED_MAX_RANK];  /* unused places hold 1 */
    int64_t     count;                       /* elements */
    const unsigned char *data;               /* in the mapped file, at any alignment */
    size_t      bytes;
    size_t      file;                        /* of cot_safetensors_file() */
} cot_stored_tensor;

typedef struct cot_safetensors cot_safetensors;

/* Opens one file. Errors: COT_IO; COT_FORMAT with file, tensor and what is wrong. */
cot_status cot_safetensors_open(const char *path, cot_safetensors **out);
/* Opens a folder: by model.safetensors.index.json where there is one, else model.safetensors. Each tensor that the
 * index lists must be in the file it says, that file must lie in the folder itself, and no name may be in two. */
cot_status cot_safetensors_open_folder(const char *folder, cot_safetensors **out);
/* A file's content that the caller keeps in memory until the close; `name` stands for the file in messages. */
cot_status cot_safetensors_parse(const void *data, size_t bytes, const char *name, cot_safetensors **out);
void       cot_safetensors_close(cot_safetensors *set);  /* accepts NULL */

size_t                   cot_safetensors_count(const cot_safetensors *set);
const cot_stored_tensor *cot_safetensors_at(const cot_safetensors *set, size_t index);        /* sorted by name */
const cot_stored_tensor *cot_safetensors_find(const cot_safetensors *set, const char *name);  /* NULL when absent */
const char              *cot_safetensors_file(const cot_safetensors *set, const cot_stored_tensor *tensor);

const char *cot_stored_name(cot_stored dtype);  /* "F32" ... */
size_t      cot_stored_size(cot_stored dtype);
bool        cot_stored_readable(cot_stored dtype, cot_dtype to);  /* can cot_safetensors_read() make it a `to`? */

/* A tensor's elements where they lie in the mapped file, or NULL where they are of another type than `as` or off its alignment. */
const void *cot_safetensors_view(const cot_stored_tensor *tensor, cot_dtype as);

/* Reads all elements of a tensor into `out` [count], converting between floating types; integers only to themselves.
 * Errors: COT_FORMAT naming file and tensor when there is no conversion.
 * Threads: uses several for large tensors. */
cot_status cot_safetensors_read(const cot_safetensors *set, const cot_stored_tensor *tensor, cot_dtype to, void *out);

/* ---- writing ---- */

typedef struct {
    const char *name;
    cot_dtype   dtype;                       /* as stored */
    int32_t     rank;
    int64_t     shape[COT_STORED_MAX_RANK];
    const void *data;                        /* for cot_safetensors_write(); its elements are ... */
    cot_dtype   data_dtype;                  /* ... of this type, converted on the way */
} cot_tensor_entry;

typedef struct cot_safetensors_writer cot_safetensors_writer;

/* Starts a file of these tensors (names and shapes are copied; data is not looked at) that appears at `path` when
 * committed. Then, for each of them in file order, come their elements by put, in as many pieces as one likes.
 * Errors: COT_INVALID for a name used twice or a shape that overflows; COT_IO. */
cot_status cot_safetensors_writer_open(const char *path, const cot_tensor_entry *entries, size_t count,
                                       cot_safetensors_writer **out);
/* Which entry stands at this place of the file order. */
size_t     cot_safetensors_writer_order(const cot_safetensors_writer *writer, size_t place);
/* The next `count` elements of the tensor whose turn it is; they may not reach into the one after it. */
cot_status cot_safetensors_writer_put(cot_safetensors_writer *writer, const void *data, cot_dtype from, size_t count);
/* Puts the file in its place and frees the writer whatever happens. Errors: COT_INVALID when elements are missing;
 * COT_IO. */
cot_status cot_safetensors_writer_commit(cot_safetensors_writer *writer);
void       cot_safetensors_writer_abort(cot_safetensors_writer *writer);  /* accepts NULL */

/* All of the above in one call, from the entries' data. */
cot_status cot_safetensors_write(const char *path, const cot_tensor_entry *entries, size_t count);

#endif
