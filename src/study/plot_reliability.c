/* How far confidence can be trusted: for each task, predictions in bins of equal width; a bar is as high as the share
 * that was right, a dot stands at the bin's mean confidence. On the diagonal both are equal. */
#include <math.h>
#include <string.h>

#include "study/plot_page.h"

static const double HEAD = 50, FOOT = 44, NAME = 40, SIDE = 200, LEFT = 74, STEP = 262, GAP = 50;

enum { IN_A_ROW = 3 };

double cot_plot_reliability_height(const cot_plot *plot)
{
    const double rows = (double)((plot->tasks->count + IN_A_ROW - 1) / IN_A_ROW);
    return HEAD + rows * (NAME + SIDE) + (rows - 1) * GAP + FOOT;
}

/* Lines of: middle, width, share that was right, mean confidence. */
static void put_bins(FILE *out, const cot_plot_task *t, size_t index)
{
    fprintf(out, "$bins%zu << EOD\n", index);
    for (size_t b = 0; b < t->bins; b++)
        fprintf(out, "%.6g %.6g %.6g %.6g\n", (t->bin[b].from + t->bin[b].to) / 2, t->bin[b].to - t->bin[b].from,
                t->bin[b].accuracy, t->bin[b].confidence);
    fputs("EOD\n", out);
}

static void put_name(cot_plot_page *page, const cot_plot_task *t, double left, double top)
{
    const cot_plot_style strong = {.align = COT_PLOT_LEFT, .size = 9.5, .color = COT_PLOT_INK, .bold = true};
    const cot_plot_style quiet = {.align = COT_PLOT_LEFT, .size = 8.5, .color = COT_PLOT_GREY};
    char name[36], note[80];
    cot_plot_short_name(t->name, name, sizeof name);
    snprintf(note, sizeof note, "ECE %.3f over %.0f %s", t->error, t->count, t->of_tokens ? "tokens" : "questions");
    cot_plot_text(page, left, top + 8, strong, name);
    cot_plot_text(page, left, top + 24, quiet, isfinite(t->error) ? note : "");
}

static void put_panel(cot_plot_page *page, const cot_plot_task *t, size_t index, double top)
{
    const double left = LEFT + STEP * (double)(index % IN_A_ROW);
    const double head = top + HEAD + (NAME + SIDE + GAP) * (double)(index / IN_A_ROW), floor_ = head + NAME + SIDE;
    const cot_plot_style style = {.align = COT_PLOT_CENTER, .size = 9, .color = COT_PLOT_GREY};
    put_bins(page->out, t, index);
    put_name(page, t, left, head);
    cot_plot_frame(page, left, head + NAME, left + SIDE, floor_);
    cot_plot_text(page, left + SIDE / 2, floor_ + 34, style, "confidence");
    if (index % IN_A_ROW == 0) cot_plot_text_upwards(page, left - 44, floor_ - SIDE / 2, style, "share that was right");
    fprintf(page->out,
            "set xrange [0:1] noreverse\nset yrange [0:1] noreverse\n"
            "set border 3 linecolor rgb '" COT_PLOT_LINE "' linewidth 1\n"
            "set grid noxtics ytics linetype 1 linecolor rgb '" COT_PLOT_GRID "' linewidth 1\n"
            "set xtics nomirror out scale 0.5 " COT_PLOT_TICS " ('0' 0, '0.5' 0.5, '1' 1)\n"
            "set ytics nomirror out scale 0.5 " COT_PLOT_TICS " ('0' 0, '0.5' 0.5, '1' 1)\n"
            "plot \\\n"
            "  $bins%zu using 1:3:2 with boxes fillstyle solid 1 noborder linecolor rgb '" COT_PLOT_PALE "', \\\n"
            "  x with lines linewidth 1.2 dashtype (8, 6) linecolor rgb '" COT_PLOT_GREY "', \\\n"
            "  $bins%zu using 4:3 with points pointtype 7 pointsize 0.6 linecolor rgb '" COT_PLOT_RUST "'\n",
            index, index);
    cot_plot_done(page);
}

void cot_plot_reliability_draw(cot_plot_page *page, const cot_plot *plot, double top)
{
    cot_plot_heading(page, top, "Reliability",
                     "share of answers that were right (bars, dots at the mean confidence) by how sure the model was");
    for (size_t i = 0; i < plot->tasks->count; i++) put_panel(page, &plot->tasks->task[i], i, top);
}
