/* A folder for a test's files, gone when the test ends. Include it with _GNU_SOURCE defined. */
#ifndef COT_TESTS_FORMATS_SCRATCH_H
#define COT_TESTS_FORMATS_SCRATCH_H

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char folder[64];
    char path[512];  /* the last one asked for */
} scratch;

static inline scratch scratch_make(void)
{
    scratch s = {.folder = "/tmp/coterie-test-XXXXXX"};
    if (!mkdtemp(s.folder)) abort();
    return s;
}

static inline const char *scratch_path(scratch *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->folder, name);
    return s->path;
}

/* Files in the folder. */
static inline int scratch_count(const scratch *s)
{
    int  count = 0;
    DIR *folder = opendir(s->folder);
    for (struct dirent *e; (e = readdir(folder));) count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(folder);
    return count;
}

static inline void scratch_put(scratch *s, const char *name, const void *data, size_t bytes)
{
    FILE *file = fopen(scratch_path(s, name), "wb");
    if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) abort();
}

static inline int scratch_remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

/* Removes a folder and all that is in it. */
static inline void scratch_remove_folder(const char *path) { nftw(path, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS); }
static inline void scratch_remove(scratch *s) { scratch_remove_folder(s->folder); }

#endif
