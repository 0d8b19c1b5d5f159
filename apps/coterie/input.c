#define _POSIX_C_SOURCE 200809L
#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static int too_long(const char *name, size_t limit)
{
    return cli_fail("%s: longer than %zu MB, expected less", name, limit >> 20);
}

static int read_stream(FILE *f, const char *name, size_t limit, char **text, size_t *length)
{
    size_t room = 0;
    struct stat info;
    *text = NULL;
    *length = 0;
    if (fstat(fileno(f), &info) == 0 && S_ISREG(info.st_mode) && (size_t)info.st_size > limit)
        return too_long(name, limit);
    do {
        if (room > limit) return too_long(name, limit);
        room = room ? 2 * room : 1 << 16;
        char *grown = realloc(*text, room);
        if (!grown) return cli_fail("%s: no memory to read it", name);
        *text = grown;
        *length += fread(grown + *length, 1, room - 1 - *length, f);
    } while (*length == room - 1);
    (*text)[*length] = '\0';
    return ferror(f) ? cli_fail("%s: cannot be read: %s", name, strerror(errno)) : CLI_OK;
}

static int is_standard(const char *path) { return !path || strcmp(path, "-") == 0; }

const char *input_name(const char *path) { return is_standard(path) ? "standard input" : path; }

int read_input(const char *path, size_t limit, char **text, size_t *length)
{
    const int standard = is_standard(path);
    *text = NULL;
    FILE *f = standard ? stdin : fopen(path, "rb");
    if (!f) return cli_fail("%s: cannot be opened: %s", path, strerror(errno));
    const int code = read_stream(f, input_name(path), limit, text, length);
    if (!standard) fclose(f);
    if (code == CLI_OK) return code;
    free(*text);
    *text = NULL;
    return code;
}
