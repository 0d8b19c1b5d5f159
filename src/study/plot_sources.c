/* Which expert takes which text: a table per sparse layer, sources as rows, experts as columns, coloured by the share
 * of the source's assignments that the expert took. Experts stand beside others that serve the same source most. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "study/plot_page.h"

static const double HEAD = 50, FOOT = 16, TITLE = 22, GAP = 16, NUMBERS = 22;

enum { MOST_LABELLED = 24 };

static const char *const sequential[] = {"#f5f7f9", "#cfdfeb", "#8fb5d3", "#4f86b3", "#265a86", "#143d61"};

static double row_height(const cot_plot *plot)
{
    const size_t rows = plot->evaluation->sources;
    return rows <= 12 ? 26 : rows <= 40 ? 18 : 12;
}

static double panel_height(const cot_plot *plot) { return row_height(plot) * (double)plot->evaluation->sources; }

double cot_plot_sources_height(const cot_plot *plot)
{
    const double layers = (double)plot->evaluation->layers;
    return HEAD + layers * (TITLE + panel_height(plot) + NUMBERS) + (layers - 1) * GAP + FOOT;
}

/* ---- order of the experts ---- */

typedef struct {
    size_t expert, source;  /* the source that leans on it most */
    double share;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *const p = a, *const q = b;
    if (p->source != q->source) return p->source < q->source ? -1 : 1;
    if (p->share != q->share) return p->share > q->share ? -1 : 1;
    return p->expert < q->expert ? -1 : 1;
}

static void order_experts(const cot_plot_layer *layer, place *places)
{
    for (size_t e = 0; e < layer->experts; e++) {
        places[e] = (place){.expert = e, .share = -1};
        for (size_t s = 0; s < layer->rows; s++) {
            const double share = layer->load[s * layer->experts + e];
            if (!(share > places[e].share)) continue;
            places[e].share = share;
            places[e].source = s;
        }
    }
    qsort(places, layer->experts, sizeof *places, compare_places);
}

/* ---- drawing ---- */

static double name_width(const cot_plot_evaluation *s)
{
    size_t longest = 4;
    for (size_t i = 0; i < s->sources; i++) {
        size_t characters = 0;
        for (const char *c = s->name[i]; *c; c++) characters += ((unsigned char)*c & 0xc0) != 0x80;
        if (characters > COT_PLOT_NAME_CHARACTERS) characters = COT_PLOT_NAME_CHARACTERS + 1;
        if (characters > longest) longest = characters;
    }
    return 7.2 * (double)longest;
}

/* Lines of: column, row (downwards), share in percent, its text, colour of the text. */
static void put_cells(FILE *out, const cot_plot_layer *layer, size_t index, const place *places, double highest)
{
    fprintf(out, "$share%zu << EOD\n", index);
    for (size_t s = 0; s < layer->rows; s++)
        for (size_t e = 0; e < layer->experts; e++) {
            const double share = 100 * layer->load[s * layer->experts + places[e].expert];
            if (!isfinite(share)) continue;
            char text[16] = "\"\"";
            if (share >= 0.5) snprintf(text, sizeof text, "%.0f", share);
            fprintf(out, "%zu %zu %.4g %s %s\n", e, s, share, text, share > 0.45 * highest ? "0xffffff" : "0x59626e");
        }
    fputs("EOD\n", out);
}

static void put_numbers(cot_plot_page *page, const cot_plot_layer *layer, const place *places, double left,
                        double right, double y)
{
    const double         cell = (right - left) / (double)layer->experts;
    const cot_plot_style style = {.align = COT_PLOT_CENTER, .size = 8, .color = COT_PLOT_GREY};
    if (cell < 14) return;
    for (size_t e = 0; e < layer->experts; e++) {
        char text[16];
        snprintf(text, sizeof text, "%zu", places[e].expert);
        cot_plot_text(page, left + ((double)e + 0.5) * cell, y, style, text);
    }
    const cot_plot_style before = {.align = COT_PLOT_RIGHT, .size = 8, .color = COT_PLOT_GREY};
    cot_plot_text(page, left - 10, y, before, "expert");
}

