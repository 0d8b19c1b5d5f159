#include "print_json.h"

#include <stdio.h>

#include "cli.h"

int print_json(json_t *value)
{
    if (!value) return cli_fail("no memory for the result");
    const int failed = json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    json_decref(value);
    putchar('\n');
    return failed ? cli_fail("the result could not be written") : CLI_OK;
}
