/* Files over POSIX calls. The partial file has one fixed name per target, so killed writers leave at most one behind;
 * a lock on it keeps two writers of one target apart. */
#define _GNU_SOURCE
#include "formats/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"

enum { BUFFER_BYTES = 1 << 16, LOCK_ATTEMPTS = 16 };

struct cot_file_writer {
    char         *path;
    char         *partial;  /* NULL when path is written directly */
    int           file;
    cot_status    status;   /* the first failure */
    uint64_t      position;
    size_t        buffered;
    unsigned char buffer[BUFFER_BYTES];
};

/* Turns errno into a line. */
static cot_status io_fail(const char *verb, const char *path)
{
    const int error = errno;
    if (error == ENOSPC || error == EDQUOT)
        return cot_fail(COT_IO, "'%s': the disk is full (or its quota used up); what stood there before is untouched",
                        path);
    if (error == EBUSY) return cot_fail(COT_IO, "'%s': another process is writing it", path);
    return cot_fail(COT_IO, "cannot %s '%s': %s", verb, path, strerror(error));
}

static cot_status no_memory(const char *path)
{
    return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to read or write it", path);
}

static int open_retrying(const char *path, int flags)
{
    int file;
    do file = open(path, flags | O_CLOEXEC, 0666);
    while (file < 0 && errno == EINTR);
    return file;
}

/* ---- paths and folders ---- */

char *cot_path_join(const char *folder, const char *name)
{
    const size_t length = strlen(folder);
    const bool   slash = length > 0 && folder[length - 1] != '/';
    char        *path = cot_malloc(length + strlen(name) + 2);
    if (path) sprintf(path, "%s%s%s", folder, slash ? "/" : "", name);
    return path;
}

/* Bytes of `path` up to and with the last slash. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

bool cot_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

bool cot_folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

cot_status cot_folder_make(const char *path)
{
    if (path[0] == '\0') return cot_fail(COT_IO, "a folder's name is empty");
    char *part = cot_strdup(path);
    if (!part) return no_memory(path);
    bool made = true;
    for (char *end = part + 1; made; end++) {
        if (*end != '/' && *end != '\0') continue;
        const char after = *end;
        *end = '\0';
        made = mkdir(part, 0777) == 0 || cot_folder_exists(part);
        *end = after;
        if (after == '\0') break;
    }
    cot_free(part);
    return made ? COT_OK : io_fail("make the folder", path);
}

/* Makes a rename in the folder of `path` last; `path` is cut there meanwhile, since nothing may fail for want of memory
 * once the file is in its place. Some file systems cannot flush a folder: theirs is the best that can be had. */
static bool flush_folder(char *path)
{
    char *const name = path + folder_length(path), first = *name;
    *name = '\0';
    const int file = open_retrying(path[0] ? path : ".", O_RDONLY | O_DIRECTORY);
    const bool done = file >= 0 && (fsync(file) == 0 || errno == EINVAL || errno == EROFS);
    const int error = errno;
    if (file >= 0) close(file);
    *name = first;
    errno = error;
    return done;
}

/* ---- writing ---- */

static bool same_file(int file, const char *path)
{
    struct stat by_handle, by_path;
    return fstat(file, &by_handle) == 0 && lstat(path, &by_path) == 0 && by_handle.st_dev == by_path.st_dev
           && by_handle.st_ino == by_path.st_ino;
}

/* Opens a file, made when missing, and locks it; -1 with errno, EBUSY when somebody else has it. The lock counts only
 * if the file still bears the name: its last owner may just have renamed or removed it. */
static int open_locked(const char *path)
{
    for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
        const int file = open_retrying(path, O_WRONLY | O_CREAT | O_NOFOLLOW);
        if (file < 0) return -1;
        if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(file);
            break;
        }
        if (same_file(file, path)) return file;
        close(file);
    }
    errno = EBUSY;
    return -1;
}

/* Locked and empty. */
static int open_partial(const char *partial)
{
    const int file = open_locked(partial);
    if (file < 0 || ftruncate(file, 0) == 0) return file;
    const int error = errno;
    close(file);
    errno = error;
    return -1;
}