static void put_panel(cot_plot_page *page, const cot_plot *plot, size_t index, double top, double highest,
                      const place *places)
{
    const cot_plot_evaluation *const s = plot->evaluation;
    const cot_plot_layer *const   layer = &s->layer[index];
    const double row = row_height(plot), bottom = top + panel_height(plot);
    const double left = 24 + name_width(s) + 12, right = page->width - COT_PLOT_RIGHT_MARGIN;
    put_cells(page->out, layer, index, places, highest);
    cot_plot_frame(page, left, top, right, bottom);

    char text[8 * COT_PLOT_NAME_CHARACTERS];
    snprintf(text, sizeof text, "layer %d", (int)layer->layer);
    const cot_plot_style strong = {.align = COT_PLOT_LEFT, .size = 9.5, .color = COT_PLOT_INK, .bold = true};
    cot_plot_text(page, left, top - 11, strong, text);
    const cot_plot_style name = {.align = COT_PLOT_RIGHT, .size = row > 20 ? 9.5 : 8, .color = COT_PLOT_INK};
    for (size_t i = 0; i < s->sources; i++) {
        cot_plot_short_name(s->name[i], text, sizeof text);
        cot_plot_text(page, left - 10, top + ((double)i + 0.5) * row, name, text);
    }
    put_numbers(page, layer, places, left, right, bottom + 11);

    fprintf(page->out, "set xrange [-0.5:%zu.5]\nset yrange [%zu.5:-0.5]\n", layer->experts - 1, s->sources - 1);
    fputs("set border 0\nunset grid\nunset xtics\nunset ytics\n", page->out);
    const double half = 0.5 - fmin(1.2 * (double)layer->experts / (right - left), 0.1);
    fprintf(page->out,
            "plot $share%zu using 1:2:($1-%g):($1+%g):($2-%g):($2+%g):3 with boxxyerror \\\n"
            "  fillstyle solid 1 noborder linecolor palette",
            index, half, half, 0.5 - 1.2 / row, 0.5 - 1.2 / row);
    if (layer->experts <= MOST_LABELLED && row > 20)
        fputs(", \\\n  '' using 1:2:(stringcolumn(4)):5 with labels font 'sans-serif,8.5' textcolor rgb variable",
              page->out);
    fputc('\n', page->out);
}

static void put_key(cot_plot_page *page, double top, double height, double highest)
{
    char ticks[96];
    snprintf(ticks, sizeof ticks, "'0 %%%%' 0, '%.0f %%%%' %.6g, '%.0f %%%%' %.6g", highest / 2, highest / 2, highest,
             highest);
    cot_plot_palette(page, sequential, sizeof sequential / sizeof *sequential, 0, highest);
    cot_plot_key(page, top, height, ticks);
}

static double highest_share(const cot_plot_evaluation *s)
{
    double highest = 0;
    for (size_t i = 0; i < s->layers; i++)
        for (size_t j = 0; j < s->sources * s->layer[i].experts; j++)
            if (s->layer[i].load[j] > highest) highest = s->layer[i].load[j];
    return highest > 0 ? 100 * highest : 100;
}

void cot_plot_sources_draw(cot_plot_page *page, const cot_plot *plot, double top)
{
    const cot_plot_evaluation *const s = plot->evaluation;
    const double highest = highest_share(s);
    cot_plot_heading(page, top, "Which expert takes which text",
                     "percent of a source's assignments that each expert took; experts of one source stand together");
    for (size_t i = 0; i < s->layers; i++) {
        const double panel_top = top + HEAD + TITLE + (double)i * (TITLE + panel_height(plot) + NUMBERS + GAP);
        place *const places = cot_malloc(s->layer[i].experts * sizeof *places);
        if (!places) {
            page->failed = true;
            return;
        }
        order_experts(&s->layer[i], places);
        if (i == 0) put_key(page, panel_top, fmin(fmax(panel_height(plot), 60), 120), highest);
        put_panel(page, plot, i, panel_top, highest, places);
        cot_plot_done(page);
        cot_free(places);
    }
}
