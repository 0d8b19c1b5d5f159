/* Task files, as they are or inside a tar archive: a path that goes on behind .tar, .tar.gz or .tar.zst names a file or
 * a folder there. */
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/reader.h"
#include "formats/file.h"
#include "inference/tasks/task_parts.h"

enum { MAX_FILE = 256 << 20, BLOCK = 512 };  /* MAX_FILE: of an archive's task files together, too */

static cot_status no_memory(const char *path)
{
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for its questions", path);
}

/* ---- a file ---- */

static cot_status read_packed(const char *path, cot_reader *reader, char **text, size_t *length)
{
    size_t room = 0, got = 0;
    *length = 0;
    *text = NULL;
    do {
        const size_t larger = room ? 2 * room : 1 << 16;
        if (larger > MAX_FILE)
            return cot_fail(COT_FORMAT, "%s: longer than %d MiB, too long for a task", path, MAX_FILE >> 20);
        char *grown = cot_realloc(*text, *length, larger);
        if (!grown) return no_memory(path);
        *text = grown;
        room = larger;
        COT_TRY(cot_reader_read(reader, *text + *length, room - *length, &got));
        *length += got;
    } while (*length == room);
    return COT_OK;
}

/* The whole file, unpacked. */
static cot_status read_all(const char *path, char **text, size_t *length)
{
    cot_reader *reader;
    if (!cot_reader_packed(path)) return cot_file_read(path, MAX_FILE, text, length);
    COT_TRY(cot_reader_open(path, &reader));
    const cot_status status = read_packed(path, reader, text, length);
    cot_reader_close(reader);
    if (status == COT_OK) return COT_OK;
    cot_free(*text);
    *text = NULL;
    return status;
}

/* ---- lists of tasks ---- */

typedef struct {
    cot_task **task;
    size_t     count, room;
} task_list;

void cot_tasks_destroy(cot_task **tasks, size_t count)
{
    for (size_t i = 0; i < count; i++) cot_task_destroy(tasks[i]);
    cot_free(tasks);
}

static cot_status add_task(task_list *list, const char *path, const char *text, size_t length)
{
    if (list->count == list->room) {
        const size_t room = 2 * list->room + 4;
        cot_task **grown = cot_realloc(list->task, list->room * sizeof *grown, room * sizeof *grown);
        if (!grown) return no_memory(path);
        list->task = grown;
        list->room = room;
    }
    COT_TRY(cot_task_parse(path, text, length, &list->task[list->count]));
    list->count++;
    return COT_OK;
}

static cot_status read_file(const char *path, task_list *list)
{
    char *text;
    size_t length;
    COT_TRY(read_all(path, &text, &length));
    const cot_status status = add_task(list, path, text, length);
    cot_free(text);
    return status;
}

/* ---- tar archives (POSIX ustar) ---- */

typedef struct {
    cot_reader *reader;
    const char *path;     /* of the archive */
    const char *wanted;   /* file or folder in it; "" = everything */
    uint64_t    at;       /* bytes read */
    uint64_t    held;     /* bytes of task files so far */
} archive;

typedef struct {
    char     name[100 + 155 + 2];
    uint64_t size;
    bool     regular;
} member;

/* Length of the part of a path that names an archive, 0 when none does. */
static size_t archive_length(const char *path)
{
    static const char *const endings[] = {".tar", ".tar.gz", ".tar.zst"};
    for (const char *at = strstr(path, ".tar"); at; at = strstr(at + 1, ".tar"))
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
            const size_t n = strlen(endings[i]);
            if (strncmp(at, endings[i], n) == 0 && (at[n] == '\0' || at[n] == '/')) return (size_t)(at - path) + n;
        }
    return 0;
}

static cot_status take(archive *a, void *buffer, size_t bytes)
{
    size_t got;
    COT_TRY(cot_reader_read(a->reader, buffer, bytes, &got));
    a->at += got;
    return got == bytes ? COT_OK
                        : cot_fail(COT_FORMAT, "%s: ends after %llu bytes (unpacked), inside a member", a->path,
                                   (unsigned long long)a->at);
}

static cot_status skip(archive *a, uint64_t bytes)
{
    char waste[16 * BLOCK];
    for (uint64_t n; bytes; bytes -= n) {
        n = bytes < sizeof waste ? bytes : sizeof waste;
        COT_TRY(take(a, waste, (size_t)n));
    }
    return COT_OK;
}

/* Digits of base 8, blanks around them; false for anything else. */
static bool octal(const char *field, size_t width, uint64_t *out)
{
    size_t i = 0, digits = 0;
    for (*out = 0; i < width && field[i] == ' '; i++);
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++, digits++) *out = *out * 8 + (uint64_t)(field[i] - '0');
    return digits > 0 && (i == width || field[i] == ' ' || field[i] == '\0');
}