static void writer_free(cot_file_writer *writer)
{
    if (writer->file >= 0) close(writer->file);
    cot_free(writer->partial);
    cot_free(writer->path);
    cot_free(writer);
}

static bool name_partial(cot_file_writer *writer)
{
    const size_t folder = folder_length(writer->path);
    const size_t bytes = strlen(writer->path) + sizeof "..partial";
    writer->partial = cot_malloc(bytes);
    if (!writer->partial) return false;
    snprintf(writer->partial, bytes, "%.*s.%s.partial", (int)folder, writer->path, writer->path + folder);
    return true;
}

cot_status cot_file_writer_open(const char *path, cot_file_writer **out)
{
    *out = NULL;
    struct stat info;
    const bool stands = stat(path, &info) == 0;
    if (path[folder_length(path)] == '\0' || (stands && S_ISDIR(info.st_mode)))
        return cot_fail(COT_IO, "cannot write '%s': it is a folder; expected the name of a file", path);
    cot_file_writer *writer = cot_malloc(sizeof *writer);
    if (!writer) return no_memory(path);
    const bool direct = stands && !S_ISREG(info.st_mode);
    writer->partial = NULL;
    writer->file = -1;
    writer->status = COT_OK;
    writer->position = writer->buffered = 0;
    writer->path = cot_strdup(path);
    if (!writer->path || (!direct && !name_partial(writer))) {
        writer_free(writer);
        return no_memory(path);
    }
    writer->file = direct ? open_retrying(path, O_WRONLY) : open_partial(writer->partial);
    if (writer->file < 0) {
        const cot_status status = io_fail("write", path);
        writer_free(writer);
        return status;
    }
    *out = writer;
    return COT_OK;
}

static bool write_all(int file, const unsigned char *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t written = write(file, data, bytes);
        if (written < 0 && errno != EINTR) return false;
        if (written > 0) {
            data += written;
            bytes -= (size_t)written;
        }
    }
    return true;
}

static cot_status put_through(cot_file_writer *writer, const void *data, size_t bytes)
{
    if (!write_all(writer->file, data, bytes)) writer->status = io_fail("write", writer->path);
    return writer->status;
}

static cot_status flush_buffer(cot_file_writer *writer)
{
    const size_t bytes = writer->buffered;
    writer->buffered = 0;
    return put_through(writer, writer->buffer, bytes);
}

cot_status cot_file_writer_put(cot_file_writer *writer, const void *data, size_t bytes)
{
    if (writer->status != COT_OK) return writer->status;
    writer->position += bytes;
    if (bytes > BUFFER_BYTES - writer->buffered) COT_TRY(flush_buffer(writer));
    if (bytes >= BUFFER_BYTES) return put_through(writer, data, bytes);
    if (bytes > 0) memcpy(writer->buffer + writer->buffered, data, bytes);
    writer->buffered += bytes;
    return COT_OK;
}

uint64_t cot_file_writer_position(const cot_file_writer *writer) { return writer->position; }

cot_status cot_file_writer_commit(cot_file_writer *writer)
{
    if (writer->status == COT_OK) flush_buffer(writer);
    if (writer->status == COT_OK && writer->partial) {
        if (fsync(writer->file) != 0 || rename(writer->partial, writer->path) != 0 || !flush_folder(writer->path))
            writer->status = io_fail("write", writer->path);
    }
    const cot_status status = writer->status;
    if (status == COT_OK) writer_free(writer);
    else cot_file_writer_abort(writer);
    return status;
}

void cot_file_writer_abort(cot_file_writer *writer)
{
    if (!writer) return;
    /* While the lock is held; after a rename the name belongs to somebody else. */
    if (writer->partial && same_file(writer->file, writer->partial)) unlink(writer->partial);
    writer_free(writer);
}

cot_status cot_file_write(const char *path, const void *data, size_t bytes)
{
    cot_file_writer *writer;
    COT_TRY(cot_file_writer_open(path, &writer));
    cot_file_writer_put(writer, data, bytes);  /* a failure is kept until the commit */
    return cot_file_writer_commit(writer);
}

