#include "data/tokenizers/normalizer.h"

#include <utf8proc.h>

#include "base/fail.h"
#include "data/tokenizers/characters.h"

static const char escaped_space[] = "\xe2\x96\x81";  /* U+2581, what SentencePiece writes for a space */

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "a text to be normalized"); }

/* What a step makes of a text stays within reason: one that replaces a letter by a book is no normalizer. */
enum { GROWTH_MAX = 64, GROWTH_SLACK = 1 << 16 };

static cot_status add(cot_buffer *out, const char *bytes, size_t length)
{
    if (out->length > out->limit || length > out->limit - out->length)
        return cot_fail(COT_INVALID, "the tokenizer's normalizer makes more than %zu bytes of a text", out->limit);
    return cot_buffer_add(out, bytes, length) ? COT_OK : no_memory();
}

/* ---- normal forms ---- */

/* Does the form leave the character alone, whatever stands around it? Marks may be joined or reordered, and Korean
 * vowels and finals may be joined with what comes before. */
static bool is_inert(const cot_normalizer_step *step, int32_t code)
{
    if (code < step->plain_below) return true;
    if ((COT_CLASSES_MARK >> cot_class_of(code) & 1) || (code >= 0x1100 && code < 0x1200)) return false;
    if (code >= 0xac00 && code < 0xd7a4) return step->form & UTF8PROC_COMPOSE;
    utf8proc_int32_t parts[8];
    const utf8proc_ssize_t count = utf8proc_decompose_char(code, parts, 8, step->form, NULL);
    return count == 1 && parts[0] == code;
}

/* Decomposes a stretch into room->codes; COMPOSE is left for later. */
static cot_status decompose(const cot_normalizer_step *step, cot_normalizer_room *room, const char *text, size_t length,
                            size_t *count)
{
    enum { PARTS_MAX = 32 };  /* of one character: U+FDFA has 18 */
    const char *const end = text + length;
    *count = 0;
    for (cot_character c; text < end; text += c.size) {
        int32_t *codes = cot_grown(room->codes, &room->code_capacity, *count + PARTS_MAX, sizeof *codes);
        if (!codes) return no_memory();
        room->codes = codes;
        c = cot_character_at(text, end);
        const utf8proc_ssize_t parts = utf8proc_decompose_char(c.code, codes + *count, PARTS_MAX, step->form, NULL);
        if (parts < 0 || parts > PARTS_MAX)
            return cot_fail(COT_INVALID, "U+%04X cannot be normalized", (unsigned)c.code);
        *count += (size_t)parts;
    }
    return COT_OK;
}

static unsigned combining_class(int32_t code) { return (unsigned)utf8proc_get_property(code)->combining_class; }

/* Sorts marks by their combining class, those of one class as they stand, through as many other places. */
static void sort_marks(int32_t *codes, size_t count, int32_t *sorted)
{
    size_t places[257] = {0};
    for (size_t i = 0; i < count; i++) places[combining_class(codes[i]) + 1]++;
    for (size_t i = 1; i < 257; i++) places[i] += places[i - 1];
    for (size_t i = 0; i < count; i++) sorted[places[combining_class(codes[i])]++] = codes[i];
    memcpy(codes, sorted, count * sizeof *codes);
}

/* Unicode's canonical order. utf8proc's own takes a time that grows with the square of the number of marks in a row. */
static cot_status order_marks(cot_normalizer_room *room, size_t count)
{
    if (!cot_buffer_reserve(&room->sorted, count * sizeof(int32_t))) return no_memory();
    for (size_t start = 0, end; start < count; start = end + 1) {
        for (end = start; end < count && combining_class(room->codes[end]); end++) continue;
        if (end - start > 1) sort_marks(room->codes + start, end - start, (int32_t *)(void *)room->sorted.bytes);
    }
    return COT_OK;
}

/* Normalizes a stretch of valid UTF-8 that begins and ends where nothing can be joined. */
static cot_status add_form(const cot_normalizer_step *step, cot_normalizer_room *room, const char *text, size_t length,
                           cot_buffer *out)
{
    size_t count;
    COT_TRY(decompose(step, room, text, length, &count));
    COT_TRY(order_marks(room, count));
    const utf8proc_ssize_t left = utf8proc_normalize_utf32(room->codes, (utf8proc_ssize_t)count, step->form);
    if (left < 0 || !cot_buffer_reserve(out, 4 * (size_t)left)) return no_memory();
    for (utf8proc_ssize_t i = 0; i < left; i++)
        out->length += (size_t)utf8proc_encode_char(room->codes[i], (utf8proc_uint8_t *)out->bytes + out->length);
    return COT_OK;
}

