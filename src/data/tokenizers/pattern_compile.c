#include "data/tokenizers/pattern.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/growing.h"

enum { DEPTH_MAX = 32, NODES_MAX = 4096, RANGES_MAX = 1 << 16, REPEAT_MAX = 100000 };

typedef struct {
    cot_pattern *pattern;
    const char  *source, *at, *end;
    const char  *where;
    bool         any_case;
    int          depth;
} compiler;

/* A part of the pattern: `last` is the node whose `next` is still open. */
typedef struct {
    uint32_t first, last;
} fragment;

static cot_status refuse(const compiler *c, const char *what)
{
    return cot_fail(COT_FORMAT, "%s: the pattern \"%.*s\", byte %td: %s", c->where,
                    (int)(c->end - c->source < 200 ? c->end - c->source : 200), c->source, c->at - c->source, what);
}

static cot_status no_memory(const compiler *c) { return cot_fail(COT_OUT_OF_MEMORY, "%s: a pattern", c->where); }

static bool looking_at(const compiler *c, const char *text)
{
    const size_t length = strlen(text);
    return (size_t)(c->end - c->at) >= length && !memcmp(c->at, text, length);
}

static bool take(compiler *c, const char *text)
{
    if (!looking_at(c, text)) return false;
    c->at += strlen(text);
    return true;
}

static cot_status add_node(compiler *c, cot_pattern_node node, fragment *out)
{
    cot_pattern *p = c->pattern;
    if (p->node_count >= NODES_MAX) return refuse(c, "it is too large");
    cot_pattern_node *nodes = cot_grown(p->nodes, &p->node_capacity, p->node_count + 1, sizeof *nodes);
    if (!nodes) return no_memory(c);
    p->nodes = nodes;
    out->first = out->last = (uint32_t)p->node_count;
    nodes[p->node_count++] = node;
    return COT_OK;
}

/* ---- sets ---- */

static void set_ascii(cot_charset *set, int32_t code) { set->ascii[code >> 6] |= (uint64_t)1 << (code & 63); }

static cot_status add_range(compiler *c, cot_charset *set, int32_t first, int32_t last)
{
    cot_pattern *p = c->pattern;
    for (int32_t code = first; code <= last && code < 0x80; code++) set_ascii(set, code);
    if (last < 0x80) return COT_OK;
    if (p->range_count >= RANGES_MAX) return refuse(c, "it is too large");
    cot_code_range *ranges = cot_grown(p->ranges, &p->range_capacity, p->range_count + 1, sizeof *ranges);
    if (!ranges) return no_memory(c);
    p->ranges = ranges;
    ranges[p->range_count++] = (cot_code_range){first, last};
    set->range_count++;
    return COT_OK;
}

/* A range and, where case does not matter, what its characters look like in the other case. */
static cot_status add_cased_range(compiler *c, cot_charset *set, int32_t first, int32_t last)
{
    COT_TRY(add_range(c, set, first, last));
    if (!c->any_case) return COT_OK;
    if (last - first > 0xffff) return refuse(c, "a range this wide without regard to case is not supported");
    for (int32_t code = first; code <= last; code++) {
        const int32_t lower = utf8proc_tolower(code), upper = utf8proc_toupper(code);
        if (lower != code) COT_TRY(add_range(c, set, lower, lower));
        if (upper != code) COT_TRY(add_range(c, set, upper, upper));
        if (lower == 's') COT_TRY(add_range(c, set, 0x17f, 0x17f));   /* long s */
        if (lower == 'k') COT_TRY(add_range(c, set, 0x212a, 0x212a)); /* kelvin */
    }
    return COT_OK;
}

static void add_classes(cot_charset *set, uint32_t classes)
{
    set->classes |= classes;
    for (int32_t code = 0; code < 0x80; code++)
        if (classes >> cot_class_of(code) & 1) set_ascii(set, code);
}

static void add_spaces(cot_charset *set, bool negated)
{
    set->classes |= negated ? ~COT_CLASSES_SPACE : COT_CLASSES_SPACE;
    for (int32_t code = 0; code < 0x80; code++)
        if (cot_character_is_space((cot_character){code, 1}) != negated) set_ascii(set, code);
}

