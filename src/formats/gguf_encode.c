/* Rows in GGUF's element types. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "formats/convert.h"
#include "formats/gguf.h"

enum { Q8_BYTES = 2 + COT_GGUF_Q8_BLOCK };

const char *cot_gguf_type_name(cot_gguf_type type)
{
    switch (type) {
    case COT_GGUF_F32: return "f32";
    case COT_GGUF_F16: return "f16";
    case COT_GGUF_BF16: return "bf16";
    case COT_GGUF_Q8_0: return "q8_0";
    }
    return "?";
}

size_t cot_gguf_row_bytes(cot_gguf_type type, size_t columns)
{
    switch (type) {
    case COT_GGUF_F32: return 4 * columns;
    case COT_GGUF_F16:
    case COT_GGUF_BF16: return 2 * columns;
    case COT_GGUF_Q8_0: return columns / COT_GGUF_Q8_BLOCK * Q8_BYTES;
    }
    return 0;
}

/* To the nearest whole number, halves away from zero; |x| is at most 128. */
static int8_t round_away(float x)
{
    const int   whole = (int)x;
    const float rest = x - (float)whole;
    return (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
}

/* Below FLT_MIN the scale is zero in f16, and so is everything that it stands for. */
static void encode_q8(const float *from, float most, unsigned char *to)
{
    const float    scale = most / 127, inverse = scale >= FLT_MIN ? 1 / scale : 0;
    const uint16_t half = cot_f32_to_f16(scale);
    memcpy(to, &half, sizeof half);
    for (int i = 0; i < COT_GGUF_Q8_BLOCK; i++) {
        const int8_t level = round_away(from[i] * inverse);
        memcpy(to + sizeof half + i, &level, 1);
    }
}

/* NaN counts as infinite. */
static float largest(const float *row, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        const float size = fabsf(row[i]);
        most = size <= most ? most : size;
        if (!(size <= FLT_MAX)) return INFINITY;
    }
    return most;
}

static bool encode_blocks(const float *row, size_t columns, unsigned char *out)
{
    for (size_t i = 0; i < columns; i += COT_GGUF_Q8_BLOCK, out += Q8_BYTES) {
        const float most = largest(row + i, COT_GGUF_Q8_BLOCK);
        if (!(most / 127 < 65520)) return false;
        encode_q8(row + i, most, out);
    }
    return true;
}

bool cot_gguf_encode(cot_gguf_type type, const float *row, size_t columns, unsigned char *out)
{
    if (type == COT_GGUF_Q8_0) return encode_blocks(row, columns, out);
    const cot_dtype stored = type == COT_GGUF_F16 ? COT_F16 : type == COT_GGUF_BF16 ? COT_BF16 : COT_F32;
    const float     limit = type == COT_GGUF_F16 ? 65520 : type == COT_GGUF_BF16 ? 0x1.ffp127f : INFINITY;
    cot_convert(out, stored, row, COT_F32, columns);
    return largest(row, columns) < limit;
}
