/* Searching by backtracking: the first alternative that lets the rest match is taken. Groups do not repeat, so the
 * depth of recursion is bounded by the size of the pattern; a budget of steps bounds the time. */
#include "data/tokenizers/pattern.h"

#include "base/fail.h"
#include "data/tokenizers/characters.h"

enum { NOWHERE = -1 };

typedef struct {
    const cot_pattern *pattern;
    const char        *text, *end;
    uint64_t           steps;  /* left */
} search;

static bool in_set_beyond_ascii(const search *s, const cot_charset *set, cot_character c)
{
    bool in = set->classes >> cot_character_class(c) & 1;
    for (uint32_t i = 0; !in && i < set->range_count; i++) {
        const cot_code_range *range = &s->pattern->ranges[set->first_range + i];
        in = c.code >= range->first && c.code <= range->last;
    }
    return in != set->negated;
}

/* Size of the character at `at` when it is in the set, else 0. */
static inline size_t step_in_set(const search *s, const cot_charset *set, const char *at)
{
    const unsigned char byte = (unsigned char)*at;
    if (byte < 0x80) return set->ascii[byte >> 6] >> (byte & 63) & 1;
    const cot_character c = cot_character_at(at, s->end);
    return in_set_beyond_ascii(s, set, c) ? c.size : 0;
}

static ptrdiff_t match(search *s, uint32_t number, const char *at);

/* As many as there are, then fewer and fewer until the rest fits. */
static ptrdiff_t match_greedy(search *s, const cot_pattern_node *node, const char *at)
{
    const cot_charset *set = &s->pattern->sets[node->set];
    const char        *start = at;
    uint32_t           count = 0;
    for (size_t size; count < node->max && at < s->end && (size = step_in_set(s, set, at)); count++) at += size;
    s->steps -= count < s->steps ? count : s->steps;  /* long runs cost what they take */
    if (count < node->min) return NOWHERE;
    if (node->next == COT_PATTERN_FOUND) return at - s->text;
    for (;;) {
        const ptrdiff_t found = match(s, node->next, at);
        if (found != NOWHERE || count == node->min || node->greed == COT_POSSESSIVE || !s->steps) return found;
        at -= cot_character_before(start, at).size;
        count--;
    }
}

static ptrdiff_t match_lazy(search *s, const cot_pattern_node *node, const char *at)
{
    const cot_charset *set = &s->pattern->sets[node->set];
    for (uint32_t count = 0;; count++) {
        if (count >= node->min) {
            const ptrdiff_t found = match(s, node->next, at);
            if (found != NOWHERE || !s->steps) return found;
        }
        const size_t size = count < node->max && at < s->end ? step_in_set(s, set, at) : 0;
        if (!size) return NOWHERE;
        at += size;
    }
}

/* Where the match that goes on with this node ends, NOWHERE when there is none. */
static ptrdiff_t match(search *s, uint32_t number, const char *at)
{
    while (number != COT_PATTERN_FOUND) {
        const cot_pattern_node *node = &s->pattern->nodes[number];
        if (!s->steps) return NOWHERE;
        s->steps--;
        switch (node->kind) {
        case COT_PATTERN_SET: return node->greed == COT_LAZY ? match_lazy(s, node, at) : match_greedy(s, node, at);
        case COT_PATTERN_CHOICE: {
            const ptrdiff_t found = match(s, node->next, at);
            if (found != NOWHERE) return found;
            number = node->other;
            continue;
        }
        case COT_PATTERN_AHEAD:
            if (match(s, node->other, at) == NOWHERE) return NOWHERE;
            break;
        case COT_PATTERN_NOT_AHEAD:
            if (match(s, node->other, at) != NOWHERE) return NOWHERE;
            break;
        case COT_PATTERN_START:
            if (at != s->text && (at == s->end || at[-1] != '\n')) return NOWHERE;
            break;
        case COT_PATTERN_END:
            if (at != s->end && *at != '\n') return NOWHERE;
            break;
        case COT_PATTERN_PASS: break;
        }
        number = node->next;
    }
    return at - s->text;
}

cot_status cot_pattern_find(const cot_pattern *pattern, const char *text, size_t length, size_t from, size_t *start,
                            size_t *end)
{
    search s = {pattern, text, text + length, 1000000 + 100 * (uint64_t)(length - from)};
    for (const char *at = text + from; at < s.end; at += cot_character_at(at, s.end).size) {
        const ptrdiff_t found = match(&s, pattern->first, at);
        if (!s.steps) return cot_fail(COT_INVALID, "a pattern takes too long on %zu bytes of text", length);
        if (found == NOWHERE || text + found == at) continue;
        *start = (size_t)(at - text);
        *end = (size_t)found;
        return COT_OK;
    }
    *start = *end = length;
    return COT_OK;
}
