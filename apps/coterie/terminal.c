#define _DEFAULT_SOURCE /* ioctl */
#include "terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_is(FILE *stream) { return isatty(fileno(stream)); }

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

bool terminal_has_colour(FILE *stream)
{
    const char *term = getenv("TERM");
    return terminal_is(stream) && !is_set("NO_COLOR") && !(term && strcmp(term, "dumb") == 0);
}

bool terminal_has_unicode(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        if (!is_set(variables[i])) continue;
        const char *value = getenv(variables[i]);
        return strstr(value, "UTF-8") || strstr(value, "utf8") || strstr(value, "UTF8") || strstr(value, "utf-8");
    }
    return false;
}

int terminal_width(FILE *stream)
{
    struct winsize size;
    if (terminal_is(stream) && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

/* Bytes of UTF-8 after the first of a character. */
static bool continues(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

size_t terminal_text_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++) width += !continues(*text);
    return width;
}

size_t terminal_cut(const char *text, size_t columns)
{
    size_t bytes = 0;
    while (text[bytes] && columns-- > 0)
        do bytes++;
        while (continues(text[bytes]));
    return bytes;
}

void terminal_wrap(FILE *stream, const char *text, int indent, int width)
{
    size_t column = (size_t)indent;
    bool first = true;  /* word of its line */
    while (*text) {
        if (*text == '\n') {
            fprintf(stream, "\n%*s", text[1] && text[1] != '\n' ? indent : 0, "");
            column = (size_t)indent;
            first = true;
            text++;
            continue;
        }
        const size_t bytes = strcspn(text, " \n");
        char word[256];
        snprintf(word, sizeof word, "%.*s", (int)bytes, text);
        const size_t columns = terminal_text_width(word);
        if (!first && column + 1 + columns > (size_t)width) {
            fprintf(stream, "\n%*s", indent, "");
            column = (size_t)indent;
            first = true;
        }
        column += columns + (first ? 0 : 1);
        fprintf(stream, "%s%.*s", first ? "" : " ", (int)bytes, text);
        first = false;
        text += bytes;
        text += *text == ' ';
    }
    fputc('\n', stream);
}

const char *terminal_bold(FILE *stream) { return terminal_has_colour(stream) ? "\x1b[1m" : ""; }
const char *terminal_dim(FILE *stream) { return terminal_has_colour(stream) ? "\x1b[2m" : ""; }
const char *terminal_reset(FILE *stream) { return terminal_has_colour(stream) ? "\x1b[0m" : ""; }

void terminal_heat_colour(double value, int *background, int *text)
{
    /* Dark violet over blue and green to yellow: ordered in lightness too, so it reads in grey. */
    static const unsigned char ramp[] = {53, 54, 60, 61, 25, 31, 30, 36, 35, 71, 77, 113, 149, 185, 221, 227};
    const int steps = sizeof ramp;
    int step = (int)floor((value > 0 ? value : 0) * steps);
    if (step >= steps) step = steps - 1;
    *background = ramp[step];
    *text = step < 7 ? 255 : 16;
}

int terminal_category_colour(size_t index)
{
    static const unsigned char colours[] = {39, 208, 76, 197, 141, 220, 43, 205, 112, 203, 75, 178, 99, 48, 214, 170};
    return colours[index % sizeof colours];
}
