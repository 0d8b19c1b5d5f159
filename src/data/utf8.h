/* UTF-8 as the Unicode standard defines it (table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef COT_DATA_UTF8_H
#define COT_DATA_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many leading bytes of `text` are valid; `length` when all are. */
size_t cot_utf8_valid(const char *text, size_t length);

/* Copies `text` with each maximal invalid part replaced by U+FFFD, as the standard recommends. `out` has room for
 * 3 * length bytes. Returns the bytes written. */
size_t cot_utf8_replace(const char *text, size_t length, char *out);

bool cot_utf8_space(const char *text, size_t length);  /* does it start with white space (Unicode's White_Space)? */

/* Words as word-level corpora count them: what white space separates, and one end of line a line. */
typedef struct {
    uint64_t words;
    bool     inside;  /* the last byte belonged to a word */
} cot_word_count;

void cot_words_add(cot_word_count *count, const char *text, size_t length);

#endif
