#include "data/utf8.h"

#include <string.h>

/* The second byte's range depends on the first; all later ones are 80..BF. 0 = no character starts so. */
static size_t sequence_length(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2) return 0;
    if (lead < 0xe0) return 2;
    if (lead < 0xf0) return 3;
    return lead < 0xf5 ? 4 : 0;
}

/* Length of the character at `text`, or 0 when there is none; then *bad is the length of the maximal invalid part. */
static size_t character(const unsigned char *text, size_t length, size_t *bad)
{
    unsigned char low, high;
    const size_t  n = sequence_length(text[0], &low, &high);
    *bad = 1;
    for (size_t i = 1; i < n; i++) {
        if (i == length || text[i] < low || text[i] > high) return 0;
        *bad = i + 1;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

static bool eight_ascii(const unsigned char *text)
{
    uint64_t word;
    memcpy(&word, text, 8);
    return (word & 0x8080808080808080u) == 0;
}

size_t cot_utf8_valid(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t               at = 0, bad;
    while (at < length) {
        if (length - at >= 8 && eight_ascii(bytes + at)) {
            at += 8;
            continue;
        }
        const size_t n = character(bytes + at, length - at, &bad);
        if (n == 0) break;
        at += n;
    }
    return at;
}

size_t cot_utf8_replace(const char *text, size_t length, char *out)
{
    size_t at = 0, written = 0;
    while (at < length) {
        const size_t good = cot_utf8_valid(text + at, length - at);
        memcpy(out + written, text + at, good);
        written += good;
        at += good;
        if (at == length) break;
        size_t bad;
        character((const unsigned char *)text + at, length - at, &bad);
        memcpy(out + written, "\xef\xbf\xbd", 3);
        written += 3;
        at += bad;
    }
    return written;
}

/* Bytes of the white space at `text`, 0 when there is none. */
static size_t space_length(const unsigned char *text, size_t length)
{
    if (length == 0) return 0;
    if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) return 1;
    if (text[0] == 0xc2) return length > 1 && (text[1] == 0x85 || text[1] == 0xa0) ? 2 : 0;
    if (length < 3) return 0;
    if (text[0] == 0xe1) return text[1] == 0x9a && text[2] == 0x80 ? 3 : 0;
    if (text[0] == 0xe3) return text[1] == 0x80 && text[2] == 0x80 ? 3 : 0;
    if (text[0] != 0xe2) return 0;
    if (text[1] == 0x81) return text[2] == 0x9f ? 3 : 0;
    if (text[1] != 0x80) return 0;
    return text[2] <= 0x8a || text[2] == 0xa8 || text[2] == 0xa9 || text[2] == 0xaf ? 3 : 0;
}

bool cot_utf8_space(const char *text, size_t length) { return space_length((const unsigned char *)text, length) > 0; }

void cot_words_add(cot_word_count *count, const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t at = 0; at < length;) {
        const size_t space = space_length(bytes + at, length - at);
        if (space == 0) {
            count->words += !count->inside;
            count->inside = true;
            at++;
            continue;
        }
        count->words += bytes[at] == '\n';
        count->inside = false;
        at += space;
    }
}
