/* Reading protocol buffers: a message is a row of fields, each a number, a wire type and a value. */
#ifndef COT_DATA_TOKENIZERS_PROTOBUF_H
#define COT_DATA_TOKENIZERS_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <coterie/status.h>

typedef enum { COT_WIRE_VARINT = 0, COT_WIRE_64 = 1, COT_WIRE_BYTES = 2, COT_WIRE_32 = 5 } cot_wire;

typedef struct {
    const unsigned char *at, *end;
    const unsigned char *file;  /* where the whole file begins, for places in messages */
    const char          *name;  /* of the file */
} cot_protobuf;

typedef struct {
    uint32_t    number;
    cot_wire    wire;
    uint64_t    value;   /* of a varint or fixed field */
    const char *bytes;   /* of a field of bytes */
    size_t      length;
} cot_protobuf_field;

/* The next field; *more is false at the end of the message. Errors: COT_FORMAT with the place in the file. */
cot_status cot_protobuf_next(cot_protobuf *message, cot_protobuf_field *field, bool *more);

/* The message inside a field of bytes. */
static inline cot_protobuf cot_protobuf_inside(const cot_protobuf *outer, const cot_protobuf_field *field)
{
    const unsigned char *bytes = (const unsigned char *)field->bytes;
    return (cot_protobuf){bytes, bytes + field->length, outer->file, outer->name};
}

static inline float cot_protobuf_float(const cot_protobuf_field *field)
{
    const uint32_t bits = (uint32_t)field->value;
    float          value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
