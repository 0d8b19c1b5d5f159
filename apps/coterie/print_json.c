#define _POSIX_C_SOURCE 200809L /* fsync */
#include "print_json.h"

#include <stdio.h>
#include <unistd.h>

#include "cli.h"

int print_json(json_t *value)
{
    if (!value) return cli_fail("no memory for the result");
    const int failed = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    json_decref(value);
    putchar('\n');
    return failed ? cli_fail("the result could not be written") : CLI_OK;
}

static bool write_to(FILE *f, const json_t *value)
{
    const bool whole = json_dumpf(value, f, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) == 0 && fputc('\n', f) != EOF &&
                       fflush(f) == 0 && fsync(fileno(f)) == 0;
    return fclose(f) == 0 && whole;
}

bool write_json(const json_t *value, const char *path)
{
    char partial[4096 + 16];
    snprintf(partial, sizeof partial, "%s.partial", path);
    FILE *f = fopen(partial, "w");
    if (!f) return false;
    if (write_to(f, value) && rename(partial, path) == 0) return true;
    remove(partial);
    return false;
}
