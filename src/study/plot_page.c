#include "study/plot_page.h"

#include <math.h>
#include <string.h>

/* Bytes of the UTF-8 character at `text`, 0 when it is none or not printable. */
static size_t character(const char *text)
{
    const unsigned char *const t = (const unsigned char *)text;
    if (t[0] >= 0x20 && t[0] < 0x7f) return 1;
    const size_t length = t[0] < 0xc2 || t[0] > 0xf4 ? 0 : t[0] < 0xe0 ? 2 : t[0] < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < length; i++)
        if ((t[i] & 0xc0) != 0x80) return 0;
    if (length == 2 && t[0] == 0xc2 && t[1] < 0xa0) return 0;  /* C1 controls */
    return length;
}

/* Does every sans-serif font have it? Latin, Greek, Cyrillic, and punctuation. */
static bool has_glyph(const char *text)
{
    const unsigned char *const t = (const unsigned char *)text;
    return t[0] < 0xd5 || (t[0] == 0xe2 && t[1] < 0x8c);
}

/* The inside of a single-quoted string: nothing in it is expanded or run. (Between backquotes gnuplot would run it.)
 * `special` characters get a backslash; `any` is false where a missing glyph does harm: gnuplot's PNG and PDF then have
 * black boxes all over the page. */
static void put_quoted(FILE *out, const char *text, const char *special, bool any)
{
    while (*text) {
        const size_t length = character(text);
        if (*text == '\'') fputs("''", out);
        else if (length == 0 || *text == '`' || !(any || has_glyph(text))) fputc('?', out);
        else if (strchr(special, *text)) fprintf(out, "\\%c", *text);
        else fwrite(text, 1, length, out);
        text += length ? length : 1;
    }
}

void cot_plot_quote(FILE *out, const char *text)
{
    fputc('\'', out);
    put_quoted(out, text, "", true);
    fputc('\'', out);
}

bool cot_plot_quotable(const char *text)
{
    for (size_t length; *text; text += length) {
        length = character(text);
        if (length == 0 || *text == '`') return false;
    }
    return true;
}

/* Bold is a matter of gnuplot's "enhanced" text, the only way to it that all formats share. */
static void put_text(cot_plot_page *page, double x, double y, cot_plot_style style, const char *text, const char *more)
{
    static const char *const align[] = {"left", "center", "right"};
    fprintf(page->out, "set label %d '%s", ++page->labels, style.bold ? "{/:Bold " : "");
    put_quoted(page->out, text, style.bold ? "\\{}^_@&~" : "", page->svg);
    fprintf(page->out, "%s' at screen %.5f, screen %.5f %s font 'sans-serif,%g' textcolor rgb '%s'%s %s front\n",
            style.bold ? "}" : "", x / page->width, 1 - y / page->height, align[style.align], style.size, style.color,
            more, style.bold ? "enhanced" : "noenhanced");
}

void cot_plot_text(cot_plot_page *page, double x, double y, cot_plot_style style, const char *text)
{
    put_text(page, x, y, style, text, "");
}

void cot_plot_text_upwards(cot_plot_page *page, double x, double y, cot_plot_style style, const char *text)
{
    put_text(page, x, y, style, text, " rotate by 90");
}

void cot_plot_short_name(const char *name, char *out, size_t size)
{
    size_t bytes = 0, characters = 0;
    while (name[bytes] && bytes + 8 < size) {
        if (characters == COT_PLOT_NAME_CHARACTERS) {
            memcpy(out + bytes, "…", sizeof "…");
            return;
        }
        do bytes++;
        while (((unsigned char)name[bytes] & 0xc0) == 0x80 && bytes + 8 < size);
        memcpy(out, name, bytes);
        characters++;
    }
    out[bytes] = '\0';
}

void cot_plot_heading(cot_plot_page *page, double top, const char *title, const char *note)
{
    const cot_plot_style strong = {.align = COT_PLOT_LEFT, .size = 11, .color = COT_PLOT_INK, .bold = true};
    const cot_plot_style quiet = {.align = COT_PLOT_LEFT, .size = 9, .color = COT_PLOT_GREY};
    cot_plot_text(page, 24, top + 10, strong, title);
    cot_plot_text(page, 24, top + 28, quiet, note);
}

void cot_plot_frame(cot_plot_page *page, double left, double top, double right, double bottom)
{
    fprintf(page->out,
            "set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
            "set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
            left / page->width, right / page->width, 1 - top / page->height, 1 - bottom / page->height);
}

void cot_plot_done(cot_plot_page *page)
{
    fputs("unset label\nunset colorbox\nunset xlabel\nunset ylabel\nunset arrow\nunset object\n\n", page->out);
    page->labels = 0;
}

void cot_plot_palette(cot_plot_page *page, const char *const *colors, size_t count, double lo, double hi)
{
    fputs("set palette defined (", page->out);
    for (size_t i = 0; i < count; i++) fprintf(page->out, "%s%zu '%s'", i ? ", " : "", i, colors[i]);
    fprintf(page->out, ")\nset cbrange [%g:%g]\n", lo, hi);
}

void cot_plot_key(cot_plot_page *page, double top, double height, const char *ticks)
{
    fprintf(page->out,
            "set colorbox user vertical origin screen %.5f, screen %.5f size screen %.5f, screen %.5f noborder\n"
            "set cbtics scale 0 offset -0.2,0 " COT_PLOT_TICS " (%s)\n",
            (page->width - COT_PLOT_RIGHT_MARGIN + 18) / page->width, 1 - (top + height) / page->height,
            12 / page->width, height / page->height, ticks);
}

/* The smallest of 1, 2, 5, 10, 20 ... that divides `highest` into at most 8. */
static double round_step(double highest)
{
    double step = pow(10, floor(log10(highest)) - 1);
    for (int i = 0; highest / step > 8; i++) step *= i % 3 == 1 ? 2.5 : 2;
    return step;
}

void cot_plot_token_ticks(cot_plot_page *page, double highest)
{
    static const struct {
        double      unit;
        const char *suffix;
    } scales[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "k"}, {1, ""}};
    size_t scale = 0;
    while (scale < 4 && highest < scales[scale].unit) scale++;
    const double step = round_step(highest);
    fputs("set xtics nomirror out scale 0.5 " COT_PLOT_TICS " ('0' 0", page->out);
    for (int i = 1; i * step <= highest * (1 + 1e-9); i++)
        fprintf(page->out, ", '%g%s' %.9g", i * step / scales[scale].unit, scales[scale].suffix, i * step);
    fputs(")\n", page->out);
}
