#define _XOPEN_SOURCE 700
#include "data/source_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/data_folder.h"
#include "base/fail.h"
#include "base/memory.h"

enum { MAX_DEPTH = 32 };  /* of folders: a link to a folder above would never end */

static cot_status fail_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for the list of data files"); }

static char *join(const char *folder, const char *name)
{
    const size_t n = strlen(folder), m = strlen(name);
    char        *path = cot_malloc(n + m + 2);
    if (path) snprintf(path, n + m + 2, "%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name);
    return path;
}

/* ---- names ---- */

static bool cut_end(char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    if (n <= m || strcmp(name + n - m, end) != 0) return false;
    name[n - m] = '\0';
    return true;
}

static bool is_rows(const char *path)
{
    char *name = cot_strdup(path);
    bool  rows = false;
    if (name) {
        (void)(cut_end(name, ".gz") || cut_end(name, ".zst"));
        rows = cut_end(name, ".jsonl");
    }
    cot_free(name);
    return rows;
}

/* The path below its root without .gz or .zst and without one more extension. */
static char *source_name(const char *path, size_t root)
{
    char *name = cot_strdup(path + root);
    if (!name) return NULL;
    (void)(cut_end(name, ".gz") || cut_end(name, ".zst"));
    char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strrchr(base, '.');
    if (dot && dot > base) *dot = '\0';
    return name;
}

/* ---- listing ---- */

static bool skipped(const char *name)
{
    static const char *const papers[] = {"README", "LICENSE", "LICENCE", "COPYING"};
    if (name[0] == '.') return true;
    for (size_t i = 0; i < sizeof papers / sizeof *papers; i++) {
        const size_t n = strlen(papers[i]);
        if (strncasecmp(name, papers[i], n) == 0 && (name[n] == '\0' || name[n] == '.')) return true;
    }
    return false;
}

static int64_t time_stamp(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

bool cot_source_file_same(const cot_source_file *file)
{
    struct stat info;
    return stat(file->path, &info) == 0 && (uint64_t)info.st_size == file->bytes && time_stamp(&info) == file->mtime_ns;
}

static cot_status add_file(cot_source_files *list, const char *path, size_t root, const struct stat *info)
{
    if (list->count == list->capacity) {
        const size_t more = list->capacity ? 2 * list->capacity : 16, size = sizeof *list->files;
        void        *grown = cot_realloc(list->files, list->count * size, more * size);
        if (!grown) return fail_memory();
        list->files = grown;
        list->capacity = more;
    }
    cot_source_file *file = &list->files[list->count++];
    *file = (cot_source_file){.path = cot_strdup(path), .name = source_name(path, root), .rows = is_rows(path)};
    file->bytes = (uint64_t)info->st_size;
    file->mtime_ns = time_stamp(info);
    return file->path && file->name ? COT_OK : fail_memory();
}

static cot_status add_path(cot_source_files *list, const char *path, size_t root, int depth);

static cot_status add_folder(cot_source_files *list, const char *path, size_t root, int depth)
{
    if (depth == MAX_DEPTH) return cot_fail(COT_INVALID, "%s: folders nest deeper than %d", path, MAX_DEPTH);
    DIR *folder = opendir(path);
    if (!folder) return cot_fail(COT_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    cot_status           status = COT_OK;
    const struct dirent *entry;
    while (status == COT_OK && (entry = readdir(folder)) != NULL) {
        if (skipped(entry->d_name)) continue;
        char *inner = join(path, entry->d_name);
        status = inner ? add_path(list, inner, root, depth + 1) : fail_memory();
        cot_free(inner);
    }
    closedir(folder);
    return status;
}

static cot_status add_path(cot_source_files *list, const char *path, size_t root, int depth)
{
    struct stat info;
    if (stat(path, &info) != 0) return cot_fail(COT_IO, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return add_folder(list, path, root, depth);
    if (S_ISREG(info.st_mode)) return add_file(list, path, root, &info);
    return cot_fail(COT_IO, "%s: neither a file nor a folder", path);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const cot_source_file *)a)->path, ((const cot_source_file *)b)->path);
}

/* What the user's path means: relative paths that are not here may be among the data that came with the program. */
static char *resolve(const char *path)
{
    struct stat info;
    char        home[PATH_MAX];
    if (path[0] == '/' || stat(path, &info) == 0) return cot_strdup(path);
    for (size_t i = 0; cot_data_folder(i, home, sizeof home); i++) {
        if (!*home) continue;
        char *there = join(home, path);
        if (!there || stat(there, &info) == 0) return there;
        cot_free(there);
    }
    return cot_strdup(path);
}

/* Where names of sources start in paths below `path`: below a folder, or after the last slash of a file. */
static size_t name_start(const char *path)
{
    struct stat info;
    size_t      n = strlen(path);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return path[n - 1] == '/' ? n : n + 1;
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static cot_status keep_root(char **root, const char *path)
{
    char absolute[PATH_MAX];
    if (!realpath(path, absolute)) return cot_fail(COT_IO, "%s: %s", path, strerror(errno));
    *root = cot_strdup(absolute);
    return *root ? COT_OK : fail_memory();
}

static cot_status add_root(cot_source_files *list, char **root, const char *given, double valid_fraction)
{
    const size_t before = list->count;
    char        *path = resolve(given);
    if (!path) return fail_memory();
    cot_status status = keep_root(root, path);
    if (status == COT_OK) status = add_path(list, path, name_start(path), 0);
    if (status == COT_OK && list->count == before)
        status = cot_fail(COT_INVALID, "%s: the folder has no files to read", path);
    cot_free(path);
    if (status != COT_OK) return status;
    qsort(list->files + before, list->count - before, sizeof *list->files, by_path);
    for (size_t i = before; i < list->count; i++) list->files[i].valid_fraction = valid_fraction;
    return COT_OK;
}

/* ---- sources ---- */

typedef struct {
    const char *name;
    size_t      file;
} named_file;

static int by_name(const void *a, const void *b)
{
    const named_file *x = a, *y = b;
    const int         order = strcmp(x->name, y->name);
    return order ? order : (x->file > y->file) - (x->file < y->file);
}

/* Files of one name are one source; sources are numbered in the order of their first files. */
static void number_sources(cot_source_files *list, named_file *sorted)
{
    for (size_t i = 0; i < list->count; i++) sorted[i] = (named_file){list->files[i].name, i};
    qsort(sorted, list->count, sizeof *sorted, by_name);
    size_t leader = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (i == 0 || strcmp(sorted[i].name, sorted[i - 1].name) != 0) leader = sorted[i].file;
        list->files[sorted[i].file].source = (int32_t)leader;  /* for now: the first file of that name */
    }
    for (size_t i = 0; i < list->count; i++) {
        cot_source_file *file = &list->files[i];
        if (file->source == (int32_t)i) {
            list->names[list->sources] = file->name;
            file->source = list->sources++;
        } else {
            file->source = list->files[file->source].source;
        }
    }
}

static cot_status name_sources(cot_source_files *list)
{
    if (list->count > INT32_MAX) return cot_fail(COT_INVALID, "the corpus has %zu files, too many", list->count);
    named_file *sorted = cot_malloc(list->count * sizeof *sorted);
    list->names = cot_malloc(list->count * sizeof *list->names);
    const bool ok = sorted && list->names;
    if (ok) number_sources(list, sorted);
    cot_free(sorted);
    return ok ? COT_OK : fail_memory();
}

cot_status cot_source_files_find(const cot_data_options *options, cot_source_files *out)
{
    *out = (cot_source_files){.count = 0};
    cot_status status = COT_OK;
    const double fraction = options->valid_path ? 0 : options->validation_fraction;
    if (options->path) status = add_root(out, &out->roots[0], options->path, fraction);
    if (status == COT_OK && options->valid_path) status = add_root(out, &out->roots[1], options->valid_path, 1);
    if (status == COT_OK) status = name_sources(out);
    if (status != COT_OK) cot_source_files_release(out);
    return status;
}

void cot_source_files_release(cot_source_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        cot_free(files->files[i].path);
        cot_free(files->files[i].name);
    }
    cot_free(files->files);
    cot_free((void *)files->names);
    cot_free(files->roots[0]);
    cot_free(files->roots[1]);
    *files = (cot_source_files){.count = 0};
}