/* Most of a text stays as it is: what may change is looked for, and taken together with the character before it. */
static cot_status normalize_form(const cot_normalizer_step *step, cot_normalizer_room *room, const char *text,
                                 size_t length, cot_buffer *out)
{
    const char *const end = text + length;
    const char       *copied = text, *before = text, *at = text;  /* `before` is the character before `at` */
    while (at < end) {
        const cot_character c = cot_character_at(at, end);
        if (c.code < 0 || is_inert(step, c.code)) {
            before = at;
            at += c.size;
            continue;
        }
        const char *stop = at;
        for (cot_character next; stop < end; stop += next.size) {
            next = cot_character_at(stop, end);
            if (next.code < 0 || is_inert(step, next.code)) break;
        }
        if (before < at && cot_character_at(before, end).code < 0) before = at;
        COT_TRY(add(out, copied, (size_t)(before - copied)));
        COT_TRY(add_form(step, room, before, (size_t)(stop - before), out));
        copied = before = at = stop;
    }
    return add(out, copied, (size_t)(end - copied));
}

/* ---- single characters ---- */

static cot_status normalize_characters(const cot_normalizer_step *step, const char *text, size_t length,
                                       cot_buffer *out)
{
    const char *const end = text + length;
    for (cot_character c; text < end; text += c.size) {
        char   lower[4];
        size_t size;
        c = cot_character_at(text, end);
        if (step->kind == COT_NORMALIZE_STRIP_ACCENTS) {
            if (!(COT_CLASSES_MARK >> cot_character_class(c) & 1)) COT_TRY(add(out, text, c.size));
        } else if (c.code == 0x130) {  /* the one letter whose small form is two characters */
            COT_TRY(add(out, "i\xcc\x87", 3));
        } else if (c.code < 0) {
            COT_TRY(add(out, text, c.size));
        } else {
            size = (size_t)utf8proc_encode_char(utf8proc_tolower(c.code), (utf8proc_uint8_t *)lower);
            COT_TRY(add(out, lower, size));
        }
    }
    return COT_OK;
}

static cot_status normalize_strip(const cot_normalizer_step *step, const char *text, size_t length, cot_buffer *out)
{
    const char *end = text + length;
    for (cot_character c; step->left && text < end; text += c.size) {
        c = cot_character_at(text, end);
        if (!cot_character_is_space(c)) break;
    }
    for (cot_character c; step->right && text < end; end -= c.size) {
        c = cot_character_before(text, end);
        if (!cot_character_is_space(c)) break;
    }
    return add(out, text, (size_t)(end - text));
}

/* ---- replacing ---- */

/* The next place from `from` on where the step's text or pattern is found; *end == *start when there is none. */
static cot_status find_next(const cot_normalizer_step *step, const char *text, size_t length, size_t from,
                            size_t *start, size_t *end)
{
    if (!step->find) return cot_pattern_find(&step->pattern, text, length, from, start, end);
    const size_t size = strlen(step->find);
    while (length - from >= size) {
        const char *found = memchr(text + from, step->find[0], length - from - size + 1);
        if (!found) break;
        from = (size_t)(found - text);
        if (!memcmp(found, step->find, size)) {
            *start = from;
            *end = from + size;
            return COT_OK;
        }
        from++;
    }
    *start = *end = length;
    return COT_OK;
}

static cot_status normalize_replace(const cot_normalizer_step *step, const char *text, size_t length, cot_buffer *out)
{
    const size_t size = strlen(step->content);
    for (size_t at = 0, start, end; at < length; at = end) {
        COT_TRY(find_next(step, text, length, at, &start, &end));
        COT_TRY(add(out, text + at, start - at));
        if (end > start) COT_TRY(add(out, step->content, size));
    }
    return COT_OK;
}

/* ---- SentencePiece ---- */

/* What the next character or characters of a text become. */
typedef struct {
    const char *text;
    size_t      length, taken;
} mapped;

static mapped map_next(const cot_normalizer_step *step, const char *text, size_t length)
{
    const char *replacement;
    size_t      found = 0;
    if (cot_trie_longest(&step->symbols, text, length, &found) >= 0) return (mapped){text, found, found};
    found = cot_charsmap_find(&step->charsmap, text, length, true, &replacement);
    if (found) return (mapped){replacement, strlen(replacement), found};
    const size_t size = cot_character_at(text, text + length).size;
    return (mapped){text, size, size};
}

static cot_status add_space(const cot_normalizer_step *step, cot_buffer *out)
{
    return step->escape ? add(out, escaped_space, sizeof escaped_space - 1) : add(out, " ", 1);
}

static cot_status add_mapped(const cot_normalizer_step *step, mapped m, bool *after_space, cot_buffer *out)
{
    size_t at = 0;
    while (*after_space && at < m.length && m.text[at] == ' ') at++;
    if (at < m.length) *after_space = m.text[m.length - 1] == ' ';
    for (; at < m.length; at++) {
        const char *space = memchr(m.text + at, ' ', m.length - at);
        const size_t inked = space ? (size_t)(space - m.text) - at : m.length - at;
        COT_TRY(add(out, m.text + at, inked));
        at += inked;
        if (space) COT_TRY(add_space(step, out));
    }
    if (!step->trim) *after_space = false;
    return COT_OK;
}

static void trim_end(const cot_normalizer_step *step, cot_buffer *out)
{
    const char  *space = step->escape ? escaped_space : " ";
    const size_t size = strlen(space);
    while (out->length >= size && !memcmp(out->bytes + out->length - size, space, size)) out->length -= size;
}

