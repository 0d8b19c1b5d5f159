/* The terminal: colour, width, and text that fits. */
#ifndef COTERIE_APP_TERMINAL_H
#define COTERIE_APP_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

bool   terminal_is(FILE *stream);
bool   terminal_has_colour(FILE *stream);   /* a terminal, and neither NO_COLOR nor TERM=dumb */
bool   terminal_has_unicode(void);          /* by LC_ALL, LC_CTYPE, LANG */
int    terminal_width(FILE *stream);        /* columns; 80 where it is no terminal */

size_t terminal_text_width(const char *text);  /* columns of UTF-8 text: characters, wide ones counted once */

/* Bytes at the start of UTF-8 text that fill at most `columns`. */
size_t terminal_cut(const char *text, size_t columns);

/* Prints text in lines of at most `width` columns, each after the first with `indent` spaces in front; the first starts
 * where the cursor is, in column `indent`. Newlines in the text start new lines. */
void terminal_wrap(FILE *stream, const char *text, int indent, int width);

/* Escape codes, or "" where the stream has no colour. */
const char *terminal_bold(FILE *stream);
const char *terminal_dim(FILE *stream);
const char *terminal_reset(FILE *stream);

/* A colour of the 256 for a value from 0 (dark) to 1 (bright), and one that stands out on it for text. */
void terminal_heat_colour(double value, int *background, int *text);

/* A colour of the 256 for the index-th thing of a kind (an expert), for text; neighbours differ clearly. */
int  terminal_category_colour(size_t index);

#endif
