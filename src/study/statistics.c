#include "study/statistics.h"

#include <math.h>

cot_sample cot_sample_of(const double *values, size_t count)
{
    cot_sample s = {.count = count};
    double squares = 0;
    for (size_t i = 0; i < count; i++) s.mean += values[i] / (double)count;
    for (size_t i = 0; i < count; i++) squares += (values[i] - s.mean) * (values[i] - s.mean);
    s.sd = count > 1 ? sqrt(squares / (double)(count - 1)) : 0;
    return s;
}

/* The continued fraction of the incomplete beta function by Lentz's method; converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), result;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    result = d;
    for (int i = 1; i <= 500; i++) {
        double change = 1;
        for (int odd = 0; odd < 2; odd++) {
            const double m = i, step = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                                           : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + step * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + step / c;
            c = fabs(c) < tiny ? tiny : c;
            change *= c * d;
        }
        result *= change;
        if (fabs(change - 1) < 1e-15) break;
    }
    return result;
}

/* The regularised incomplete beta function I_x(a, b). */
static double incomplete_beta(double x, double a, double b)
{
    if (!(x > 0)) return 0;
    if (x >= 1) return 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(x, a, b) / a : 1 - front * beta_fraction(1 - x, b, a) / b;
}

double cot_student_tail(double t, double freedom)
{
    const double both = incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5);
    return t >= 0 ? both / 2 : 1 - both / 2;
}

double cot_f_tail(double f, double freedom_above, double freedom_below)
{
    return f > 0 ? incomplete_beta(freedom_below / (freedom_below + freedom_above * f), freedom_below / 2, freedom_above / 2) : 1;
}

double cot_welch_chance(cot_sample a, cot_sample b)
{
    const double error_a = a.count > 1 ? a.sd * a.sd / (double)a.count : 0, error_b = b.count > 1 ? b.sd * b.sd / (double)b.count : 0;
    const double squares = error_a + error_b, difference = b.mean - a.mean;
    if (!(squares > 0)) return difference > 0 ? 0 : 1;
    const double freedom = squares * squares / ((a.count > 1 ? error_a * error_a / (double)(a.count - 1) : 0) +
                                                (b.count > 1 ? error_b * error_b / (double)(b.count - 1) : 0));
    return cot_student_tail(difference / sqrt(squares), freedom);
}
