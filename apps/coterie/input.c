#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static int read_stream(FILE *f, const char *name, char **text, size_t *length)
{
    size_t room = 0;
    *text = NULL;
    *length = 0;
    do {
        room = room ? 2 * room : 1 << 16;
        char *grown = realloc(*text, room);
        if (!grown) return cli_fail("%s: no memory to read it", name);
        *text = grown;
        *length += fread(grown + *length, 1, room - 1 - *length, f);
    } while (*length == room - 1);
    (*text)[*length] = '\0';
    return ferror(f) ? cli_fail("%s: cannot be read: %s", name, strerror(errno)) : CLI_OK;
}

int read_input(const char *path, char **text, size_t *length)
{
    const int standard = !path || strcmp(path, "-") == 0;
    *text = NULL;
    FILE *f = standard ? stdin : fopen(path, "rb");
    if (!f) return cli_fail("%s: cannot be opened: %s", path, strerror(errno));
    const int code = read_stream(f, standard ? "standard input" : path, text, length);
    if (!standard) fclose(f);
    if (code == CLI_OK) return code;
    free(*text);
    *text = NULL;
    return code;
}
