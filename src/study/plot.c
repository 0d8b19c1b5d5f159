/* Pictures through gnuplot: a page is put together from parts, written as a script, and drawn by the program. */
#define _POSIX_C_SOURCE 200809L
#include <coterie/plot.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "study/gnuplot.h"
#include "study/plot_page.h"

static const double WIDTH = 900, MARGIN = 22, TITLE = 34, SPACE = 18, MOST_HEIGHT = 16000;

/* ---- formats: points and lines come out the same size on each ---- */

typedef struct {
    const char *suffix;
    const char *terminal;  /* a format for width and height */
    double      pixel;     /* in the terminal's unit of size */
    bool        svg;
} picture_format;

#define FONT "font 'sans-serif,9' background rgb 'white'"

static const picture_format formats[] = {
    {".png", "set term pngcairo size %g,%g fontscale 2 linewidth 2 pointscale 2 " FONT, 2, false},
    {".svg", "set term svg size %g,%g fontscale 1.3333 " FONT, 1, true},
    {".pdf", "set term pdfcairo size %gin,%gin fontscale 0.75 linewidth 1.5 pointscale 0.75 " FONT, 1 / 96.0, false},
};

static const picture_format *format_of(const char *path)
{
    const size_t length = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (length > 4 && strcmp(path + length - 4, formats[i].suffix) == 0) return &formats[i];
    return NULL;
}

/* ---- the page ---- */

typedef struct {
    unsigned part;
    double (*height)(const cot_plot *plot);
    void (*draw)(cot_plot_page *page, const cot_plot *plot, double top);
} section;

static const section sections[] = {
    {COT_PLOT_CURVE, cot_plot_curve_height, cot_plot_curve_draw},
    {COT_PLOT_LOAD, cot_plot_load_height, cot_plot_load_draw},
    {COT_PLOT_SOURCES, cot_plot_sources_height, cot_plot_sources_draw},
    {COT_PLOT_KEYS, cot_plot_keys_height, cot_plot_keys_draw},
    {COT_PLOT_RELIABILITY, cot_plot_reliability_height, cot_plot_reliability_draw},
};

enum { SECTIONS = sizeof sections / sizeof *sections };

static double page_height(const cot_plot *plot)
{
    double height = MARGIN + (plot->title ? TITLE : 0);
    for (size_t i = 0; i < SECTIONS; i++)
        if (plot->parts & sections[i].part) height += sections[i].height(plot) + SPACE;
    return height;
}

static void put_page(cot_plot_page *page, const cot_plot *plot, const char *path, const picture_format *format)
{
    fputs("# Drawn by coterie. Edit and run again: gnuplot -d THIS_FILE\nset encoding utf8\n", page->out);
    fprintf(page->out, format->terminal, page->width * format->pixel, page->height * format->pixel);
    fputs("\nif (!exists('picture')) picture = ", page->out);
    cot_plot_quote(page->out, path);
    fputs("\nset output picture\nset multiplot\nunset key\n\n", page->out);
    double top = MARGIN;
    if (plot->title) {
        const cot_plot_style style = {.align = COT_PLOT_LEFT, .size = 15, .color = COT_PLOT_INK, .bold = true};
        cot_plot_text(page, 24, top + 8, style, plot->title);
        top += TITLE;
    }
    for (size_t i = 0; i < SECTIONS; i++) {
        if (!(plot->parts & sections[i].part)) continue;
        sections[i].draw(page, plot, top);
        top += sections[i].height(plot) + SPACE;
    }
    fputs("unset multiplot\nunset output\n", page->out);
}

unsigned cot_plot_parts(const cot_plot_run *run, const cot_plot_evaluation *evaluation, const cot_plot_tasks *tasks)
{
    unsigned parts = 0;
    if (run) parts |= COT_PLOT_CURVE;
    if (run && run->layers > 0 && run->steps > 0) parts |= COT_PLOT_LOAD;
    if (evaluation && evaluation->layers > 0 && evaluation->sources > 0) parts |= COT_PLOT_SOURCES;
    if (evaluation && evaluation->grids > 0) parts |= COT_PLOT_KEYS;
    if (tasks && tasks->count > 0) parts |= COT_PLOT_RELIABILITY;
    return parts;
}

