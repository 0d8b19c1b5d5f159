#define _GNU_SOURCE /* dladdr */
#include "base/data_folder.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_path(char *out, size_t bytes, const char *folder, const char *way)
{
    const int length = snprintf(out, bytes, "%s%s%s", folder, *way ? "/" : "", way);
    if (length < 0 || (size_t)length >= bytes) out[0] = '\0';
}

/* The folder `way` from the one in which `file` lies. */
static void beside(const char *file, const char *way, char *out, size_t bytes)
{
    char path[PATH_MAX];
    out[0] = '\0';
    if (!file || !realpath(file, path)) return;
    *strrchr(path, '/') = '\0';
    write_path(out, bytes, path, way);
}

/* The file that this code was loaded from: the shared library, or some name of the program. */
static const char *loaded_from(void)
{
    static const char here;
    Dl_info info;
    return dladdr(&here, &info) ? info.dli_fname : NULL;
}

bool cot_data_folder(size_t index, char *out, size_t bytes)
{
    switch (index) {
    case 0: beside("/proc/self/exe", COT_PROGRAM_TO_DATA, out, bytes); return true;
    case 1: beside(loaded_from(), COT_LIBRARY_TO_DATA, out, bytes); return true;
    case 2: write_path(out, bytes, COT_SOURCE_DIR, ""); return true;
    case 3: write_path(out, bytes, COT_DATA_DIR, ""); return true;
    default: return false;
    }
}
