/* A file of llama2.c holds i32 length of the longest piece, then f32 score, i32 length and bytes of each piece, with
 * spaces for SentencePiece's U+2581 and lines around "<s>" and "</s>". What the pieces are and how text is prepared
 * follows from llama2.c's program: 0 is the unknown, 1 begins a text and ends it, 2 is unused, 3 to 258 are the bytes;
 * a space is put before a text, nothing else changes. So the SentencePiece model that it came from is made again, and
 * read as one. */
#include "data/tokenizers/llama2c_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "data/tokenizers/growing.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/file.h"

enum { FILE_BYTES_MAX = 32 << 20, PIECE_BYTES_MAX = 1 << 16, FIRST_BYTE = 3 };
enum { NORMAL = 1, UNKNOWN, CONTROL, BYTE = 6 }; /* types of pieces */

/* A message in protocol buffers, or several of them one behind the other. */
typedef struct {
    cot_buffer buffer;
    bool       failed; /* memory was short */
} message;

/* ---- writing messages ---- */

static void put(message *m, const void *bytes, size_t length)
{
    m->failed = m->failed || !cot_buffer_add(&m->buffer, bytes, length);
}

static void put_varint(message *m, uint64_t value)
{
    for (; value > 127; value >>= 7) put(m, &(unsigned char){(unsigned char)(value | 128)}, 1);
    put(m, &(unsigned char){(unsigned char)value}, 1);
}

static void put_number(message *m, unsigned field, uint64_t value)
{
    put_varint(m, field << 3);
    put_varint(m, value);
}

static void put_bytes(message *m, unsigned field, const char *bytes, size_t length)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, length);
    put(m, bytes, length);
}

/* A message whose fields lie in `inner`, which is emptied. */
static void put_message(message *m, unsigned field, message *inner)
{
    put_bytes(m, field, inner->buffer.bytes, inner->buffer.length);
    m->failed |= inner->failed;
    inner->buffer.length = 0;
}

/* ---- pieces ---- */

static void put_text(message *m, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == ' ')
            put(m, "\xe2\x96\x81", 3);
        else
            put(m, text + i, 1);
    }
}

static int type_of(size_t id)
{
    return id == 0 ? UNKNOWN : id < FIRST_BYTE ? CONTROL : id < FIRST_BYTE + 256 ? BYTE : NORMAL;
}

typedef struct {
    message model, part, text; /* the whole; one of its parts; a piece's text */
} messages;

/* One piece; the fields of a piece are its text, score and type. */
static void put_piece(messages *m, size_t id, const char score[4], const char *text, size_t length)
{
    if (type_of(id) == CONTROL && length > 2 && text[0] == '\n' && text[length - 1] == '\n') text++, length -= 2;
    put_text(&m->text, text, length);
    put_message(&m->part, 1, &m->text);
    put_varint(&m->part, 2 << 3 | 5);
    put(&m->part, score, 4);
    put_number(&m->part, 3, (uint64_t)type_of(id));
    put_message(&m->model, 1, &m->part);
}

static cot_status put_pieces(messages *m, const char *bytes, size_t length, const char *name)
{
    size_t at = 4, id = 0;
    if (length < 4) return cot_fail(COT_FORMAT, "%s has %zu bytes, expected a tokenizer of llama2.c", name, length);
    for (; at < length; id++) {
        uint32_t size = 0;
        if (length - at >= 8) memcpy(&size, bytes + at + 4, sizeof size);
        if (length - at < 8 || size > PIECE_BYTES_MAX || size > length - at - 8)
            return cot_fail(COT_FORMAT, "%s: piece %zu, at byte %zu, reaches beyond the end of the file", name, id, at);
        put_piece(m, id, bytes + at, bytes + at + 8, size);
        at += 8 + size;
    }
    if (id < FIRST_BYTE + 256) return cot_fail(COT_FORMAT, "%s has %zu pieces, expected more than 258", name, id);
    return COT_OK;
}

/* ---- settings ---- */

/* BPE with bytes for what has no piece; "<s>" stands before and behind a text. */
static void put_settings(messages *m)
{
    put_number(&m->part, 3, 2);
    put_number(&m->part, 35, 1);
    put_bytes(&m->part, 46, "<s>", 3);
    put_bytes(&m->part, 47, "<s>", 3);
    put_message(&m->model, 2, &m->part);
    put_number(&m->part, 3, 1); /* a space before the text */
    put_number(&m->part, 4, 0); /* no others are taken away */
    put_number(&m->part, 5, 1); /* they are written as U+2581 */
    put_message(&m->model, 3, &m->part);
}

cot_status cot_llama2c_tokenizer_parse(const char *bytes, size_t length, const char *name, cot_tokenizer **out)
{
    messages m = {0};
    *out = NULL;
    cot_status status = put_pieces(&m, bytes, length, name);
    put_settings(&m);
    if (status == COT_OK && m.model.failed) status = cot_fail(COT_OUT_OF_MEMORY, "%s: a tokenizer", name);
    if (status == COT_OK) status = cot_sentencepiece_parse(m.model.buffer.bytes, m.model.buffer.length, name, out);
    cot_free(m.model.buffer.bytes);
    cot_free(m.part.buffer.bytes);
    cot_free(m.text.buffer.bytes);
    return status;
}

cot_status cot_llama2c_tokenizer_load(const char *path, cot_tokenizer **out)
{
    char  *bytes;
    size_t length;
    *out = NULL;
    COT_TRY(cot_file_read(path, FILE_BYTES_MAX, &bytes, &length));
    const cot_status status = cot_llama2c_tokenizer_parse(bytes, length, path, out);
    cot_free(bytes);
    return status;
}

/* One with more symbols than the model does not belong to it. */
static cot_status load_for(const char *path, int64_t vocab_size, cot_tokenizer **out)
{
    COT_TRY(cot_llama2c_tokenizer_load(path, out));
    const int32_t symbols = cot_tokenizer_vocab_size(*out);
    if (symbols <= vocab_size) return COT_OK;
    cot_tokenizer_destroy(*out);
    *out = NULL;
    return cot_fail(COT_FORMAT, "%s has %d symbols, the model beside it %lld", path, symbols, (long long)vocab_size);
}

cot_status cot_llama2c_tokenizer_beside(const char *checkpoint, int64_t vocab_size, cot_tokenizer **out)
{
    char sized[32];
    snprintf(sized, sizeof sized, "tok%lld.bin", (long long)vocab_size);
    const char *const names[] = {sized, "tokenizer.bin"}, *slash = strrchr(checkpoint, '/');
    const size_t folder = slash ? (size_t)(slash - checkpoint) + 1 : 0;
    *out = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = cot_malloc(folder + sizeof sized);
        if (!path) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
        memcpy(path, checkpoint, folder);
        memcpy(path + folder, names[i], strlen(names[i]) + 1);
        const bool there = cot_file_exists(path);
        const cot_status status = there ? load_for(path, vocab_size, out) : COT_OK;
        cot_free(path);
        if (there) return status;
    }
    return COT_OK;
}