static cot_status check(const cot_plot *plot, const char *path)
{
    const unsigned all =
        COT_PLOT_CURVE | COT_PLOT_LOAD | COT_PLOT_SOURCES | COT_PLOT_RELIABILITY | COT_PLOT_KEYS;
    if (!format_of(path)) return cot_fail(COT_INVALID, "'%s': a picture's name ends in .png, .svg or .pdf", path);
    if (!cot_plot_quotable(path) || path[0] == '|' || path[0] == '~')
        return cot_fail(COT_INVALID, "'%s': gnuplot cannot write to a file of that name", path);
    if (plot->parts == 0 || plot->parts & ~all)
        return cot_fail(COT_INVALID, "%s: no such parts of a picture: %#x", path, plot->parts);
    if (plot->parts & (COT_PLOT_CURVE | COT_PLOT_LOAD) && !plot->run)
        return cot_fail(COT_INVALID, "%s: no run's metrics to draw a learning curve and the experts' load from", path);
    if (plot->parts & COT_PLOT_LOAD && !(cot_plot_parts(plot->run, NULL, NULL) & COT_PLOT_LOAD))
        return cot_fail(COT_INVALID, "%s: this run has no sparse layers, so there is no load of experts to draw", path);
    if (plot->parts & COT_PLOT_SOURCES && !(cot_plot_parts(NULL, plot->evaluation, NULL) & COT_PLOT_SOURCES))
        return cot_fail(COT_INVALID, "%s: no evaluation of sparse layers by source to draw", path);
    if (plot->parts & COT_PLOT_KEYS && !(cot_plot_parts(NULL, plot->evaluation, NULL) & COT_PLOT_KEYS))
        return cot_fail(COT_INVALID, "%s: no evaluation of layers with product keys to draw", path);
    if (plot->parts & COT_PLOT_RELIABILITY && !cot_plot_parts(NULL, NULL, plot->tasks))
        return cot_fail(COT_INVALID, "%s: no results of tasks to draw the reliability from", path);
    if (page_height(plot) > MOST_HEIGHT)
        return cot_fail(COT_INVALID, "%s: %.0f pixels high, more than %.0f; draw fewer parts", path, page_height(plot),
                        MOST_HEIGHT);
    return COT_OK;
}

cot_status cot_plot_script(const cot_plot *plot, const char *path, char **text)
{
    *text = NULL;
    COT_TRY(check(plot, path));
    size_t        bytes = 0;
    cot_plot_page page = {.width = WIDTH, .height = page_height(plot), .svg = format_of(path)->svg};
    page.out = open_memstream(text, &bytes);
    if (page.out) {
        put_page(&page, plot, path, format_of(path));
        if (ferror(page.out)) page.failed = true;
        if (fclose(page.out) != 0) page.failed = true;
        if (!page.failed) return COT_OK;
    }
    free(*text);
    *text = NULL;
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the picture's script", path);
}

/* ---- drawing ---- */

/* `path` with its ending, or what stands from the last 4 bytes on, replaced. NULL when memory is short. */
static char *with_ending(const char *path, const char *ending)
{
    const size_t stem = strlen(path) - 4, more = strlen(ending);
    char *const  out = cot_malloc(stem + more + 1);
    if (!out) return NULL;
    memcpy(out, path, stem);
    memcpy(out + stem, ending, more + 1);
    return out;
}

cot_status cot_plot_draw(const cot_plot *plot, const char *path, bool keep_script)
{
    char *text;
    COT_TRY(cot_plot_script(plot, path, &text));
    char *const script = with_ending(path, ".gp");
    cot_status  status = script ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "%s", path);
    if (status == COT_OK) status = cot_gnuplot_run(text, path);
    if (status == COT_OK && keep_script) status = cot_file_write(script, text, strlen(text));
    cot_free(script);
    free(text);
    return status;
}
