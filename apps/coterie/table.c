#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "terminal.h"

enum { MAX_COLUMNS = 128, GAP = 2 };

typedef struct {
    char  *text;
    double heat;  /* NaN = none */
} cell;

struct table {
    char   alignment[MAX_COLUMNS + 1];
    size_t columns, count, room;
    bool   heading;
    cell  *cells;
};

static void *checked(void *block)
{
    if (block) return block;
    fputs("coterie: no memory for a table\n", stderr);
    exit(1);
}

table *table_create(const char *alignment)
{
    table *t = checked(calloc(1, sizeof *t));
    snprintf(t->alignment, sizeof t->alignment, "%s", alignment);
    t->columns = strlen(t->alignment);
    t->heading = true;
    return t;
}

void table_no_heading(table *t) { t->heading = false; }

static void add_cell(table *t, double heat, const char *format, va_list arguments)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->cells = checked(realloc(t->cells, t->room * sizeof *t->cells));
    }
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = checked(malloc((size_t)length + 1));
    vsnprintf(text, (size_t)length + 1, format, arguments);
    t->cells[t->count++] = (cell){text, heat};
}

void table_cell(table *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_cell(t, NAN, format, arguments);
    va_end(arguments);
}

void table_heat_cell(table *t, double value, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_cell(t, value, format, arguments);
    va_end(arguments);
}

static void print_cell(const cell *c, char alignment, size_t width, bool colour, FILE *stream)
{
    const size_t own = terminal_text_width(c->text);
    const int pad = width > own ? (int)(width - own) : 0;
    const bool glows = colour && !isnan(c->heat);
    if (glows) {
        int background, text;
        terminal_heat_colour(c->heat, &background, &text);
        fprintf(stream, "\x1b[48;5;%d;38;5;%dm", background, text);
    }
    fprintf(stream, "%*s%s%*s%s", alignment == 'r' ? pad : 0, "", c->text, alignment == 'r' ? 0 : pad, "",
            glows ? "\x1b[0m" : "");
}

/* One row. The last column gets no spaces behind it, and is wrapped when its letter says so. */
static void print_row(const table *t, size_t row, const size_t *widths, int indent, bool colour, FILE *stream)
{
    int column = indent;
    fprintf(stream, "%*s", indent, "");
    for (size_t c = 0; c < t->columns && row * t->columns + c < t->count; c++) {
        const cell *now = &t->cells[row * t->columns + c];
        const bool last = c + 1 == t->columns;
        if (last && t->alignment[c] == 'w') {
            const int width = terminal_width(stream);
            terminal_wrap(stream, now->text, column, width > column + 30 ? width : column + 30);
            return;
        }
        print_cell(now, t->alignment[c], last && t->alignment[c] == 'l' ? 0 : widths[c], colour, stream);
        if (!last) fprintf(stream, "%*s", GAP, "");
        column += (int)widths[c] + GAP;
    }
    fputc('\n', stream);
}

void table_print(table *t, int indent, FILE *stream)
{
    size_t widths[MAX_COLUMNS] = {0};
    for (size_t i = 0; i < t->count; i++) {
        const size_t width = terminal_text_width(t->cells[i].text);
        if (width > widths[i % t->columns]) widths[i % t->columns] = width;
    }
    const bool colour = terminal_has_colour(stream);
    for (size_t row = 0; row * t->columns < t->count; row++) {
        const bool bold = row == 0 && t->heading;
        fputs(bold ? terminal_bold(stream) : "", stream);
        print_row(t, row, widths, indent, colour, stream);
        fputs(bold ? terminal_reset(stream) : "", stream);
    }
    for (size_t i = 0; i < t->count; i++) free(t->cells[i].text);
    free(t->cells);
    free(t);
}

/* ---- heat maps ---- */

static void print_heat(double value, double max, int width, bool colour, FILE *stream)
{
    const double share = max > 0 ? value / max : 0;
    if (isnan(value)) {
        fprintf(stream, "%*s", width, width > 1 ? ". " : ".");
    } else if (colour) {
        int background, text;
        terminal_heat_colour(share, &background, &text);
        fprintf(stream, "\x1b[48;5;%dm%*s\x1b[0m", background, width, "");
    } else {
        const int digit = share >= 1 ? 9 : share > 0 ? (int)(10 * share) : 0;  /* tenths of the largest */
        fprintf(stream, "%d%s", digit, width > 1 ? " " : "");
    }
}

static size_t name_width(size_t rows, const char *const *row_names)
{
    size_t width = 0;
    if (!row_names) return (size_t)snprintf(NULL, 0, "%zu", rows ? rows - 1 : 0);
    for (size_t r = 0; r < rows; r++) {
        const size_t own = terminal_text_width(row_names[r]);
        if (own > width) width = own;
    }
    return width;
}

static void print_scale(double max, size_t margin, bool colour, const char *what, FILE *stream)
{
    fprintf(stream, "%*s  ", (int)margin, "");
    if (!colour) {
        fprintf(stream, "0 to 9: tenths of %.3g, the largest %s\n", max, what);
        return;
    }
    fputs("0 ", stream);
    for (int i = 0; i < 16; i++) print_heat(i, 15, 1, colour, stream);
    fprintf(stream, " %.3g  %s\n", max, what);
}

void heat_map_print(size_t rows, size_t columns, const double *values, double max, const char *const *row_names,
                    const char *what, FILE *stream)
{
    const bool colour = terminal_has_colour(stream);
    const size_t margin = name_width(rows, row_names);
    const int width = margin + 2 + 2 * columns <= (size_t)terminal_width(stream) ? 2 : 1;
    for (size_t r = 0; r < rows; r++) {
        if (row_names) fprintf(stream, "%s%*s  ", row_names[r], (int)(margin - terminal_text_width(row_names[r])), "");
        else fprintf(stream, "%*zu  ", (int)margin, r);
        for (size_t c = 0; c < columns; c++) print_heat(values[r * columns + c], max, width, colour, stream);
        fputc('\n', stream);
    }
    print_scale(max, margin, colour, what, stream);
}
