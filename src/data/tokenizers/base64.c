#include "data/tokenizers/base64.h"

#include <stdint.h>
#include <string.h>

#include "base/memory.h"

static const char signs[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *cot_base64_encode(const char *bytes, size_t length)
{
    const unsigned char *in = (const unsigned char *)bytes;
    char                *text = cot_malloc((length + 2) / 3 * 4 + 1), *out = text;
    if (!text) return NULL;
    for (size_t i = 0; i < length; i += 3) {
        const uint32_t second = i + 1 < length ? in[i + 1] : 0, third = i + 2 < length ? in[i + 2] : 0;
        const uint32_t bits = (uint32_t)in[i] << 16 | second << 8 | third;
        *out++ = signs[bits >> 18];
        *out++ = signs[bits >> 12 & 63];
        *out++ = i + 1 < length ? signs[bits >> 6 & 63] : '=';
        *out++ = i + 2 < length ? signs[bits & 63] : '=';
    }
    *out = '\0';
    return text;
}

char *cot_base64_decode(const char *text, size_t *length)
{
    const size_t size = strcspn(text, "=");
    char        *bytes = cot_malloc(size / 4 * 3 + 3);
    uint32_t     bits = 0;
    *length = 0;
    if (!bytes) return NULL;
    for (size_t i = 0; i < size; i++) {
        const char *sign = strchr(signs, text[i]);
        if (!sign) {
            cot_free(bytes);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(sign - signs);
        if (i % 4) bytes[(*length)++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    return bytes;
}
