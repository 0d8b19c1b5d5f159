/* Use of product keys: a grid per layer, the first sub-key downwards, the second to the right, a cell for each expert
 * or for a square of neighbours. The colour is the logarithm of how often it was used; what was never used stays white.
 * A stripe is a sub-key that many queries find, an even grid a layer that uses all it has. */
#include <math.h>

#include "study/plot_page.h"

static const double LEFT = 74, HEAD = 50, NAME = 24, NUMBERS = 50, GAP = 18, FOOT = 6;
static const double ALONE = 512, BESIDE = 300, STEP = 374;  /* sides of grids, and from one to the next */

enum { MOST_SHAPES = 128 };  /* in a row; more make a file that viewers are slow to show */

static const char *const rising[] = {"#dbe7f0", "#8fb5d3", "#4f86b3", "#265a86", "#7a2f4f", "#c2562d", "#f0a33a"};

static size_t columns_of(const cot_plot_evaluation *e) { return e->grids > 1 ? 2 : 1; }
static double side_of(const cot_plot_evaluation *e) { return e->grids > 1 ? BESIDE : ALONE; }

double cot_plot_keys_height(const cot_plot *plot)
{
    const cot_plot_evaluation *const e = plot->evaluation;
    const double rows = (double)((e->grids + columns_of(e) - 1) / columns_of(e));
    return HEAD + rows * (NAME + side_of(e) + NUMBERS) + (rows - 1) * GAP + FOOT;
}

static double highest_use(const cot_plot_evaluation *e)
{
    double highest = 1;
    for (size_t g = 0; g < e->grids; g++)
        for (int64_t i = 0; i < e->grid[g].cells * e->grid[g].cells; i++) highest = fmax(highest, e->grid[g].use[i]);
    return highest;
}

/* The logarithms as what gnuplot calls a matrix. A single cell has no size; others, out of sight, give it one. */
static void put_matrix(FILE *out, const cot_plot_grid *g, size_t index)
{
    const int64_t shown = g->cells > 1 ? g->cells : 2;
    fprintf(out, "$keys%zu << EOD\n", index);
    for (int64_t i = 0; i < shown; i++)
        for (int64_t j = 0; j < shown; j++) {
            const double use = i < g->cells && j < g->cells ? g->use[i * g->cells + j] : 0;
            if (use > 0) fprintf(out, "%.4g", log10(use));
            else fputs("NaN", out);
            fputc(j + 1 < shown ? ' ' : '\n', out);
        }
    fputs("EOD\n", out);
}

static void put_name(cot_plot_page *page, const cot_plot_grid *g, double left, double top)
{
    char text[160];
    const long long n = g->sub_keys, bin = g->bin;
    if (bin == 1) snprintf(text, sizeof text, "layer %d: %lld × %lld experts", (int)g->layer, n, n);
    else
        snprintf(text, sizeof text, "layer %d: %lld × %lld experts, a cell for %lld × %lld", (int)g->layer, n, n, bin,
                 bin);
    const cot_plot_style strong = {.align = COT_PLOT_LEFT, .size = 9.5, .color = COT_PLOT_INK, .bold = true};
    cot_plot_text(page, left, top - 11, strong, text);
}

static void put_panel(cot_plot_page *page, const cot_plot_evaluation *e, size_t index, double left, double top)
{
    const cot_plot_grid *const g = &e->grid[index];
    const double side = side_of(e), end = (double)(g->cells * g->bin) - 0.5, bin = (double)g->bin;
    const cot_plot_style quiet = {.align = COT_PLOT_CENTER, .size = 9, .color = COT_PLOT_GREY};
    put_matrix(page->out, g, index);
    put_name(page, g, left, top);
    cot_plot_frame(page, left, top, left + side, top + side);
    cot_plot_text(page, left + side / 2, top + side + 36, quiet, "second sub-key");
    if (index % columns_of(e) == 0) cot_plot_text_upwards(page, left - 44, top + side / 2, quiet, "first sub-key");
    fprintf(page->out,
            "set xrange [-0.5:%.9g]\nset yrange [%.9g:-0.5]\n"
            "set border 15 linecolor rgb '" COT_PLOT_LINE "' linewidth 1\nunset grid\n"
            "set xtics nomirror out scale 0.5 " COT_PLOT_TICS " (0, %lld)\n"
            "set ytics nomirror out scale 0.5 " COT_PLOT_TICS " (0, %lld)\n",
            end, end, (long long)g->sub_keys - 1, (long long)g->sub_keys - 1);
    fprintf(page->out, "plot $keys%zu matrix using (($1 + 0.5) * %.9g - 0.5):(($2 + 0.5) * %.9g - 0.5):3 with image%s\n",
            index, bin, bin, page->svg && g->cells <= MOST_SHAPES ? " pixels" : "");
}

/* Labels at powers of ten, and at the highest count where it stands apart from them. */
static void put_key(cot_plot_page *page, double top, double highest)
{
    char   ticks[512];
    size_t used = 0;
    double power = 1;
    for (int i = 0; power <= highest && used < sizeof ticks - 80; i++, power *= 10)
        used += (size_t)snprintf(ticks + used, sizeof ticks - used, "%s'%.0f' %d", i ? ", " : "", power, i);
    if (highest > 2 * power / 10)
        snprintf(ticks + used, sizeof ticks - used, ", '%.0f' %.6g", highest, log10(highest));
    cot_plot_palette(page, rising, sizeof rising / sizeof *rising, 0, log10(fmax(highest, 2)));
    cot_plot_key(page, top, 150, ticks);
}

void cot_plot_keys_draw(cot_plot_page *page, const cot_plot *plot, double top)
{
    const cot_plot_evaluation *const e = plot->evaluation;
    cot_plot_heading(page, top, "Use of product keys",
                     "how often each pair of sub-keys was chosen on the validation text, logarithmic; white: never");
    for (size_t i = 0; i < e->grids; i++) {
        const double row = (double)(i / columns_of(e)), column = (double)(i % columns_of(e));
        const double panel_top = top + HEAD + NAME + row * (NAME + side_of(e) + NUMBERS + GAP);
        if (i == 0) put_key(page, panel_top, highest_use(e));
        put_panel(page, e, i, LEFT + column * STEP, panel_top);
        cot_plot_done(page);
    }
}
