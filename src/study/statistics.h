/* What a few seeds can say: means, spreads, and how often chance alone would show as much. */
#ifndef COT_STUDY_STATISTICS_H
#define COT_STUDY_STATISTICS_H

#include <stddef.h>

typedef struct {
    size_t count;
    double mean, sd;  /* sd: sample standard deviation (divided by count - 1), 0 for fewer than two values */
} cot_sample;

cot_sample cot_sample_of(const double *values, size_t count);

/* Chance that a Student t variable of so many degrees of freedom (a positive real number) exceeds t. */
double cot_student_tail(double t, double freedom);

/* Chance that an F variable exceeds f. */
double cot_f_tail(double f, double freedom_above, double freedom_below);

/* Chance that samples of the same mean show b above a by as much as these do (Welch's test, one-sided). Without any spread:
 * 0 when b's mean is the larger, 1 when it is the smaller or the same. A sample with count 0 is a number without error. */
double cot_welch_chance(cot_sample a, cot_sample b);

#endif
