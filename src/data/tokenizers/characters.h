/* Characters of a text and the classes that patterns tell apart. A byte that is no valid UTF-8 is a character of its
 * own, of class Cn. */
#ifndef COT_DATA_TOKENIZERS_CHARACTERS_H
#define COT_DATA_TOKENIZERS_CHARACTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <utf8proc.h>

/* A class is utf8proc's category, but for U+0085 (next line), the only control character beyond ASCII that is white
 * space. As a set, a class is a bit. */
enum { COT_CLASS_NEXT_LINE = UTF8PROC_CATEGORY_CO + 1 };

#define COT_CLASS_BIT(name) (1u << UTF8PROC_CATEGORY_##name)
#define COT_CLASSES_LETTER \
    (COT_CLASS_BIT(LU) | COT_CLASS_BIT(LL) | COT_CLASS_BIT(LT) | COT_CLASS_BIT(LM) | COT_CLASS_BIT(LO))
#define COT_CLASSES_MARK (COT_CLASS_BIT(MN) | COT_CLASS_BIT(MC) | COT_CLASS_BIT(ME))
#define COT_CLASSES_NUMBER (COT_CLASS_BIT(ND) | COT_CLASS_BIT(NL) | COT_CLASS_BIT(NO))
/* White space beyond ASCII. */
#define COT_CLASSES_SPACE (COT_CLASS_BIT(ZS) | COT_CLASS_BIT(ZL) | COT_CLASS_BIT(ZP) | 1u << COT_CLASS_NEXT_LINE)

static inline uint32_t cot_class_of(int32_t code)
{
    return code == 0x85 ? COT_CLASS_NEXT_LINE : (uint32_t)utf8proc_category(code);
}

typedef struct {
    int32_t code;  /* -1 for a byte that is no valid UTF-8 */
    size_t  size;  /* bytes */
} cot_character;

/* The character at `at`, which is before `end`. */
static inline cot_character cot_character_at(const char *at, const char *end)
{
    const unsigned char first = (unsigned char)*at;
    if (first < 0x80) return (cot_character){first, 1};
    utf8proc_int32_t       code;
    const utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)at, end - at, &code);
    return size > 0 ? (cot_character){code, (size_t)size} : (cot_character){-1, 1};
}

/* The character that ends at `at`, which is behind `start`. */
static inline cot_character cot_character_before(const char *start, const char *at)
{
    size_t size = 1;
    while (size < 4 && size < (size_t)(at - start) && ((unsigned char)at[-(ptrdiff_t)size] & 0xc0) == 0x80) size++;
    const cot_character c = cot_character_at(at - size, at);
    return c.size == size ? c : (cot_character){-1, 1};
}

static inline uint32_t cot_character_class(cot_character c)
{
    return c.code < 0 ? (uint32_t)UTF8PROC_CATEGORY_CN : cot_class_of(c.code);
}

static inline bool cot_character_is_space(cot_character c)
{
    if (c.code >= 0 && c.code < 0x80) return c.code == ' ' || (c.code >= '\t' && c.code <= '\r');
    return c.code >= 0 && (COT_CLASSES_SPACE >> cot_class_of(c.code) & 1);
}

/* Symbols that count as letters: those in circles and squares. */
static const struct {
    int32_t first, last;
} cot_letter_symbols[] = {{0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

#define COT_CLASSES_WORD \
    (COT_CLASSES_LETTER | COT_CLASSES_MARK | COT_CLASS_BIT(ND) | COT_CLASS_BIT(NL) | COT_CLASS_BIT(PC))

/* \w as Unicode's regular expressions have it: letters, marks, digits, connectors, what joins letters. */
static inline bool cot_character_is_word(cot_character c)
{
    if (c.code < 0) return false;
    if (COT_CLASSES_WORD >> cot_class_of(c.code) & 1 || c.code == 0x200c || c.code == 0x200d) return true;
    for (size_t i = 0; i < sizeof cot_letter_symbols / sizeof *cot_letter_symbols; i++)
        if (c.code >= cot_letter_symbols[i].first && c.code <= cot_letter_symbols[i].last) return true;
    return false;
}

#endif
