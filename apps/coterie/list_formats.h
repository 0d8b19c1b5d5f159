/* coterie list formats: whose names the files of a model bear, and which models a family has a place for. */
#ifndef COTERIE_APP_LIST_FORMATS_H
#define COTERIE_APP_LIST_FORMATS_H

#include <stdbool.h>
#include <stddef.h>

/* All formats, or one (name not NULL); returns an exit status. */
int list_formats(const char *name, bool json);

/* "llama, mixtral ...", cut to `bytes`. */
void join_formats(char *out, size_t bytes);

#endif