static cot_status normalize_sentencepiece(const cot_normalizer_step *step, const char *text, size_t length,
                                          bool goes_on, cot_buffer *out)
{
    mapped m = {0};
    while (step->trim && length && (m = map_next(step, text, length)).length == 1 && *m.text == ' ') {
        text += m.taken;
        length -= m.taken;
    }
    if (!length) return COT_OK;
    if (step->prefix && (!goes_on || step->trim)) COT_TRY(add_space(step, out));
    bool after_space = step->trim;
    for (; length; text += m.taken, length -= m.taken) {
        if (!step->charsmap.unit_count && !step->trim) {  /* nothing but spaces changes: all up to the next one */
            const char *space = memchr(text, ' ', length);
            const size_t inked = space ? (size_t)(space - text) : length;
            m = inked ? (mapped){text, inked, inked} : (mapped){text, 1, 1};
        } else {
            m = map_next(step, text, length);
        }
        COT_TRY(add_mapped(step, m, &after_space, out));
    }
    if (step->trim) trim_end(step, out);
    return step->suffix ? add_space(step, out) : COT_OK;
}

/* ---- the same map by other rules: whole graphemes of less than six bytes, else single characters; the shortest
 * prefix that is in the map decides ---- */

static cot_status add_precompiled(const cot_normalizer_step *step, const char *text, size_t length, bool *replaced,
                                  cot_buffer *out)
{
    const char *replacement;
    *replaced = cot_charsmap_find(&step->charsmap, text, length, false, &replacement) > 0;
    return *replaced ? add(out, replacement, strlen(replacement)) : COT_OK;
}

static size_t grapheme_length(const char *text, size_t length)
{
    const char *const end = text + length;
    utf8proc_int32_t  state = 0;
    cot_character     c = cot_character_at(text, end);
    const char       *at = text + c.size;
    for (cot_character next; at < end; c = next, at += next.size) {
        next = cot_character_at(at, end);
        if (c.code < 0 || next.code < 0 || utf8proc_grapheme_break_stateful(c.code, next.code, &state)) break;
    }
    return (size_t)(at - text);
}

static cot_status normalize_precompiled(const cot_normalizer_step *step, const char *text, size_t length,
                                        cot_buffer *out)
{
    for (size_t size; length; text += size, length -= size) {
        bool replaced = false;
        size = grapheme_length(text, length);
        if (size < 6) COT_TRY(add_precompiled(step, text, size, &replaced, out));
        if (replaced) continue;
        for (size_t at = 0, character; at < size; at += character) {
            character = cot_character_at(text + at, text + size).size;
            COT_TRY(add_precompiled(step, text + at, character, &replaced, out));
            if (!replaced) COT_TRY(add(out, text + at, character));
        }
    }
    return COT_OK;
}

/* ---- all steps ---- */

static cot_status run_step(const cot_normalizer_step *step, cot_normalizer_room *room, const char *text, size_t length,
                           bool goes_on, cot_buffer *out)
{
    switch (step->kind) {
    case COT_NORMALIZE_FORM: return normalize_form(step, room, text, length, out);
    case COT_NORMALIZE_LOWERCASE:
    case COT_NORMALIZE_STRIP_ACCENTS: return normalize_characters(step, text, length, out);
    case COT_NORMALIZE_STRIP: return normalize_strip(step, text, length, out);
    case COT_NORMALIZE_PREPEND:
        if (length && !goes_on) COT_TRY(add(out, step->content, strlen(step->content)));
        return add(out, text, length);
    case COT_NORMALIZE_REPLACE: return normalize_replace(step, text, length, out);
    case COT_NORMALIZE_PRECOMPILED: return normalize_precompiled(step, text, length, out);
    case COT_NORMALIZE_SENTENCEPIECE: return normalize_sentencepiece(step, text, length, goes_on, out);
    }
    return COT_OK;
}

cot_status cot_normalize(const cot_normalizer *normalizer, cot_normalizer_room *room, const char *text, size_t length,
                         bool goes_on, const char **out, size_t *out_length)
{
    const size_t limit = length < SIZE_MAX / 2 / GROWTH_MAX ? GROWTH_MAX * length + GROWTH_SLACK : SIZE_MAX;
    for (size_t i = 0; i < normalizer->count; i++) {
        cot_buffer *buffer = &room->buffers[i % 2];
        buffer->length = 0;
        buffer->limit = limit;
        if (!cot_buffer_reserve(buffer, length + 1)) return no_memory();
        COT_TRY(run_step(&normalizer->steps[i], room, text, length, goes_on, buffer));
        text = buffer->bytes;
        length = buffer->length;
    }
    *out = text;
    *out_length = length;
    return COT_OK;
}

void cot_normalizer_room_release(cot_normalizer_room *room)
{
    cot_free(room->buffers[0].bytes);
    cot_free(room->buffers[1].bytes);
    cot_free(room->codes);
    cot_free(room->sorted.bytes);
    *room = (cot_normalizer_room){0};
}
