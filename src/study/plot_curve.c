/* The learning curve: the training loss as logged (pale) and smoothed, the validation loss as points, over tokens.
 * The first steps fall from ln(vocabulary) and would leave no height for the rest: the axis goes to the loss after 5 %
 * of the run. A broken line is the yardstick: what counting alone reaches on the validation text. */
#include <math.h>
#include <stdlib.h>

#include "study/plot_page.h"

enum {
    DOTS_UNTIL = 60,    /* points of a line with a dot on each */
    SMOOTH_FROM = 100,  /* shorter runs are shown as they are */
    RAW_POINTS = 1600,
    SMOOTH_POINTS = 500
};

static const double LEFT = 74, HEIGHT = 300, HEAD = 48, FOOT = 62;

typedef struct {
    double lo, hi;
} range;

static void range_add(range *r, double value)
{
    if (!isfinite(value)) return;
    if (!(value >= r->lo)) r->lo = value;
    if (!(value <= r->hi)) r->hi = value;
}

/* Mean loss around step i. The window shrinks towards the start, where the loss falls too fast for one-sided means. */
static double smoothed(const cot_plot_run *run, size_t i)
{
    const size_t reach = run->steps >= SMOOTH_FROM ? run->steps / 60 : 0;
    const size_t half = reach < i ? reach : i;
    const size_t last = i + half < run->steps ? i + half : run->steps - 1;
    double       sum = 0;
    size_t       count = 0;
    for (size_t j = i - half; j <= last; j++) {
        if (!isfinite(run->loss[j])) continue;
        sum += run->loss[j];
        count++;
    }
    return count ? sum / (double)count : NAN;
}

static void put_point(FILE *out, double tokens, double loss)
{
    if (isfinite(loss)) fprintf(out, "%.9g %.6g\n", tokens, loss);
    else fputc('\n', out);  /* a gap in the line */
}

/* At most RAW_POINTS: of each group of steps the lowest and the highest loss, in their order: the spread stays true. */
static void put_raw(FILE *out, const cot_plot_run *run)
{
    const size_t group = run->steps > RAW_POINTS ? (2 * run->steps + RAW_POINTS - 1) / RAW_POINTS : 1;
    fputs("$training << EOD\n", out);
    for (size_t i = 0; i < run->steps; i += group) {
        size_t lo = i, hi = i;
        for (size_t j = i; j < i + group && j < run->steps; j++) {
            if (run->loss[j] < run->loss[lo]) lo = j;
            if (run->loss[j] > run->loss[hi]) hi = j;
        }
        const size_t first = lo < hi ? lo : hi, second = lo < hi ? hi : lo;
        put_point(out, run->tokens[first], run->loss[first]);
        if (second != first) put_point(out, run->tokens[second], run->loss[second]);
    }
    fputs("EOD\n", out);
}

static double put_smoothed(FILE *out, const cot_plot_run *run, range *y)
{
    const size_t points = run->steps < SMOOTH_POINTS ? run->steps : SMOOTH_POINTS;
    double       last = NAN;
    fputs("$smoothed << EOD\n", out);
    for (size_t p = 0; p < points; p++) {
        const size_t i = points > 1 ? p * (run->steps - 1) / (points - 1) : 0;
        last = smoothed(run, i);
        put_point(out, run->tokens[i], last);
        if (i >= run->steps / 20) range_add(y, last);
    }
    fputs("EOD\n", out);
    return last;
}

static void put_validation(FILE *out, const cot_plot_run *run, double from, range *y)
{
    fputs("$validation << EOD\n", out);
    for (size_t i = 0; i < run->validations; i++) {
        put_point(out, run->valid_tokens[i], run->valid_loss[i]);
        if (run->valid_tokens[i] >= from) range_add(y, run->valid_loss[i]);
    }
    fputs("EOD\n", out);
}

static bool has_yardstick(const cot_plot *plot)
{
    return plot->evaluation && plot->evaluation->yardstick_order > 0 && isfinite(plot->evaluation->yardstick_loss);
}

typedef struct {
    double left, top, right, bottom;
    double x_hi;
    range  y;
} area;

static double y_pixel(const area *a, double loss)
{
    return a->bottom - (loss - a->y.lo) / (a->y.hi - a->y.lo) * (a->bottom - a->top);
}

/* What stands at the right end of a line: its name and last value, and a note below. */
typedef struct {
    double      y;  /* pixels, of the name's middle */
    char        name[48], note[48];
    const char *color;
} line_name;

static double name_height(const line_name *n) { return n->note[0] ? 36 : 20; }

static int compare_names(const void *a, const void *b)
{
    const line_name *const p = a, *const q = b;
    return (p->y > q->y) - (p->y < q->y);
}

/* Moves names apart, downwards, and then up again from the foot of the plot, so that all can be read. */
static void spread_names(line_name *names, size_t count, double bottom)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) names[i].y = fmax(names[i].y, names[i - 1].y + name_height(&names[i - 1]));
    double lowest = bottom + 20;
    for (size_t i = count; i-- > 0; lowest = names[i].y) names[i].y = fmin(names[i].y, lowest - name_height(&names[i]));
}

