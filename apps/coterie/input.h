/* Reading a whole file or standard input. */
#ifndef COTERIE_APP_INPUT_H
#define COTERIE_APP_INPUT_H

#include <stddef.h>

/* Reads `path` ("-" or NULL: standard input), of at most `limit` bytes, into memory that the caller frees with free(),
 * a NUL behind it. Returns an exit code, after saying what is wrong. */
int read_input(const char *path, size_t limit, char **text, size_t *length);

const char *input_name(const char *path);  /* for messages */

#endif
