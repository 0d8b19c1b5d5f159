/* Bytes that are visible in Latin-1 stand for themselves. The others, in their order, take the code points from 256 on:
 * 0..32, then 127..160, then 173. */
#include "data/tokenizers/byte_alphabet.h"

#include <stdbool.h>

enum { HIDDEN = 256, HIDDEN_2 = HIDDEN + 33, HIDDEN_3 = HIDDEN_2 + 34 };

static bool visible(uint32_t byte) { return byte > 32 && byte < 256 && !(byte >= 127 && byte <= 160) && byte != 173; }

static uint32_t byte_to_code(unsigned char byte)
{
    if (visible(byte)) return byte;
    if (byte <= 32) return HIDDEN + byte;
    return byte == 173 ? HIDDEN_3 : HIDDEN_2 + byte - 127u;
}

static int32_t code_to_byte(uint32_t code)
{
    if (visible(code)) return (int32_t)code;
    if (code >= HIDDEN && code < HIDDEN_2) return (int32_t)(code - HIDDEN);
    if (code >= HIDDEN_2 && code < HIDDEN_3) return (int32_t)(code - HIDDEN_2 + 127);
    return code == HIDDEN_3 ? 173 : -1;
}

size_t cot_byte_to_key(unsigned char byte, char key[2])
{
    const uint32_t code = byte_to_code(byte);
    if (code < 0x80) {
        key[0] = (char)code;
        return 1;
    }
    key[0] = (char)(0xc0 | code >> 6);
    key[1] = (char)(0x80 | (code & 0x3f));
    return 2;
}

int64_t cot_key_to_bytes(const char *key, size_t length, char *bytes)
{
    int64_t count = 0;
    for (size_t i = 0; i < length; count++) {
        uint32_t code = (unsigned char)key[i++];
        if (code >= 0x80) {  /* two bytes of UTF-8 or no character of the alphabet */
            if ((code & 0xe0) != 0xc0 || i == length || ((unsigned char)key[i] & 0xc0) != 0x80) return -1;
            code = (code & 0x1f) << 6 | ((unsigned char)key[i++] & 0x3f);
        }
        const int32_t byte = code_to_byte(code);
        if (byte < 0) return -1;
        bytes[count] = (char)byte;
    }
    return count;
}

void cot_byte_alphabet_order(unsigned char order[256])
{
    size_t count = 0;
    for (uint32_t code = 0; code <= HIDDEN_3; code++) {
        const int32_t byte = code_to_byte(code);
        if (byte >= 0) order[count++] = (unsigned char)byte;
    }
}