/* \p{NAME}: a general category of one or two letters. */
static cot_status add_property(compiler *c, cot_charset *set, bool negated)
{
    static const char names[] = "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCo";
    if (!take(c, "{")) return refuse(c, "expected \\p{NAME}");
    if (take(c, "^")) negated = !negated;
    const char  *name = c->at, *close = memchr(name, '}', (size_t)(c->end - name));
    const size_t length = close ? (size_t)(close - name) : 0;
    uint32_t     classes = 0;
    for (uint32_t i = 0; names[2 * i] && length >= 1 && length <= 2; i++)
        if (name[0] == names[2 * i] && (length == 1 || name[1] == names[2 * i + 1])) classes |= 1u << i;
    if (classes & COT_CLASS_BIT(CC)) classes |= 1u << COT_CLASS_NEXT_LINE;
    if (!classes) return refuse(c, "expected a general category such as \\p{L} or \\p{Lu}");
    c->at = close + 1;
    add_classes(set, negated ? ~classes : classes);
    return COT_OK;
}

static cot_status add_word(compiler *c, cot_charset *set, bool negated)
{
    if (negated) return refuse(c, "\\W is not supported in a class");
    add_classes(set, COT_CLASSES_WORD);
    for (size_t i = 0; i < sizeof cot_letter_symbols / sizeof *cot_letter_symbols; i++)
        COT_TRY(add_range(c, set, cot_letter_symbols[i].first, cot_letter_symbols[i].last));
    return COT_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    const char letter = (char)(c | 0x20);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* The digits of \x{20}, \x20 and \u0020. */
static cot_status read_hex(compiler *c, char kind, int32_t *code)
{
    const bool braces = kind == 'x' && take(c, "{");
    const int  digits = braces ? 6 : kind == 'x' ? 2 : 4;
    int        count = 0;
    *code = 0;
    for (; count < digits && c->at < c->end && hex_digit(*c->at) >= 0; count++, c->at++)
        *code = *code * 16 + hex_digit(*c->at);
    const bool whole = braces ? count && take(c, "}") : count == digits;
    return whole && *code <= 0x10ffff ? COT_OK : refuse(c, "expected a code point in hexadecimal digits");
}

static bool is_ascii_letter_or_digit(int32_t code)
{
    return (code >= '0' && code <= '9') || ((code | 0x20) >= 'a' && (code | 0x20) <= 'z');
}

/* Reads one character, written as it is or escaped; `at` is behind the backslash when `escaped`. */
static cot_status read_code(compiler *c, bool escaped, int32_t *code)
{
    const cot_character found = cot_character_at(c->at, c->end);
    if (found.code < 0) return refuse(c, "expected valid UTF-8");
    c->at += found.size;
    *code = found.code;
    if (!escaped) return COT_OK;
    static const char plain[] = "rntfv", meant[] = "\r\n\t\f\v";
    const char       *control = found.code < 0x80 ? strchr(plain, (char)found.code) : NULL;
    if (found.code == 'x' || found.code == 'u') return read_hex(c, (char)found.code, code);
    if (control && *control) *code = meant[control - plain];
    else if (is_ascii_letter_or_digit(found.code)) return refuse(c, "an escape that is not supported");
    return COT_OK;
}

/* What may stand behind a backslash and is a set of its own; false when it is none. */
static cot_status add_escaped_set(compiler *c, cot_charset *set, bool *is_set)
{
    const char kind = *c->at;
    *is_set = kind && strchr("sSdDwWpP", kind);
    if (!*is_set) return COT_OK;
    c->at++;
    switch (kind) {
    case 's':
    case 'S': add_spaces(set, kind == 'S'); return COT_OK;
    case 'd': add_classes(set, COT_CLASS_BIT(ND)); return COT_OK;
    case 'D': add_classes(set, ~COT_CLASS_BIT(ND)); return COT_OK;
    case 'w':
    case 'W': return add_word(c, set, kind == 'W');
    default: return add_property(c, set, kind == 'P');
    }
}

/* One element of a class in brackets: a set, a character, or a range of these. */
static cot_status add_element(compiler *c, cot_charset *set)
{
    int32_t first, last;
    bool    is_set = false;
    if (looking_at(c, "[") || looking_at(c, "&&")) return refuse(c, "classes inside of classes are not supported");
    const bool escaped = take(c, "\\");
    if (c->at == c->end) return refuse(c, "expected ']'");
    if (escaped) COT_TRY(add_escaped_set(c, set, &is_set));
    if (is_set) return COT_OK;
    COT_TRY(read_code(c, escaped, &first));
    last = first;
    if (looking_at(c, "-") && c->end - c->at > 1 && c->at[1] != ']') {
        c->at++;
        const bool last_escaped = take(c, "\\");
        if (c->at == c->end) return refuse(c, "expected ']'");
        COT_TRY(read_code(c, last_escaped, &last));
        if (last < first) return refuse(c, "a range that ends before it begins");
    }
    return add_cased_range(c, set, first, last);
}

static cot_status read_class(compiler *c, cot_charset *set)
{
    set->negated = take(c, "^");
    do {
        if (c->at == c->end) return refuse(c, "expected ']'");
        COT_TRY(add_element(c, set));
    } while (!take(c, "]"));
    return COT_OK;
}

/* The set that one character of the pattern, a class or an escape stands for. */
static cot_status read_set(compiler *c, cot_charset *set)
{
    int32_t code;
    bool    is_set = false;
    if (take(c, "[")) return read_class(c, set);
    if (take(c, ".")) {
        set->negated = true;
        set_ascii(set, '\n');
        return COT_OK;
    }
    if (memchr("*+?{)", *c->at, 5)) return refuse(c, "nothing that could be repeated");
    const bool escaped = take(c, "\\");
    if (c->at == c->end) return refuse(c, "expected a character");
    if (escaped && take(c, "W")) {
        set->negated = true;
        return add_word(c, set, false);
    }
    if (escaped) COT_TRY(add_escaped_set(c, set, &is_set));
    if (is_set) return COT_OK;
    COT_TRY(read_code(c, escaped, &code));
    return add_cased_range(c, set, code, code);
}

/* ---- repetition ---- */

static cot_status read_number(compiler *c, uint32_t *number)
{
    const char *start = c->at;
    *number = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9' && *number < REPEAT_MAX; c->at++)
        *number = *number * 10 + (uint32_t)(*c->at - '0');
    return c->at > start && *number < REPEAT_MAX ? COT_OK : refuse(c, "expected a number of repetitions");
}

static cot_status read_bounds(compiler *c, cot_pattern_node *node)
{
    COT_TRY(read_number(c, &node->min));
    node->max = node->min;
    if (take(c, ",")) {
        node->max = UINT32_MAX;
        if (!looking_at(c, "}")) COT_TRY(read_number(c, &node->max));
    }
    return take(c, "}") && node->min <= node->max ? COT_OK : refuse(c, "expected '{n}', '{n,}' or '{n,m}'");
}

static cot_status read_repetition(compiler *c, cot_pattern_node *node)
{
    node->min = node->max = 1;
    const bool bounds = take(c, "{");
    if (bounds) COT_TRY(read_bounds(c, node));
    else if (take(c, "?")) node->min = 0;
    else if (take(c, "*")) node->min = 0, node->max = UINT32_MAX;
    else if (take(c, "+")) node->max = UINT32_MAX;
    else return COT_OK;
    if (take(c, "?")) node->greed = COT_LAZY;
    else if (!bounds && take(c, "+")) node->greed = COT_POSSESSIVE;
    if (c->at < c->end && memchr("*+?{", *c->at, 4)) return refuse(c, "a repetition that is repeated");
    return COT_OK;
}

static cot_status read_single(compiler *c, fragment *out)
{
    cot_pattern     *p = c->pattern;
    cot_charset      set = {.first_range = (uint32_t)p->range_count};
    cot_pattern_node node = {.kind = COT_PATTERN_SET, .set = (uint32_t)p->set_count, .next = COT_PATTERN_FOUND};
    COT_TRY(read_set(c, &set));
    if (set.negated) {
        set.ascii[0] = ~set.ascii[0];
        set.ascii[1] = ~set.ascii[1];
    }
    cot_charset *sets = cot_grown(p->sets, &p->set_capacity, p->set_count + 1, sizeof *sets);
    if (!sets) return no_memory(c);
    p->sets = sets;
    sets[p->set_count++] = set;
    COT_TRY(read_repetition(c, &node));
    return add_node(c, node, out);
}

/* ---- groups ---- */

static cot_status read_choices(compiler *c, fragment *out);

static cot_status read_look_ahead(compiler *c, cot_pattern_kind kind, fragment *out)
{
    fragment body;
    COT_TRY(read_choices(c, &body));
    if (!take(c, ")")) return refuse(c, "expected ')'");
    return add_node(c, (cot_pattern_node){.kind = kind, .other = body.first, .next = COT_PATTERN_FOUND}, out);
}

/* Makes a group one that may be left out. */
static cot_status make_optional(compiler *c, fragment *group)
{
    fragment pass, choice;
    COT_TRY(add_node(c, (cot_pattern_node){.kind = COT_PATTERN_PASS, .next = COT_PATTERN_FOUND}, &pass));
    const cot_pattern_node node = {.kind = COT_PATTERN_CHOICE, .next = group->first, .other = pass.first};
    COT_TRY(add_node(c, node, &choice));
    c->pattern->nodes[group->last].next = pass.first;
    *group = (fragment){choice.first, pass.last};
    return COT_OK;
}

static cot_status read_group(compiler *c, fragment *out)
{
    const bool any_case = c->any_case;
    if (take(c, "?=")) return read_look_ahead(c, COT_PATTERN_AHEAD, out);
    if (take(c, "?!")) return read_look_ahead(c, COT_PATTERN_NOT_AHEAD, out);
    if (take(c, "?i:")) c->any_case = true;
    else if (!take(c, "?:") && looking_at(c, "?")) return refuse(c, "a kind of group that is not supported");
    COT_TRY(read_choices(c, out));
    c->any_case = any_case;
    if (!take(c, ")")) return refuse(c, "expected ')'");
    const bool optional = take(c, "?");
    if (c->at < c->end && memchr("*+?{", *c->at, 4)) return refuse(c, "groups that repeat are not supported");
    return optional ? make_optional(c, out) : COT_OK;
}

static cot_status read_item(compiler *c, fragment *out)
{
    if (take(c, "^")) return add_node(c, (cot_pattern_node){.kind = COT_PATTERN_START}, out);
    if (take(c, "$")) return add_node(c, (cot_pattern_node){.kind = COT_PATTERN_END}, out);
    if (take(c, "(")) return read_group(c, out);
    return read_single(c, out);
}

static cot_status read_sequence(compiler *c, fragment *out)
{
    COT_TRY(add_node(c, (cot_pattern_node){.kind = COT_PATTERN_PASS, .next = COT_PATTERN_FOUND}, out));
    while (c->at < c->end && *c->at != '|' && *c->at != ')') {
        fragment item;
        COT_TRY(read_item(c, &item));
        c->pattern->nodes[out->last].next = item.first;
        c->pattern->nodes[item.last].next = COT_PATTERN_FOUND;
        out->last = item.last;
    }
    return COT_OK;
}

/* Alternatives, which all go on at a common end. */
static cot_status read_choices(compiler *c, fragment *out)
{
    fragment one, pass, choice;
    if (++c->depth > DEPTH_MAX) return refuse(c, "groups nested too deep");
    COT_TRY(read_sequence(c, out));
    if (looking_at(c, "|")) {
        COT_TRY(add_node(c, (cot_pattern_node){.kind = COT_PATTERN_PASS, .next = COT_PATTERN_FOUND}, &pass));
        c->pattern->nodes[out->last].next = pass.first;
        out->last = pass.first;
        uint32_t open = UINT32_MAX;  /* the choice whose second branch comes next */
        for (one = *out; take(c, "|");) {
            COT_TRY(add_node(c, (cot_pattern_node){.kind = COT_PATTERN_CHOICE, .next = one.first}, &choice));
            if (open == UINT32_MAX) out->first = choice.first;
            else c->pattern->nodes[open].other = choice.first;
            open = choice.first;
            COT_TRY(read_sequence(c, &one));
            c->pattern->nodes[one.last].next = pass.first;
            c->pattern->nodes[open].other = one.first;
        }
    }
    c->depth--;
    return COT_OK;
}

cot_status cot_pattern_compile(const char *source, size_t length, const char *where, cot_pattern *out)
{
    compiler c = {.pattern = out, .source = source, .at = source, .end = source + length, .where = where};
    fragment all;
    *out = (cot_pattern){0};
    cot_status status = read_choices(&c, &all);
    if (status == COT_OK && c.at < c.end) status = refuse(&c, "expected no ')' here");
    if (status != COT_OK) {
        cot_pattern_release(out);
        return status;
    }
    out->first = all.first;
    return COT_OK;
}

void cot_pattern_release(cot_pattern *pattern)
{
    cot_free(pattern->nodes);
    cot_free(pattern->sets);
    cot_free(pattern->ranges);
    *pattern = (cot_pattern){0};
}