/* The sum of a header's bytes, its own field counted as blanks. */
static uint64_t header_sum(const char *block)
{
    uint64_t sum = 0;
    for (int i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : (unsigned char)block[i];
    return sum;
}

/* Bytes before the first zero one, `most` at most. */
static size_t field_length(const char *field, size_t most)
{
    const char *zero = memchr(field, '\0', most);
    return zero ? (size_t)(zero - field) : most;
}

static void join_name(const char *block, member *m)
{
    const bool ustar = memcmp(block + 257, "ustar", 5) == 0 && block[345];
    const size_t before = ustar ? field_length(block + 345, 155) : 0, length = field_length(block, 100);
    memcpy(m->name, block + 345, before);
    if (ustar) m->name[before] = '/';
    memcpy(m->name + before + ustar, block, length);
    m->name[before + ustar + length] = '\0';
}

/* *more false: a block of zeros, or nothing, ends the archive. */
static cot_status next_member(archive *a, member *m, bool *more)
{
    char block[BLOCK];
    size_t got;
    uint64_t sum;
    COT_TRY(cot_reader_read(a->reader, block, BLOCK, &got));
    a->at += got;
    *more = got > 0;
    for (size_t i = 0; *more && got == BLOCK && block[i] == 0;) *more = ++i < BLOCK;
    if (!*more) return COT_OK;
    if (got < BLOCK || !octal(block + 148, 8, &sum) || sum != header_sum(block) || !octal(block + 124, 12, &m->size))
        return cot_fail(COT_FORMAT, "%s: no header of a tar archive's member at byte %llu (unpacked)", a->path,
                        (unsigned long long)(a->at - got));
    m->regular = block[156] == '0' || block[156] == '\0';
    join_name(block, m);
    return COT_OK;
}

static bool is_wanted(const archive *a, const member *m)
{
    const size_t n = strlen(a->wanted);
    if (!m->regular || strncmp(m->name, a->wanted, n) != 0) return false;
    if (n && m->name[n] == '\0') return true;
    return (n == 0 || m->name[n] == '/') && cot_task_has_form(m->name) && !cot_reader_packed(m->name);
}

static cot_status read_member(archive *a, const member *m, task_list *list)
{
    if (m->size > MAX_FILE - a->held)
        return cot_fail(COT_FORMAT, "%s: its task files are longer than %d MiB together, too long", a->path,
                        MAX_FILE >> 20);
    a->held += m->size;
    const size_t before = strlen(a->path), name = strlen(m->name), bytes = (size_t)m->size;
    char *path = cot_malloc(before + name + 2), *text = cot_malloc(bytes + 1);
    cot_status status = path && text ? take(a, text, bytes) : no_memory(a->path);
    if (status == COT_OK) {
        memcpy(path, a->path, before);
        path[before] = '/';
        memcpy(path + before + 1, m->name, name + 1);
        status = add_task(list, path, text, bytes);
    }
    cot_free(path);
    cot_free(text);
    return status;
}

static cot_status read_members(archive *a, task_list *list)
{
    bool more;
    member m;
    for (;;) {
        COT_TRY(next_member(a, &m, &more));
        if (!more) break;
        const bool wanted = is_wanted(a, &m);
        if (wanted) COT_TRY(read_member(a, &m, list));
        COT_TRY(skip(a, (wanted ? 0 : m.size) + (BLOCK - m.size % BLOCK) % BLOCK));
    }
    if (list->count) return COT_OK;
    return cot_fail(COT_FORMAT, "%s: no task file in it%s%s, expected names that end in .jsonl, .csv or .json", a->path,
                    a->wanted[0] ? " under " : "", a->wanted);
}

static cot_status read_archive(const char *path, size_t length, task_list *list)
{
    char *name = cot_strndup(path, length);
    archive a = {.path = name, .wanted = path[length] ? path + length + 1 : ""};
    cot_status status = name ? cot_reader_open(name, &a.reader) : no_memory(path);
    if (status == COT_OK) status = read_members(&a, list);
    cot_reader_close(a.reader);
    cot_free(name);
    return status;
}

/* ---- both ---- */

cot_status cot_tasks_read(const char *path, cot_task ***out, size_t *count)
{
    task_list list = {.count = 0};
    const size_t archived = archive_length(path);
    const cot_status status = archived ? read_archive(path, archived, &list) : read_file(path, &list);
    if (status != COT_OK) {
        cot_tasks_destroy(list.task, list.count);
        list = (task_list){.count = 0};
    }
    *out = list.task;
    *count = list.count;
    return status;
}

cot_status cot_task_read(const char *path, cot_task **out)
{
    cot_task **tasks;
    size_t count;
    *out = NULL;
    COT_TRY(cot_tasks_read(path, &tasks, &count));
    if (count == 1) {
        *out = tasks[0];
        cot_free(tasks);
        return COT_OK;
    }
    const cot_status status =
        cot_fail(COT_INVALID, "%s: %zu task files, expected one of them, e.g. %s", path, count, tasks[0]->file);
    cot_tasks_destroy(tasks, count);
    return status;
}
