#include "data/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <zlib.h>
#ifdef COT_HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/fail.h"
#include "base/memory.h"

/* Real text shrinks 3 to 20 times; what unpacks beyond both limits is a bomb, not a corpus. */
enum { MAX_RATIO = 1000, RATIO_COUNTS_FROM = 64 << 20 };

enum { INPUT_BYTES = 128 << 10 };

#ifndef COT_HAVE_ZSTD
typedef void ZSTD_DCtx;  /* there never is one */
#endif

struct cot_reader {
    char       *path;
    FILE       *file;      /* plain and .zst */
    gzFile      gz;
    ZSTD_DCtx  *zstd;
    char       *input;     /* .zst: packed bytes [input_at, input_end) */
    size_t      input_at, input_end;
    bool        frame_open;  /* .zst: inside a frame */
    uint64_t    consumed, produced;
};

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool cot_reader_packed(const char *path) { return ends_with(path, ".gz") || ends_with(path, ".zst"); }

void cot_reader_close(cot_reader *reader)
{
    if (!reader) return;
    if (reader->file) fclose(reader->file);
    if (reader->gz) gzclose(reader->gz);
#ifdef COT_HAVE_ZSTD
    ZSTD_freeDCtx(reader->zstd);
#endif
    cot_free(reader->input);
    cot_free(reader->path);
    cot_free(reader);
}

static cot_status open_zstd(cot_reader *reader)
{
#ifdef COT_HAVE_ZSTD
    reader->input = cot_malloc(INPUT_BYTES);
    reader->zstd = ZSTD_createDCtx();
    return reader->input && reader->zstd ? COT_OK
                                         : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to unpack it", reader->path);
#else
    return cot_fail(COT_INVALID, "%s: this build cannot unpack zstd data; it was made without libzstd", reader->path);
#endif
}

static cot_status open_streams(cot_reader *reader)
{
    const char *path = reader->path;
    errno = 0;
    if (ends_with(path, ".gz")) {
        reader->gz = gzopen(path, "rb");
        if (!reader->gz) return cot_fail(COT_IO, "%s: cannot open: %s", path, strerror(errno ? errno : ENOMEM));
        gzbuffer(reader->gz, INPUT_BYTES);
        return COT_OK;
    }
    reader->file = fopen(path, "rb");
    if (!reader->file) return cot_fail(COT_IO, "%s: cannot open: %s", path, strerror(errno));
    return ends_with(path, ".zst") ? open_zstd(reader) : COT_OK;
}

cot_status cot_reader_open(const char *path, cot_reader **out)
{
    *out = NULL;
    cot_reader *reader = cot_calloc(sizeof *reader);
    if (!reader) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    reader->path = cot_strdup(path);
    const cot_status status =
        reader->path ? open_streams(reader) : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    if (status != COT_OK) {
        cot_reader_close(reader);
        return status;
    }
    *out = reader;
    return COT_OK;
}

static cot_status read_plain(cot_reader *reader, void *buffer, size_t capacity, size_t *got)
{
    *got = fread(buffer, 1, capacity, reader->file);
    reader->consumed += *got;
    if (*got < capacity && ferror(reader->file))
        return cot_fail(COT_IO, "%s: cannot read: %s", reader->path, strerror(errno));
    return COT_OK;
}

static cot_status gz_failure(cot_reader *reader)
{
    int         code;
    const char *text = gzerror(reader->gz, &code);
    if (code == Z_BUF_ERROR)
        return cot_fail(COT_FORMAT, "%s: the gzip data end in the middle; the file is cut off", reader->path);
    if (code == Z_MEM_ERROR) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to unpack it", reader->path);
    if (code == Z_ERRNO) return cot_fail(COT_IO, "%s: cannot read: %s", reader->path, strerror(errno));
    return cot_fail(COT_FORMAT, "%s: broken gzip data: %s", reader->path, text);
}

static cot_status read_gz(cot_reader *reader, char *buffer, size_t capacity, size_t *got)
{
    while (*got < capacity) {
        const size_t   room = capacity - *got;
        const unsigned want = room < (1u << 30) ? (unsigned)room : 1u << 30;
        const int      n = gzread(reader->gz, buffer + *got, want);
        if (n > 0) *got += (size_t)n;
        if (n == (int)want) continue;
        int code;
        gzerror(reader->gz, &code);
        if (n < 0 || code != Z_OK) return gz_failure(reader);
        break;
    }
    if (gzdirect(reader->gz))
        return cot_fail(COT_FORMAT, "%s: not gzip data, though the name ends in .gz", reader->path);
    const z_off_t offset = gzoffset(reader->gz);
    if (offset > 0) reader->consumed = (uint64_t)offset;
    return COT_OK;
}

#ifdef COT_HAVE_ZSTD
static cot_status refill(cot_reader *reader)
{
    size_t           got;
    const cot_status status = read_plain(reader, reader->input, INPUT_BYTES, &got);
    reader->input_at = 0;
    reader->input_end = got;
    return status;
}

static cot_status read_zstd(cot_reader *reader, char *buffer, size_t capacity, size_t *got)
{
    while (*got < capacity) {
        if (reader->input_at == reader->input_end) COT_TRY(refill(reader));
        const bool end = reader->input_at == reader->input_end;
        if (end && !reader->frame_open) break;
        ZSTD_inBuffer  in = {reader->input, reader->input_end, reader->input_at};
        ZSTD_outBuffer out = {buffer, capacity, *got};
        const size_t   left = ZSTD_decompressStream(reader->zstd, &out, &in);
        if (ZSTD_isError(left))
            return cot_fail(COT_FORMAT, "%s: broken zstd data: %s", reader->path, ZSTD_getErrorName(left));
        if (end && left != 0 && out.pos == *got)
            return cot_fail(COT_FORMAT, "%s: the zstd data end in the middle; the file is cut off", reader->path);
        reader->frame_open = left != 0;
        reader->input_at = in.pos;
        *got = out.pos;
    }
    return COT_OK;
}
#else
static cot_status read_zstd(cot_reader *reader, char *buffer, size_t capacity, size_t *got)
{
    (void)buffer, (void)capacity, (void)got;
    return open_zstd(reader);  /* not reached: none was opened */
}
#endif

cot_status cot_reader_read(cot_reader *reader, void *buffer, size_t capacity, size_t *got)
{
    *got = 0;
    cot_status status;
    if (reader->gz) status = read_gz(reader, buffer, capacity, got);
    else if (reader->zstd) status = read_zstd(reader, buffer, capacity, got);
    else status = read_plain(reader, buffer, capacity, got);
    reader->produced += *got;
    if (status == COT_OK && reader->produced > RATIO_COUNTS_FROM && reader->produced / MAX_RATIO > reader->consumed)
        return cot_fail(COT_FORMAT, "%s: unpacks to more than %d times its size; refused", reader->path, MAX_RATIO);
    return status;
}

uint64_t cot_reader_consumed(const cot_reader *reader) { return reader->consumed; }