static size_t collect_names(const cot_plot *plot, const area *a, double train, line_name names[3])
{
    const cot_plot_run *const run = plot->run;
    const size_t last = run->validations;
    size_t       count = 0;
    if (isfinite(train)) {
        names[count] = (line_name){.y = y_pixel(a, train), .color = COT_PLOT_BLUE};
        snprintf(names[count++].name, sizeof names->name, "training %.3f", train);
    }
    if (last && isfinite(run->valid_loss[last - 1])) {
        line_name *const n = &names[count++];
        *n = (line_name){.y = y_pixel(a, run->valid_loss[last - 1]), .color = COT_PLOT_RUST};
        snprintf(n->name, sizeof n->name, "validation %.3f", run->valid_loss[last - 1]);
        const double bits = run->valid_bits_per_byte[last - 1];
        if (isfinite(bits)) snprintf(n->note, sizeof n->note, "%.3f bits per byte", bits);
    }
    if (has_yardstick(plot)) {
        line_name *const n = &names[count++];
        *n = (line_name){.y = y_pixel(a, plot->evaluation->yardstick_loss), .color = COT_PLOT_GREY};
        snprintf(n->name, sizeof n->name, "Kneser-Ney %.3f", plot->evaluation->yardstick_loss);
        snprintf(n->note, sizeof n->note, "n-grams of order %d", plot->evaluation->yardstick_order);
    }
    return count;
}

static void name_lines(cot_plot_page *page, const cot_plot *plot, const area *a, double train)
{
    const cot_plot_style quiet = {.align = COT_PLOT_LEFT, .size = 9, .color = COT_PLOT_GREY};
    line_name    names[3];
    const size_t count = collect_names(plot, a, train, names);
    spread_names(names, count, a->bottom);
    for (size_t i = 0; i < count; i++) {
        const cot_plot_style style = {.align = COT_PLOT_LEFT, .size = 9.5, .color = names[i].color, .bold = true};
        cot_plot_text(page, a->right + 12, names[i].y, style, names[i].name);
        if (names[i].note[0]) cot_plot_text(page, a->right + 12, names[i].y + 16, quiet, names[i].note);
    }
}

static void put_axes(cot_plot_page *page, const area *a)
{
    cot_plot_frame(page, a->left, a->top, a->right, a->bottom);
    fprintf(page->out,
            "set xrange [0:%.9g]\nset yrange [%.6g:%.6g]\n"
            "set border 1 linecolor rgb '" COT_PLOT_LINE "' linewidth 1\n"
            "set grid ytics linetype 1 linecolor rgb '" COT_PLOT_GRID "' linewidth 1\n"
            "set ytics nomirror scale 0 " COT_PLOT_TICS " format '%%g'\n",
            a->x_hi, a->y.lo, a->y.hi);
    cot_plot_token_ticks(page, a->x_hi);
    const cot_plot_style style = {.align = COT_PLOT_CENTER, .size = 9, .color = COT_PLOT_GREY};
    cot_plot_text(page, (a->left + a->right) / 2, a->bottom + 40, style, "training tokens");
    cot_plot_text_upwards(page, 30, (a->top + a->bottom) / 2, style, "loss (nats per token)");
}

double cot_plot_curve_height(const cot_plot *plot)
{
    (void)plot;
    return HEAD + HEIGHT + FOOT;
}

static area make_area(const cot_plot_page *page, const cot_plot_run *run, double top, range y)
{
    area a = {.left = LEFT, .top = top + HEAD, .right = page->width - COT_PLOT_RIGHT_MARGIN, .y = y};
    a.bottom = a.top + HEIGHT;
    a.x_hi = run->steps ? run->tokens[run->steps - 1] : 0;
    if (run->validations) a.x_hi = fmax(a.x_hi, run->valid_tokens[run->validations - 1]);
    if (!(a.x_hi > 0)) a.x_hi = 1;
    if (!isfinite(y.lo) || !isfinite(y.hi)) a.y = (range){0, 1};
    const double pad = fmax(0.06 * (a.y.hi - a.y.lo), 0.01 * fmax(fabs(a.y.hi), 1e-3));
    a.y.lo -= pad;
    a.y.hi += pad;
    return a;
}

static const char *style_of(size_t points)
{
    return points <= DOTS_UNTIL ? "linespoints pointtype 7 pointsize 0.45" : "lines";
}

void cot_plot_curve_draw(cot_plot_page *page, const cot_plot *plot, double top)
{
    const cot_plot_run *const run = plot->run;
    range        y = {NAN, NAN};
    put_raw(page->out, run);
    const double train = put_smoothed(page->out, run, &y);
    put_validation(page->out, run, run->steps ? run->tokens[run->steps / 20] : 0, &y);
    if (has_yardstick(plot)) range_add(&y, plot->evaluation->yardstick_loss);
    const area a = make_area(page, run, top, y);

    cot_plot_heading(page, top, "Learning curve",
                     run->validations ? "training loss as logged and smoothed; loss on text held back for validation"
                                      : "training loss as logged and smoothed");
    put_axes(page, &a);
    name_lines(page, plot, &a, train);
    if (has_yardstick(plot))
        fprintf(page->out,
                "set arrow from graph 0, first %.6g to graph 1, first %.6g nohead linewidth 1.2 dashtype (8, 6) "
                "linecolor rgb '" COT_PLOT_GREY "'\n",
                plot->evaluation->yardstick_loss, plot->evaluation->yardstick_loss);
    fprintf(page->out,
            "plot \\\n"
            "  $training using 1:2 with lines linewidth 0.8 linecolor rgb '" COT_PLOT_PALE "', \\\n"
            "  $smoothed using 1:2 with %s linewidth 2 linecolor rgb '" COT_PLOT_BLUE "', \\\n"
            "  $validation using 1:2 with %s linewidth 1.2 linecolor rgb '" COT_PLOT_RUST "'\n",
            style_of(run->steps), style_of(run->validations));
    cot_plot_done(page);
}
