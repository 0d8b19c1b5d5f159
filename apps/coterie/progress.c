#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "terminal.h"

enum { BAR_WIDTH = 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void format_count(double value, char *out, unsigned bytes)
{
    static const char *const suffixes[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;
    while (fabs(value) >= 999.5 && i + 1 < sizeof suffixes / sizeof *suffixes) {
        value /= 1000;
        i++;
    }
    const int decimals = i == 0 && value == floor(value) ? 0 : fabs(value) < 9.995 ? 2 : fabs(value) < 99.95 ? 1 : 0;
    snprintf(out, bytes, "%.*f%s", decimals, value, suffixes[i]);
}

void format_duration(double seconds, char *out, unsigned bytes)
{
    const double whole = seconds < 0 ? 0 : floor(seconds + 0.5);
    const double hours = floor(whole / 3600);
    const int minutes = (int)(fmod(whole, 3600) / 60), rest = (int)fmod(whole, 60);
    if (whole < 60) snprintf(out, bytes, "%d s", rest);
    else if (hours < 1) snprintf(out, bytes, "%d:%02d", minutes, rest);
    else snprintf(out, bytes, "%.0f:%02d:%02d", hours, minutes, rest);
}

void progress_start(progress *p, const char *what, const char *unit, double total, double done)
{
    const double time = now();
    *p = (progress){.what = what,
                    .unit = unit,
                    .total = total,
                    .first_done = done,
                    .started = time,
                    .terminal = terminal_is(stderr)};
    p->shown = p->terminal ? 0 : time;
}

double progress_seconds(const progress *p) { return now() - p->started; }

static void write_bar(double share, char *out, size_t bytes)
{
    const bool unicode = terminal_has_unicode();
    const int full = (int)(share * BAR_WIDTH);
    size_t used = 0;
    for (int i = 0; i < BAR_WIDTH && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s",
                                 i < full ? (unicode ? "\u2501" : "#") : (unicode ? "\u2508" : "."));
}

/* Rate and time left, from what this run has done so far. */
static void write_pace(const progress *p, double done, char *out, size_t bytes)
{
    const double seconds = progress_seconds(p), rate = seconds > 0 ? (done - p->first_done) / seconds : 0;
    char number[32], left[32];
    size_t used = 0;
    out[0] = '\0';
    if (p->total > 0 && rate > 0 && seconds > 1) {
        format_duration((p->total - done) / rate, left, sizeof left);
        used = (size_t)snprintf(out, bytes, "  %s left", left);
    }
    if (p->unit && rate > 0 && used < bytes) {
        format_count(rate, number, sizeof number);
        snprintf(out + used, bytes - used, "  %s %s/s", number, p->unit);
    }
}

static void write_line(const progress *p, double done, const char *note, char *out, size_t bytes)
{
    const double share = p->total > 0 ? fmin(1, done / p->total) : 0;
    char bar[4 * BAR_WIDTH] = "", percent[16] = "", pace[96];
    if (p->total > 0 && p->terminal) write_bar(share, bar, sizeof bar);
    if (p->total > 0) snprintf(percent, sizeof percent, "%3.0f %%", floor(100 * share));
    write_pace(p, done, pace, sizeof pace);
    /* The note last: it is what a narrow terminal cuts. */
    snprintf(out, bytes, "%s %s%s%s%s%s%s", p->what, bar, *bar ? " " : "", percent, pace, note && *note ? "  " : "",
             note ? note : "");
}

void progress_update(progress *p, double done, const char *note)
{
    const double time = now();
    if (cli_quiet() || time - p->shown < (p->terminal ? 0.1 : 60)) return;
    p->shown = time;
    char line[512];
    write_line(p, done, note, line, sizeof line);
    if (!p->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    const int width = terminal_width(stderr);
    fprintf(stderr, "\r%.*s\x1b[K", (int)terminal_cut(line, width > 1 ? (size_t)width - 1 : 1), line);
    fflush(stderr);
    p->visible = true;
}

void progress_clear(progress *p)
{
    if (p->visible) fputs("\r\x1b[K", stderr);
    p->visible = false;
    p->shown = p->terminal ? 0 : p->shown;
}
