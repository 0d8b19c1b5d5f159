/* A page of a gnuplot script: places in pixels from the top left, texts, colours. The parts of a picture draw on it. */
#ifndef COT_STUDY_PLOT_PAGE_H
#define COT_STUDY_PLOT_PAGE_H

#include <stddef.h>
#include <stdio.h>

#include <coterie/plot.h>

typedef struct {
    FILE  *out;     /* the script */
    double width;   /* pixels */
    double height;
    int    labels;  /* texts on the page that the next plot draws */
    bool   svg;     /* drawn by viewers: they blur images, and have fonts for all scripts */
    bool   failed;  /* memory ran out */
} cot_plot_page;

typedef enum { COT_PLOT_LEFT, COT_PLOT_CENTER, COT_PLOT_RIGHT } cot_plot_align;

typedef struct {
    cot_plot_align align;
    double         size;   /* points */
    const char    *color;  /* "#rrggbb" */
    bool           bold;
} cot_plot_style;

/* Room at the right of all plots, for names and scales. */
#define COT_PLOT_RIGHT_MARGIN 148.0

/* Colours shared by all parts. */
#define COT_PLOT_INK   "#2b2f36"  /* titles */
#define COT_PLOT_GREY  "#6b7280"  /* notes, axis labels */
#define COT_PLOT_LINE  "#c9ced6"  /* axes */
#define COT_PLOT_GRID  "#eceff3"
#define COT_PLOT_BLUE  "#2f6690"
#define COT_PLOT_PALE  "#bcd0e0"
#define COT_PLOT_RUST  "#c2562d"

/* What all numbers at axes and keys look like. */
#define COT_PLOT_TICS  "font 'sans-serif,8.5' textcolor rgb '" COT_PLOT_GREY "'"

/* A part's title with a note behind it, at the top of the part. */
void cot_plot_heading(cot_plot_page *page, double top, const char *title, const char *note);

/* A name, cut to so many characters: `size` is three bytes for each and eight more. */
enum { COT_PLOT_NAME_CHARACTERS = 24 };
void cot_plot_short_name(const char *name, char *out, size_t size);

/* A text whose baseline middle is at (x, y). Any bytes are fine. */
void cot_plot_text(cot_plot_page *page, double x, double y, cot_plot_style style, const char *text);

/* The same with its top to the left, reading upwards. */
void cot_plot_text_upwards(cot_plot_page *page, double x, double y, cot_plot_style style, const char *text);

/* Puts the next plot's axes at these pixels. */
void cot_plot_frame(cot_plot_page *page, double left, double top, double right, double bottom);

/* To be written after each plot command: forgets its texts. */
void cot_plot_done(cot_plot_page *page);

/* Ticks below the next plot at round numbers of tokens from 0 to `highest`: 0, 0.5M, 1M ... */
void cot_plot_token_ticks(cot_plot_page *page, double highest);

/* A colour scale of two or more evenly spaced colours over [lo, hi]. */
void cot_plot_palette(cot_plot_page *page, const char *const *colors, size_t count, double lo, double hi);

/* Its key, upright at the right margin. `ticks` is gnuplot's list of labels. */
void cot_plot_key(cot_plot_page *page, double top, double height, const char *ticks);

/* Writes a single-quoted gnuplot string: nothing in it is expanded or run. What is not printable UTF-8, and backquotes,
 * become '?'. */
void cot_plot_quote(FILE *out, const char *text);

/* Is `text` written as it is? */
bool cot_plot_quotable(const char *text);

/* The parts: the height that each needs, and the drawing from `top` downwards. */
double cot_plot_curve_height(const cot_plot *plot);
void   cot_plot_curve_draw(cot_plot_page *page, const cot_plot *plot, double top);
double cot_plot_load_height(const cot_plot *plot);
void   cot_plot_load_draw(cot_plot_page *page, const cot_plot *plot, double top);
double cot_plot_sources_height(const cot_plot *plot);
void   cot_plot_sources_draw(cot_plot_page *page, const cot_plot *plot, double top);
double cot_plot_reliability_height(const cot_plot *plot);
void   cot_plot_reliability_draw(cot_plot_page *page, const cot_plot *plot, double top);
double cot_plot_keys_height(const cot_plot *plot);
void   cot_plot_keys_draw(cot_plot_page *page, const cot_plot *plot, double top);

#endif
