/* A claim's picture: a panel for each measure that its file names under `picture`, arms from top to bottom in the order of the
 * first one, means as points with one standard deviation to either side. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "study/claim.h"
#include "study/gnuplot.h"
#include "study/plot_page.h"

static const double NAMES = 150, PANEL = 190, GAP = 24, ROW = 17, HEAD = 40, FOOT = 34, EDGE = 16;

typedef struct {
    size_t arm;
    double key;
} place;

static int by_key(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->arm > y->arm) - (x->arm < y->arm);
}

/* Arms with a value of the first measure, best first. */
static size_t order_arms(const cot_claim *claim, place *order)
{
    size_t count = 0;
    for (size_t i = 0; i < claim->arms; i++) {
        const double key = cot_claim_mean(claim, i, claim->panel[0]);
        if (isfinite(key)) order[count++] = (place){i, key};
    }
    qsort(order, count, sizeof *order, by_key);
    return count;
}

static void put_data(FILE *out, const cot_claim *claim, const place *order, size_t count)
{
    double values[COT_CLAIM_MOST_SEEDS];
    for (size_t p = 0; p < claim->panels; p++) {
        fprintf(out, "$panel%zu << EOD\n", p);
        for (size_t i = 0; i < count; i++) {
            const size_t seeds = cot_claim_values(claim, order[i].arm, claim->panel[p], values, NULL);
            const cot_sample s = cot_sample_of(values, seeds);
            if (seeds) fprintf(out, "%.6g %zu %.6g\n", s.mean, i, s.sd);
        }
        fputs("EOD\n", out);
    }
}

static void put_names(FILE *out, const cot_claim *claim, const place *order, size_t count)
{
    fputs("set ytics (", out);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", out);
        cot_plot_quote(out, claim->arm[order[i].arm].name);
        fprintf(out, " %zu", i);
    }
    fputs(") scale 0 noenhanced textcolor rgb '" COT_PLOT_INK "'\n", out);
}

/* About three ticks at 1, 2 or 5 times a power of ten, over all points and their bars. */
static void put_range(FILE *out, const cot_claim *claim, cot_measure measure)
{
    double values[COT_CLAIM_MOST_SEEDS], lo = HUGE_VAL, hi = -HUGE_VAL;
    for (size_t i = 0; i < claim->arms; i++) {
        const size_t seeds = cot_claim_values(claim, i, measure, values, NULL);
        const cot_sample s = cot_sample_of(values, seeds);
        if (!seeds) continue;
        lo = fmin(lo, s.mean - s.sd);
        hi = fmax(hi, s.mean + s.sd);
    }
    if (!(hi >= lo)) lo = 0, hi = 1;  /* nobody has it */
    if (!(hi - lo > 1e-9 * fabs(hi))) lo -= 0.5 * fabs(lo) + 1e-3, hi += 0.5 * fabs(hi) + 1e-3;
    const double rough = (hi - lo) / 3, power = pow(10, floor(log10(rough))), part = rough / power;
    fprintf(out, "set xrange [%.6g:%.6g]\nset xtics %.6g nomirror " COT_PLOT_TICS " format '%%g'\n", lo - 0.06 * (hi - lo), hi + 0.06 * (hi - lo),
            power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10));
}

static void put_panel(FILE *out, const cot_claim *claim, size_t index, double width, double height)
{
    const double left = NAMES + (double)index * (PANEL + GAP);
    fprintf(out, "set lmargin at screen %.5f\nset rmargin at screen %.5f\nset tmargin at screen %.5f\nset bmargin at screen %.5f\n", left / width,
            (left + PANEL) / width, 1 - HEAD / height, FOOT / height);
    fputs("set title ", out);
    cot_plot_quote(out, cot_measure_name(claim->panel[index]));
    fputs(" noenhanced font 'sans-serif,10' textcolor rgb '" COT_PLOT_INK "'\n", out);
    if (index == 1) fputs("set ytics 0,1,1000 format '' scale 0\n", out);
    put_range(out, claim, claim->panel[index]);
    fprintf(out, "plot $panel%zu using 1:2:3 with xerrorbars pointtype 7 pointsize 0.6 linecolor rgb '" COT_PLOT_BLUE "'\n", index);
}

static void put_script(FILE *out, const cot_claim *claim, const char *path, const place *order, size_t count)
{
    const double width = NAMES + (double)claim->panels * (PANEL + GAP) + EDGE, height = HEAD + FOOT + ROW * (double)count;
    fprintf(out, "set encoding utf8\nset term svg size %g,%g font 'sans-serif,11' background rgb 'white'\nif (!exists('picture')) picture = ", width, height);
    cot_plot_quote(out, path);
    fputs("\nset output picture\n", out);
    put_data(out, claim, order, count);
    fprintf(out, "set multiplot\nunset key\nset border 1 linecolor rgb '" COT_PLOT_LINE "'\nset grid linecolor rgb '" COT_PLOT_GRID "'\nset yrange [%zu.6:-0.6]\n", count - 1);
    put_names(out, claim, order, count);
    for (size_t i = 0; i < claim->panels; i++) put_panel(out, claim, i, width, height);
    fputs("unset multiplot\nunset output\n", out);
}

bool cot_claim_has_picture(const cot_claim *claim)
{
    for (size_t i = 0; claim->panels && i < claim->arms; i++)
        if (isfinite(cot_claim_mean(claim, i, claim->panel[0]))) return true;
    return false;
}

cot_status cot_claim_draw(const cot_claim *claim, const char *path)
{
    char *text = NULL;
    size_t bytes;
    if (!cot_claim_has_picture(claim)) return cot_fail(COT_INVALID, "%s: the claim has no picture, or no run", path);
    if (!cot_plot_quotable(path)) return cot_fail(COT_INVALID, "%s: gnuplot cannot write to a file of that name", path);
    place *order = cot_malloc(claim->arms * sizeof *order);
    FILE *out = order ? open_memstream(&text, &bytes) : NULL;
    if (out) put_script(out, claim, path, order, order_arms(claim, order));
    const bool broken = !out || ferror(out);
    const bool whole = out && fclose(out) == 0 && !broken;
    const cot_status status = whole ? cot_gnuplot_run(text, path) : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the picture", path);
    free(text);
    cot_free(order);
    return status;
}
