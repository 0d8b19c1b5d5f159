/* Reading a SentencePiece model: its pieces and scores, and how it prepares text. The sections of a tokenizer.json that
 * come nearest to it are made as well, so that it can be saved as one. [kudo2018sentencepiece] */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "data/tokenizers/base64.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/protobuf.h"
#include "data/tokenizers/section.h"
#include "data/tokenizers/vocabulary.h"
#include "data/utf8.h"

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER_DEFINED, PIECE_UNUSED, PIECE_BYTE };
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2 };
enum { PIECE_BYTES_MAX = 512 };  /* of what is looked for in texts; its halves are tried at every character */

static const char space_sign[] = "\xe2\x96\x81";

/* A text inside of the file. */
typedef struct {
    const char *bytes;
    size_t      length;
} span;

typedef struct {
    const char    *name;
    cot_tokenizer *tokenizer;
    uint8_t       *types;  /* [pieces] */
    float         *piece_scores;
    size_t         type_capacity, score_capacity, flag_capacity, merge_capacity;
    uint64_t       model_type;
    bool           byte_fallback, suffix, prefix, trim, escape;
    span           charsmap, unknown_surface, begin_piece, end_piece;
} loader;

static cot_status no_memory(const loader *l) { return cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", l->name); }

/* ---- the messages ---- */

static cot_status add_piece(loader *l, span text, float score, uint64_t type)
{
    cot_tokenizer *t = l->tokenizer;
    const size_t   at = t->keys.count;
    uint32_t       id;
    if (!text.length || cot_utf8_valid(text.bytes, text.length) != text.length || memchr(text.bytes, 0, text.length))
        return cot_fail(COT_FORMAT, "%s: piece %zu is empty or no valid UTF-8", l->name, at);
    if (!isfinite(score) || type < PIECE_NORMAL || type > PIECE_BYTE)
        return cot_fail(COT_FORMAT, "%s: piece %zu has type %llu and score %g, expected a type of 1 to 6", l->name, at,
                        (unsigned long long)type, (double)score);
    if (type == PIECE_NORMAL && text.length > PIECE_BYTES_MAX)
        return cot_fail(COT_FORMAT, "%s: piece %zu has %zu bytes, expected at most %d", l->name, at, text.length,
                        PIECE_BYTES_MAX);
    if (at >= COT_VOCAB_SIZE_MAX)
        return cot_fail(COT_FORMAT, "%s: more than %d pieces", l->name, COT_VOCAB_SIZE_MAX);
    COT_TRY(cot_byte_table_add(&t->keys, text.bytes, text.length, &id));
    if (id != at) return cot_fail(COT_FORMAT, "%s: pieces %u and %zu are the same", l->name, id, at);
    uint8_t *types = cot_grown(l->types, &l->type_capacity, at + 1, sizeof *types);
    if (types) l->types = types;
    float *scores = cot_grown(l->piece_scores, &l->score_capacity, at + 1, sizeof *scores);
    if (scores) l->piece_scores = scores;
    if (!types || !scores) return no_memory(l);
    types[at] = (uint8_t)type;
    scores[at] = score;
    return COT_OK;
}

static cot_status read_piece(loader *l, cot_protobuf m)
{
    cot_protobuf_field f;
    span               text = {0};
    float              score = 0;
    uint64_t           type = PIECE_NORMAL;
    for (bool more;;) {
        COT_TRY(cot_protobuf_next(&m, &f, &more));
        if (!more) return add_piece(l, text, score, type);
        if (f.number == 1 && f.wire == COT_WIRE_BYTES) text = (span){f.bytes, f.length};
        if (f.number == 2 && f.wire == COT_WIRE_32) score = cot_protobuf_float(&f);
        if (f.number == 3 && f.wire == COT_WIRE_VARINT) type = f.value;
    }
}

static cot_status read_trainer(loader *l, cot_protobuf m)
{
    cot_protobuf_field f;
    for (bool more;;) {
        COT_TRY(cot_protobuf_next(&m, &f, &more));
        if (!more) return COT_OK;
        if (f.wire == COT_WIRE_VARINT && f.number == 3) l->model_type = f.value;
        if (f.wire == COT_WIRE_VARINT && f.number == 24) l->suffix = f.value;
        if (f.wire == COT_WIRE_VARINT && f.number == 35) l->byte_fallback = f.value;
        if (f.wire == COT_WIRE_BYTES && f.number == 44) l->unknown_surface = (span){f.bytes, f.length};
        if (f.wire == COT_WIRE_BYTES && f.number == 46) l->begin_piece = (span){f.bytes, f.length};
        if (f.wire == COT_WIRE_BYTES && f.number == 47) l->end_piece = (span){f.bytes, f.length};
    }
}

static cot_status read_normalizer(loader *l, cot_protobuf m, bool backwards)
{
    cot_protobuf_field f;
    for (bool more;;) {
        COT_TRY(cot_protobuf_next(&m, &f, &more));
        if (!more) return COT_OK;
        if (backwards && f.number == 2 && f.length)
            return cot_fail(COT_FORMAT, "%s: it rewrites decoded text, which is not supported", l->name);
        if (backwards) continue;
        if (f.wire == COT_WIRE_BYTES && f.number == 2) l->charsmap = (span){f.bytes, f.length};
        if (f.wire == COT_WIRE_VARINT && f.number == 3) l->prefix = f.value;
        if (f.wire == COT_WIRE_VARINT && f.number == 4) l->trim = f.value;
        if (f.wire == COT_WIRE_VARINT && f.number == 5) l->escape = f.value;
    }
}

static cot_status read_model(loader *l, cot_protobuf m)
{
    cot_protobuf_field f;
    for (bool more;;) {
        COT_TRY(cot_protobuf_next(&m, &f, &more));
        if (!more) break;
        if (f.wire != COT_WIRE_BYTES) continue;
        if (f.number == 1) COT_TRY(read_piece(l, cot_protobuf_inside(&m, &f)));
        if (f.number == 2) COT_TRY(read_trainer(l, cot_protobuf_inside(&m, &f)));
        if (f.number == 3 || f.number == 5) COT_TRY(read_normalizer(l, cot_protobuf_inside(&m, &f), f.number == 5));
    }
    if (l->model_type != TYPE_UNIGRAM && l->model_type != TYPE_BPE)
        return cot_fail(COT_FORMAT, "%s: model_type is %llu, expected 1 (unigram) or 2 (BPE)", l->name,
                        (unsigned long long)l->model_type);
    return l->tokenizer->keys.count ? COT_OK
                                    : cot_fail(COT_FORMAT, "%s: no pieces, expected a SentencePiece model", l->name);
}

/* ---- pieces ---- */

/* Control pieces are special; what users defined is looked for in the normalized text, unless scores see to it. */
static uint8_t flags_of(const loader *l, uint8_t type)
{
    switch (type) {
    case PIECE_UNKNOWN:
    case PIECE_CONTROL: return COT_TOKEN_ADDED | COT_TOKEN_SPECIAL;
    case PIECE_USER_DEFINED: return l->model_type == TYPE_BPE ? COT_TOKEN_ADDED | COT_TOKEN_NORMALIZED : 0;
    default: return 0;
    }
}

static cot_status set_flags(loader *l)
{
    cot_tokenizer *t = l->tokenizer;
    t->flags = cot_calloc(t->keys.count);
    if (!t->flags) return no_memory(l);
    for (uint32_t id = 0; id < t->keys.count; id++) {
        const uint8_t type = l->types[id];
        size_t        length;
        const char   *key = cot_tokenizer_key(t, (int32_t)id, &length);
        t->flags[id] = flags_of(l, type);
        if (type == PIECE_UNKNOWN && t->unknown >= 0)
            return cot_fail(COT_FORMAT, "%s: pieces %d and %u are both for the unknown", l->name, t->unknown, id);
        if (type == PIECE_UNKNOWN) t->unknown = (int32_t)id;
        if (type == PIECE_BYTE && cot_fallback_byte(key, length) < 0)
            return cot_fail(COT_FORMAT, "%s: piece %u is \"%.60s\", expected a byte such as <0x0A>", l->name, id, key);
        if (type == PIECE_UNUSED && l->model_type == TYPE_BPE)
            return cot_fail(COT_FORMAT, "%s: piece %u is unused, which BPE does not support here", l->name, id);
    }
    if (t->unknown < 0) return cot_fail(COT_FORMAT, "%s: no piece for the unknown", l->name);
    return COT_OK;
}

static int32_t control_piece(const loader *l, span text)
{
    const int64_t id = cot_byte_table_find(&l->tokenizer->keys, text.bytes, text.length);
    return id >= 0 && l->types[id] == PIECE_CONTROL ? (int32_t)id : -1;
}

/* ---- unigram ---- */

/* NaN keeps a piece out of texts. What users defined is always worth more than its parts. */
static cot_status set_scores(loader *l)
{
    cot_tokenizer *t = l->tokenizer;
    float          highest = FLT_MIN;  /* that is how SentencePiece starts */
    t->scores = cot_malloc(t->keys.count * sizeof *t->scores);
    if (!t->scores) return no_memory(l);
    for (uint32_t id = 0; id < t->keys.count; id++)
        if (l->types[id] == PIECE_NORMAL && l->piece_scores[id] > highest) highest = l->piece_scores[id];
    for (uint32_t id = 0; id < t->keys.count; id++) {
        size_t length;
        cot_tokenizer_key(t, (int32_t)id, &length);
        t->scores[id] = NAN;
        if (l->types[id] == PIECE_NORMAL) t->scores[id] = l->piece_scores[id];
        if (l->types[id] == PIECE_USER_DEFINED) t->scores[id] = (double)((float)length * highest) - 0.1;
    }
    return COT_OK;
}

/* ---- BPE ---- */

typedef struct {
    int32_t id;
    float   score;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int64_t normal_piece(const loader *l, const char *text, size_t length)
{
    const int64_t id = cot_byte_table_find(&l->tokenizer->keys, text, length);
    return id >= 0 && l->types[id] == PIECE_NORMAL ? id : -1;
}

/* Any two pieces that are a piece together merge. They have one rank here, but not in a tokenizer.json: there, as in
 * what Hugging Face's converters make, the longest left part goes first. */
static cot_status add_merges(loader *l, int32_t id, int32_t rank)
{
    cot_tokenizer    *t = l->tokenizer;
    size_t            length;
    const char *const key = cot_tokenizer_key(t, id, &length), *const end = key + length;
    for (const char *at = end - cot_character_before(key, end).size; at > key;
         at -= cot_character_before(key, at).size) {
        const int64_t left = normal_piece(l, key, (size_t)(at - key)), right = normal_piece(l, at, (size_t)(end - at));
        if (left < 0 || right < 0) continue;
        cot_merge *merges = cot_grown(t->merges, &l->merge_capacity, (size_t)t->merge_count + 1, sizeof *merges);
        if (!merges) return no_memory(l);
        t->merges = merges;
        if (t->merge_count == INT32_MAX / 2) return cot_fail(COT_FORMAT, "%s: too many merges", l->name);
        merges[t->merge_count++] = (cot_merge){(int32_t)left, (int32_t)right, id, rank};
    }
    return COT_OK;
}

static cot_status set_merges(loader *l)
{
    cot_tokenizer *t = l->tokenizer;
    size_t         count = 0;
    int32_t        rank = 0;
    cot_status     status = COT_OK;
    ranked        *order = cot_malloc(t->keys.count * sizeof *order);
    if (!order) return no_memory(l);
    for (uint32_t id = 0; id < t->keys.count; id++)
        if (l->types[id] == PIECE_NORMAL) order[count++] = (ranked){(int32_t)id, l->piece_scores[id]};
    qsort(order, count, sizeof *order, compare_ranked);
    for (size_t i = 0; i < count && status == COT_OK; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        status = add_merges(l, order[i].id, rank);
    }
    cot_free(order);
    return status;
}

/* ---- how text is prepared ---- */

/* What users defined passes through the normalizer as it is. */
static cot_status set_symbols(const loader *l, cot_trie *symbols)
{
    const cot_tokenizer *t = l->tokenizer;
    size_t               count = 0;
    cot_trie_entry      *entries = cot_malloc(t->keys.count * sizeof *entries);
    if (!entries) return no_memory(l);
    for (uint32_t id = 0; id < t->keys.count; id++) {
        if (l->types[id] != PIECE_USER_DEFINED) continue;
        cot_trie_entry *entry = &entries[count++];
        entry->bytes = cot_tokenizer_key(t, (int32_t)id, &entry->length);
        entry->value = (int32_t)id;
    }
    const cot_status status = cot_trie_build(entries, count, symbols);
    cot_free(entries);
    return status;
}

static cot_status set_normalizer(loader *l)
{
    cot_normalizer_step step = {.kind = COT_NORMALIZE_SENTENCEPIECE, .trim = l->trim, .escape = l->escape,
                                .prefix = l->prefix && !l->suffix, .suffix = l->prefix && l->suffix};
    COT_TRY(cot_charsmap_read(&step.charsmap, l->charsmap.bytes, l->charsmap.length, l->name));
    cot_status status = set_symbols(l, &step.symbols);
    if (status == COT_OK) status = cot_normalizer_add(&l->tokenizer->normalizer, &step);
    if (status != COT_OK) cot_normalizer_step_release(&step);
    return status;
}

static cot_status set_decoder(const loader *l)
{
    cot_decoder *d = &l->tokenizer->decoder;
    d->byte_fallback = l->byte_fallback;
    d->strip = l->prefix || l->trim ? COT_STRIP_ONE : COT_STRIP_NOTHING;
    d->find = cot_strdup(space_sign);
    d->content = cot_strdup(" ");
    d->unknown = l->unknown_surface.bytes ? cot_strndup(l->unknown_surface.bytes, l->unknown_surface.length)
                                          : cot_strdup(" \xe2\x81\x87 ");
    return d->find && d->content && d->unknown ? COT_OK : no_memory(l);
}

/* ---- the sections for saving: what Hugging Face's converters make of such a model ---- */

static json_t *normalizer_section(const loader *l)
{
    json_t *steps = json_array();
    if (l->trim)
        json_array_append_new(steps, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 1, "strip_right", 1));
    if (l->charsmap.length) {
        char *text = cot_base64_encode(l->charsmap.bytes, l->charsmap.length);
        json_array_append_new(steps, text ? json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", text)
                                          : NULL);
        cot_free(text);
    }
    if (l->trim)
        json_array_append_new(
            steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", " {2,}", "content", " "));
    if (l->prefix) json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", space_sign));
    json_array_append_new(
        steps, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content", space_sign));
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *decoder_section(const loader *l)
{
    json_t *steps = json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String", space_sign,
                              "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (l->prefix || l->trim)
        json_array_append_new(
            steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static json_t *post_processor_section(const loader *l)
{
    const cot_tokenizer *t = l->tokenizer;
    size_t               length;
    if (t->start < 0) return json_null();
    const char *begin = cot_tokenizer_key(t, t->start, &length);
    return json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, "
                     "{s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}",
                     "type", "TemplateProcessing", "single", "SpecialToken", "id", begin, "type_id", 0, "Sequence",
                     "id", "A", "type_id", 0, "pair", "SpecialToken", "id", begin, "type_id", 0, "Sequence", "id", "A",
                     "type_id", 0, "SpecialToken", "id", begin, "type_id", 1, "Sequence", "id", "B", "type_id", 1,
                     "special_tokens", begin, "id", begin, "ids", (int)t->start, "tokens", begin);
}

static cot_status keep_section(const loader *l, cot_section section, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    if (text && !json_is_null(value)) l->tokenizer->sections[section] = cot_strdup(text);
    const bool kept = text && (json_is_null(value) || l->tokenizer->sections[section]);
    free(text);
    json_decref(value);
    return kept ? COT_OK : no_memory(l);
}

static cot_status keep_sections(const loader *l)
{
    COT_TRY(keep_section(l, COT_SECTION_NORMALIZER, normalizer_section(l)));
    COT_TRY(keep_section(l, COT_SECTION_DECODER, decoder_section(l)));
    return keep_section(l, COT_SECTION_POST_PROCESSOR, post_processor_section(l));
}

/* ---- the whole ---- */

static cot_status read_all(loader *l, cot_protobuf m)
{
    cot_tokenizer *t = l->tokenizer;
    COT_TRY(read_model(l, m));
    COT_TRY(set_flags(l));
    t->kind = l->model_type == TYPE_BPE ? COT_MODEL_BPE : COT_MODEL_UNIGRAM;
    t->sentencepiece = true;
    t->byte_fallback = l->byte_fallback;
    t->fuse_unknown = true;
    t->start = control_piece(l, l->begin_piece);
    t->end_of_text = control_piece(l, l->end_piece);
    COT_TRY(t->kind == COT_MODEL_BPE ? set_merges(l) : set_scores(l));
    COT_TRY(set_normalizer(l));
    COT_TRY(set_decoder(l));
    COT_TRY(keep_sections(l));
    return cot_vocabulary_finish(t, l->name);
}

cot_status cot_sentencepiece_parse(const char *bytes, size_t length, const char *name, cot_tokenizer **out)
{
    const unsigned char *at = (const unsigned char *)bytes;
    loader               l = {.name = name, .tokenizer = cot_vocabulary_create(), .model_type = TYPE_UNIGRAM,
                              .prefix = true, .trim = true, .escape = true, .begin_piece = {"<s>", 3},
                              .end_piece = {"</s>", 4}};
    *out = NULL;
    const cot_status status = l.tokenizer ? read_all(&l, (cot_protobuf){at, at + length, at, name}) : no_memory(&l);
    cot_free(l.types);
    cot_free(l.piece_scores);
    if (status == COT_OK) *out = l.tokenizer;
    else cot_tokenizer_destroy(l.tokenizer);
    return status;
}
