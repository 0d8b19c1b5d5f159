/* Runs gnuplot on a script. */
#ifndef COT_STUDY_GNUPLOT_H
#define COT_STUDY_GNUPLOT_H

#include <coterie/status.h>

/* Draws to `picture`, which must be cot_plot_quotable() and appears whole or not at all: the script, which must write
 * to the file that gnuplot's variable `picture` names, is given another name in the same folder; the result is renamed.
 *
 * Errors: COT_NOT_FOUND when PATH has no gnuplot; COT_IO with gnuplot's own words. */
cot_status cot_gnuplot_run(const char *script, const char *picture);

#endif
