#include "data/tokenizers/protobuf.h"

#include "base/fail.h"

static cot_status broken(const cot_protobuf *m, const char *what)
{
    return cot_fail(COT_FORMAT, "%s, byte %td: %s, expected a protocol buffer", m->name, m->at - m->file, what);
}

static cot_status read_varint(cot_protobuf *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end) return broken(m, "a number that is cut off");
        const unsigned char byte = *m->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return COT_OK;
    }
    return broken(m, "a number of more than 64 bits");
}

static cot_status read_fixed(cot_protobuf *m, size_t bytes, uint64_t *value)
{
    if ((size_t)(m->end - m->at) < bytes) return broken(m, "a number that is cut off");
    *value = 0;
    for (size_t i = 0; i < bytes; i++) *value |= (uint64_t)m->at[i] << (8 * i);
    m->at += bytes;
    return COT_OK;
}

cot_status cot_protobuf_next(cot_protobuf *m, cot_protobuf_field *field, bool *more)
{
    uint64_t tag;
    *field = (cot_protobuf_field){0};
    *more = m->at < m->end;
    if (!*more) return COT_OK;
    COT_TRY(read_varint(m, &tag));
    field->number = tag >> 3 <= UINT32_MAX ? (uint32_t)(tag >> 3) : 0;
    field->wire = (cot_wire)(tag & 7);
    if (!field->number) return broken(m, "a field without a number");
    switch (field->wire) {
    case COT_WIRE_VARINT: return read_varint(m, &field->value);
    case COT_WIRE_64: return read_fixed(m, 8, &field->value);
    case COT_WIRE_32: return read_fixed(m, 4, &field->value);
    case COT_WIRE_BYTES:
        COT_TRY(read_varint(m, &field->value));
        if (field->value > (uint64_t)(m->end - m->at)) return broken(m, "a field that is longer than what holds it");
        field->bytes = (const char *)m->at;
        field->length = (size_t)field->value;
        m->at += field->length;
        return COT_OK;
    }
    return broken(m, "a kind of field that does not exist");
}
