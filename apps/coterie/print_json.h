/* JSON results on stdout. */
#ifndef COTERIE_APP_PRINT_JSON_H
#define COTERIE_APP_PRINT_JSON_H

#include <stdbool.h>

#include <jansson.h>

/* Prints a value (numbers with 17 digits) and a newline, and gives it back. Returns an exit code; NULL (no memory while
 * it was built) fails. */
int print_json(json_t *value);

/* Writes a value to a file that appears whole or not at all. False when it cannot. */
bool write_json(const json_t *value, const char *path);

#endif
