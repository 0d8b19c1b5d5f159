/* Expert load over the run: a heat map per sparse layer, experts upwards, tokens to the right. The colour is the load
 * times the number of experts: 1 is a fair share and pale, blue experts have less, red ones more. */
#include <math.h>

#include "study/plot_page.h"

static const double LEFT = 74, HEAD = 50, FOOT = 56, TITLE = 20, GAP = 14, COLUMN_GAP = 46;

static const char *const diverging[] = {"#1f4e79", "#4f83b0", "#a9c6de", "#f6f6f4", "#f0bda4", "#d8744b", "#a63a1a"};

enum { MOST_CELLS = 30000 };  /* as shapes; more make a file that viewers are slow to show */

typedef struct {
    size_t columns, rows;
    double panel;  /* height of a map */
} grid;

static double panel_height(size_t experts, size_t layers)
{
    const double most = layers <= 4 ? 150 : 110;
    return fmin(fmax(7.0 * (double)experts, 56), most);
}

static grid grid_of(const cot_plot_run *run)
{
    size_t experts = 1;
    for (size_t i = 0; i < run->layers; i++)
        if (run->layer[i].experts > experts) experts = run->layer[i].experts;
    grid g = {.columns = run->layers <= 3 ? 1 : run->layers <= 16 ? 2 : 3, .panel = panel_height(experts, run->layers)};
    g.rows = (run->layers + g.columns - 1) / g.columns;
    return g;
}

double cot_plot_load_height(const cot_plot *plot)
{
    const grid g = grid_of(plot->run);
    return HEAD + (double)g.rows * (TITLE + g.panel) + (double)(g.rows - 1) * GAP + FOOT;
}

static void put_row(FILE *out, const cot_plot_layer *layer, size_t expert)
{
    const size_t columns = layer->rows > 1 ? layer->rows : 2;
    for (size_t c = 0; c < columns; c++) {
        const size_t s = c < layer->rows ? c : 0;
        const double share = layer->load[s * layer->experts + expert] * (double)layer->experts;
        if (isfinite(share)) fprintf(out, "%.3g", share);
        else fputs("NaN", out);
        fputc(c + 1 < columns ? ' ' : '\n', out);
    }
}

/* Experts as lines, stretches of the run as columns: what gnuplot calls a matrix. One line or column alone has no cell
 * size; a second one, out of sight, gives it one. */
static void put_matrix(FILE *out, const cot_plot_layer *layer, size_t index)
{
    fprintf(out, "$load%zu << EOD\n", index);
    for (size_t e = 0; e < layer->experts; e++) put_row(out, layer, e);
    if (layer->experts == 1) put_row(out, layer, 0);
    fputs("EOD\n", out);
}

/* Tokens in a stretch of the run, and where the first one starts. */
static void stretch_of(const cot_plot_run *run, const cot_plot_layer *layer, double *start, double *length)
{
    const double last = run->tokens[run->steps - 1];
    *start = run->steps > 1 ? fmax(run->tokens[0] - (last - run->tokens[0]) / (double)(run->steps - 1), 0) : 0;
    *length = (last - *start) / (double)layer->rows;
    if (!(*length > 0)) *length = 1;
}

typedef struct {
    double left, top, right, bottom;
    bool   first, lowest;  /* of its row, of its column: only those name their axes */
} panel;

static void put_panel(cot_plot_page *page, const cot_plot_run *run, size_t index, const panel *p)
{
    const cot_plot_layer *const layer = &run->layer[index];
    double start, length;
    stretch_of(run, layer, &start, &length);
    put_matrix(page->out, layer, index);
    cot_plot_frame(page, p->left, p->top, p->right, p->bottom);

    char text[48];
    snprintf(text, sizeof text, "layer %d", (int)layer->layer);
    const cot_plot_style strong = {.align = COT_PLOT_LEFT, .size = 9.5, .color = COT_PLOT_INK, .bold = true};
    cot_plot_text(page, p->left, p->top - 10, strong, text);
    const cot_plot_style quiet = {.align = COT_PLOT_CENTER, .size = 9, .color = COT_PLOT_GREY};
    if (p->first) cot_plot_text_upwards(page, p->left - 36, (p->top + p->bottom) / 2, quiet, "expert");
    if (p->lowest) cot_plot_text(page, (p->left + p->right) / 2, p->bottom + 40, quiet, "training tokens");

    const size_t E = layer->experts, step = E <= 4 ? 1 : E <= 8 ? 2 : (E + 3) / 4;
    fprintf(page->out,
            "set xrange [%.9g:%.9g]\nset yrange [-0.5:%zu.5]\n"
            "set border 0 linecolor rgb '" COT_PLOT_LINE "'\nunset grid\n"
            "set ytics %zu scale 0 offset 0.5,0 " COT_PLOT_TICS " format '%%g'\n",
            start, start + length * (double)layer->rows, E - 1, step);
    if (p->lowest) cot_plot_token_ticks(page, start + length * (double)layer->rows);
    else fputs("unset xtics\n", page->out);
    fprintf(page->out, "plot $load%zu matrix using (%.9g + ($1 + 0.5) * %.9g):2:3 with image%s\n", index, start, length,
            page->svg && run->layers * E * layer->rows <= MOST_CELLS ? " pixels" : "");
}

void cot_plot_load_draw(cot_plot_page *page, const cot_plot *plot, double top)
{
    const cot_plot_run *const run = plot->run;
    const grid   g = grid_of(run);
    const double gaps = (double)(g.columns - 1) * COLUMN_GAP;
    const double width = (page->width - COT_PLOT_RIGHT_MARGIN - LEFT - gaps) / (double)g.columns;
    cot_plot_heading(page, top, "Expert load over training",
                     "share of the layer's assignments times the number of experts: pale is a fair share");
    cot_plot_palette(page, diverging, sizeof diverging / sizeof *diverging, 0, 2);
    for (size_t i = 0; i < run->layers; i++) {
        const size_t row = i / g.columns, column = i % g.columns;
        panel p = {.first = column == 0, .lowest = i + g.columns >= run->layers};
        p.left = LEFT + (double)column * (width + COLUMN_GAP);
        p.top = top + HEAD + TITLE + (double)row * (g.panel + TITLE + GAP);
        p.right = p.left + width;
        p.bottom = p.top + g.panel;
        if (i == 0) cot_plot_key(page, p.top, fmin(g.panel, 110), "'0 (unused)' 0, '1 (fair share)' 1, '2 and more' 2");
        put_panel(page, run, i, &p);
        cot_plot_done(page);
    }
}
