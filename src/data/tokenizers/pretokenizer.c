/* The pattern, first alternative that matches, each as long as it can:
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * Everything but the contractions is a run of one kind of character, so it takes no regular expressions to scan. A run
 * of white space gives back its last character when something else follows it: \s+(?!\S).
 *
 * \p{L} and \p{N} come from utf8proc's categories; \s is Unicode's White_Space. A byte that is no valid UTF-8 is a
 * character of the other kind, [^\s\p{L}\p{N}]. [radford2019language] */
#include "data/tokenizers/pretokenizer.h"

#include <utf8proc.h>

typedef enum { OTHER, LETTER, NUMBER, SPACE } kind;

typedef struct {
    kind   kind;
    size_t size;  /* bytes */
} character;

static kind kind_of(utf8proc_int32_t code)
{
    if (code == 0x85) return SPACE;  /* next line: the only control character beyond ASCII that is white space */
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return SPACE;
    default: return OTHER;
    }
}

static inline kind ascii_kind(unsigned char c)
{
    const unsigned char letter = c | 0x20;
    if (letter >= 'a' && letter <= 'z') return LETTER;
    if (c >= '0' && c <= '9') return NUMBER;
    return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : OTHER;
}

static inline character read_character(const unsigned char *at, const unsigned char *end)
{
    if (*at < 0x80) return (character){ascii_kind(*at), 1};
    utf8proc_int32_t         code;
    const utf8proc_ssize_t size = utf8proc_iterate(at, end - at, &code);
    return size > 0 ? (character){kind_of(code), (size_t)size} : (character){OTHER, 1};
}

/* The end of the run of `wanted` characters from `at` on. */
static const unsigned char *run_end(const unsigned char *at, const unsigned char *end, kind wanted)
{
    while (at < end) {
        const character c = read_character(at, end);
        if (c.kind != wanted) break;
        at += c.size;
    }
    return at;
}

/* Length of the contraction that begins at an apostrophe, 0 when none does. */
static size_t contraction_length(const unsigned char *at, size_t length)
{
    const unsigned char first = length > 1 ? at[1] : 0, second = length > 2 ? at[2] : 0;
    switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd': return 2;
    case 'r':
    case 'v': return second == 'e' ? 3 : 0;
    case 'l': return second == 'l' ? 3 : 0;
    default: return 0;
    }
}

/* Length of the white space at `start`, its last character left out when something else follows a longer run. */
static size_t space_length(const unsigned char *start, const unsigned char *end)
{
    const unsigned char *at = start, *last = start;
    while (at < end) {
        const character c = read_character(at, end);
        if (c.kind != SPACE) break;
        last = at;
        at += c.size;
    }
    return (size_t)((at == end || last == start ? at : last) - start);
}

size_t cot_pretoken_length(const char *text, size_t length)
{
    const unsigned char *start = (const unsigned char *)text, *end = start + length;
    if (*start == '\'') {
        const size_t contraction = contraction_length(start, length);
        if (contraction) return contraction;
    }
    const unsigned char *body = start + (*start == ' ' && length > 1);
    const character      first = read_character(body, end);
    if (first.kind == SPACE) return space_length(start, end);
    return (size_t)(run_end(body + first.size, end, first.kind) - start);
}
