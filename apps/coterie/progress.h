/* A line on stderr that says how far a long command is. On a terminal it is rewritten in place, at most ten times a
 * second; elsewhere a line comes once a minute; with --quiet nothing at all. */
#ifndef COTERIE_APP_PROGRESS_H
#define COTERIE_APP_PROGRESS_H

#include <stdbool.h>

typedef struct {
    const char *what;        /* "training" */
    const char *unit;        /* of total and done, for the rate: "tokens"; NULL = no rate */
    double      total;       /* 0 = unknown: no bar, no time left */
    double      first_done;  /* where this run began */
    double      started, shown;  /* seconds */
    bool        terminal;
    bool        visible;     /* a line stands there that the next one overwrites */
} progress;

/* Nothing is printed before the first update. `done` is what an earlier run had done already. */
void progress_start(progress *p, const char *what, const char *unit, double total, double done);

/* Shows the state, with `note` (may be NULL) behind it: "loss 3.21". Cheap when it is not time yet. */
void progress_update(progress *p, double done, const char *note);

/* Takes the line away, so that other text can be printed. The next update brings it back. */
void progress_clear(progress *p);

/* Seconds since the start. */
double progress_seconds(const progress *p);

/* "8.1k", "1.25M": three digits with a metric suffix. */
void format_count(double value, char *out, unsigned bytes);

/* "45 s", "3:05", "1:02:03". */
void format_duration(double seconds, char *out, unsigned bytes);

#endif
