/* Regular expressions as pre-tokenizers and normalizers use them, in Oniguruma's syntax, which Hugging Face's library
 * goes by:
 *
 *     literals  .  [classes]  \s \S \d \D \w \W (not \W in a class)  \p{L} \P{Lu} \p{^N}  \r \n \t \f \v \\ \x{20}
 *               \u0020
 *     a|b  (a)  (?:a)  (?i:a)  (?=a)  (?!a)  ^  $ (of lines)
 *     ? * + {n} {n,} {n,m} behind one character or class, each with ? behind it (lazy), the first three with +
 *     (possessive); ? behind a group
 *
 * Anything else is refused, so that a pattern means what it says or is not taken at all. */
#ifndef COT_DATA_TOKENIZERS_PATTERN_H
#define COT_DATA_TOKENIZERS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

/* A set of characters. */
typedef struct {
    uint64_t ascii[2];
    uint32_t classes;      /* bits; beyond ASCII only */
    uint32_t first_range;  /* codes beyond ASCII that are in whatever their class, from here on in the pattern's list */
    uint32_t range_count;
    bool     negated;      /* all but these, beyond ASCII; `ascii` is final */
} cot_charset;

typedef struct {
    int32_t first, last;
} cot_code_range;

typedef enum {
    COT_PATTERN_PASS,       /* nothing; what comes next follows */
    COT_PATTERN_SET,        /* `min` to `max` characters of a set */
    COT_PATTERN_CHOICE,     /* `next`, or else `other` */
    COT_PATTERN_AHEAD,      /* what `other` begins is ahead */
    COT_PATTERN_NOT_AHEAD,
    COT_PATTERN_START,
    COT_PATTERN_END,
} cot_pattern_kind;

typedef enum { COT_GREEDY, COT_LAZY, COT_POSSESSIVE } cot_pattern_greed;

enum { COT_PATTERN_FOUND = UINT32_MAX };  /* as a node's number: the pattern has matched */

typedef struct {
    cot_pattern_kind  kind;
    cot_pattern_greed greed;
    uint32_t          min, max;
    uint32_t          set;
    uint32_t          next, other;
} cot_pattern_node;

typedef struct {
    cot_pattern_node *nodes;
    cot_charset      *sets;
    cot_code_range   *ranges;
    size_t            node_count, node_capacity, set_count, set_capacity, range_count, range_capacity;
    uint32_t          first;
} cot_pattern;

/* `where` names the pattern in messages, e.g. "t.json: pre_tokenizer.pattern". Errors: COT_FORMAT. */
cot_status cot_pattern_compile(const char *source, size_t length, const char *where, cot_pattern *out);
void       cot_pattern_release(cot_pattern *pattern);

/* The first match at or behind `from` that is not empty; *end == *start when there is none.
 * Errors: COT_INVALID when the search takes more steps than any sensible pattern needs. */
cot_status cot_pattern_find(const cot_pattern *pattern, const char *text, size_t length, size_t from, size_t *start,
                            size_t *end);

#endif