cot_status cot_file_append(const char *path, const void *data, size_t bytes)
{
    const int file = open_retrying(path, O_WRONLY | O_APPEND | O_CREAT);
    struct stat before;
    if (file < 0) return io_fail("write", path);
    cot_status status = COT_OK;
    if (fstat(file, &before) != 0) status = io_fail("write", path);
    else if (!write_all(file, data, bytes)) {
        status = io_fail("write", path);
        if (ftruncate(file, before.st_size) != 0) status = io_fail("take back what was written of a line to", path);
    }
    close(file);
    return status;
}

cot_status cot_file_flush(const char *path)
{
    const int file = open_retrying(path, O_WRONLY);
    if (file < 0) return errno == ENOENT ? COT_OK : io_fail("write", path);
    const cot_status status = fsync(file) == 0 ? COT_OK : io_fail("write", path);
    close(file);
    return status;
}

/* ---- locks ---- */

cot_status cot_file_lock(const char *path, int *lock)
{
    *lock = open_locked(path);
    if (*lock >= 0) return COT_OK;
    if (errno == EBUSY) return cot_fail(COT_INVALID, "'%s': another process holds it", path);
    return io_fail("write", path);
}

void cot_file_unlock(const char *path, int lock)
{
    if (lock < 0) return;
    unlink(path);  /* while it is held */
    close(lock);
}

/* ---- reading ---- */

static cot_status too_long(const char *path, size_t limit)
{
    return cot_fail(COT_FORMAT, "'%s': longer than %zu bytes; expected a smaller file", path, limit);
}

/* Reads until the end into a block that grows; *block holds `*size` bytes at first and has one byte to spare at the
 * end. */
static cot_status read_to_end(int file, const char *path, size_t limit, char **block, size_t *size, size_t *used)
{
    for (;;) {
        if (*used + 1 >= *size) {
            const size_t grown_size = 2 * *size;
            char *grown = cot_realloc(*block, *size, grown_size);
            if (!grown) return no_memory(path);
            *block = grown;
            *size = grown_size;
        }
        const ssize_t got = read(file, *block + *used, *size - *used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_fail("read", path);
        if (got == 0) return COT_OK;
        *used += (size_t)got;
        if (*used > limit) return too_long(path, limit);
    }
}

cot_status cot_file_read(const char *path, size_t limit, char **out, size_t *bytes)
{
    *out = NULL;
    *bytes = 0;
    const int file = open_retrying(path, O_RDONLY);
    if (file < 0) return io_fail("read", path);
    struct stat info;
    size_t size = BUFFER_BYTES;
    char *block = NULL;
    const bool sized = fstat(file, &info) == 0 && S_ISREG(info.st_mode);
    cot_status status = sized && (uint64_t)info.st_size > limit ? too_long(path, limit) : COT_OK;
    if (sized && status == COT_OK) size = (size_t)info.st_size + 2;
    if (status == COT_OK) block = cot_malloc(size);
    if (status == COT_OK) status = block ? read_to_end(file, path, limit, &block, &size, bytes) : no_memory(path);
    close(file);
    if (status != COT_OK) {
        cot_free(block);
        *bytes = 0;
        return status;
    }
    block[*bytes] = '\0';
    *out = block;
    return COT_OK;
}

cot_status cot_file_map_open(const char *path, cot_file_map *out)
{
    *out = (cot_file_map){.data = (const unsigned char *)"", .bytes = 0};
    const int file = open_retrying(path, O_RDONLY | O_NONBLOCK);  /* a pipe must not make us wait */
    if (file < 0) return io_fail("read", path);
    struct stat info;
    cot_status status = COT_OK;
    if (fstat(file, &info) != 0) status = io_fail("read", path);
    else if (!S_ISREG(info.st_mode)) status = cot_fail(COT_IO, "cannot read '%s': it is no plain file", path);
    else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) status = io_fail("read", path);
        else *out = (cot_file_map){.data = data, .bytes = (size_t)info.st_size};
    }
    close(file);
    return status;
}

void cot_file_map_scattered(const void *part, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)part / page * page;
    madvise((void *)from, bytes + ((uintptr_t)part - from), MADV_RANDOM);  /* a hint: nothing is lost when it fails */
}

void cot_file_map_close(cot_file_map *map)
{
    if (map->bytes > 0) munmap((void *)map->data, map->bytes);
    *map = (cot_file_map){.data = NULL, .bytes = 0};
}
