/* Tables in text, with cells that can glow: aligned columns, and heat maps of 256-colour blocks (digits without
 * colour). */
#ifndef COTERIE_APP_TABLE_H
#define COTERIE_APP_TABLE_H

#include <stddef.h>
#include <stdio.h>

typedef struct table table;

/* A table whose columns are aligned as `alignment` says, one letter each: 'l' left, 'r' right, 'w' left and wrapped to
 * what the terminal leaves (the last column only). Out of memory ends the program with a message. */
table *table_create(const char *alignment);

/* The next cell, row by row; the first row is the heading unless table_no_heading() was called. */
__attribute__((format(printf, 2, 3))) void table_cell(table *t, const char *format, ...);

/* The next cell on a background that shows `value` (0 to 1; NaN = none) where there is colour. */
__attribute__((format(printf, 3, 4))) void table_heat_cell(table *t, double value, const char *format, ...);

void table_no_heading(table *t);

/* Prints with `indent` spaces in front and destroys the table. */
void table_print(table *t, int indent, FILE *stream);

/* Prints a map of rows x columns cells, two columns wide (one where they would not fit), from 0 to `max`, with a scale
 * below.
 *
 *   values      [rows, columns]; NaN = nothing there
 *   row_names   [rows], or NULL for numbers
 *   what        what the values are, for the scale: "share of a source's tokens" */
void heat_map_print(size_t rows, size_t columns, const double *values, double max, const char *const *row_names,
                    const char *what, FILE *stream);

#endif
