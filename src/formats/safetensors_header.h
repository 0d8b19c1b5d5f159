/* The header of one safetensors file, checked entry by entry. */
#ifndef COT_FORMATS_SAFETENSORS_HEADER_H
#define COT_FORMATS_SAFETENSORS_HEADER_H

#include "base/memory.h"
#include "formats/safetensors.h"

/* A list that grows. */
typedef struct {
    cot_stored_tensor *items;
    size_t             count, room;
} cot_stored_list;

/* Appends the tensors of a file's content to `list`; their names go to `names`. Each entry is right in itself when this
 * returns COT_OK, and together they cover the file's data without hole or overlap. */
cot_status cot_safetensors_header(const unsigned char *data, size_t bytes, const char *file, size_t file_index,
                                  cot_arena *names, cot_stored_list *list);

#endif
