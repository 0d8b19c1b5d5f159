#include "ops/sinkhorn.h"

#include <math.h>
#include <string.h>

#include "ops/pieces.h"
#include "ops/values.h"

/* With K = exp(h - its row's largest), rows and columns scale by factors: a row of the plan has sum 1 where its factor is
 * one over sum_e K v_e. Shifts are logarithms of v. Each pass goes over the rows once: a row's factor, and what the row
 * then gives to the columns. Factors span less than exp(600) while logits of a row do; beyond that, entries that far below
 * the best of their row are taken for masked. */
typedef struct {
    int64_t rows, columns;
    double *kernel;   /* [rows, columns] */
    double *v;        /* [columns] */
    double *partial;  /* [pieces, columns] */
} transport;

static void fill_kernel(const transport *p, const cot_tensor *logits, int64_t from)
{
    for (int64_t r = 0; r < p->rows; r++) {
        double *k = p->kernel + r * p->columns, largest = -INFINITY;
        for (int64_t e = 0; e < p->columns; e++) {
            k[e] = cot_value_at(logits->data, logits->dtype, (from + r) * p->columns + e);
            largest = fmax(largest, k[e]);
        }
        for (int64_t e = 0; e < p->columns; e++) k[e] = largest > -INFINITY ? exp(k[e] - largest) : 0;
    }
}

/* Adds rows, each scaled to sum 1, to column sums. */
static void add_rows(const transport *p, int64_t r0, int64_t r1, double *sum)
{
    for (int64_t r = r0; r < r1; r++) {
        const double *k = p->kernel + r * p->columns;
        double row = 0;
        for (int64_t e = 0; e < p->columns; e++) row += k[e] * p->v[e];
        const double factor = row > 0 ? 1 / row : 0;
        for (int64_t e = 0; e < p->columns; e++) sum[e] += factor * k[e];
    }
}

/* One pass; returns the largest change of a shift. */
static double iterate(const transport *p)
{
    const int64_t each = cot_sum_piece_rows(p->rows), pieces = cot_pieces(p->rows, each);
    double change = 0;
    memset(p->partial, 0, (size_t)(pieces * p->columns) * sizeof *p->partial);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        add_rows(p, i * each, cot_piece_end(i, each, p->rows), p->partial + i * p->columns);
    for (int64_t e = 0; e < p->columns; e++) {
        double sum = 0;
        for (int64_t i = 0; i < pieces; i++) sum += p->partial[i * p->columns + e];
        const double v = sum > 0 ? fmin((double)p->rows / ((double)p->columns * sum), 1e300) : p->v[e];
        change = fmax(change, fabs(log(v / p->v[e])));
        p->v[e] = v;
    }
    return change;
}

int64_t cot_sinkhorn(cot_tape *tape, const cot_tensor *logits, int64_t from, int64_t to, double tolerance,
                     int64_t iterations, double *shift)
{
    const int64_t columns = cot_tensor_columns(logits), rows = to - from;
    const size_t mark = cot_tape_scratch_mark(tape);
    transport p = {rows, columns, NULL, shift, NULL};
    int64_t n = 0;
    p.kernel = cot_tape_scratch(tape, (size_t)(rows * columns) * sizeof *p.kernel);
    p.partial = cot_tape_scratch(tape, (size_t)(COT_SUM_PIECES * columns) * sizeof *p.partial);
    for (int64_t e = 0; e < columns; e++) shift[e] = 1;
    if (!cot_tape_failed(tape) && rows > 0) {
        fill_kernel(&p, logits, from);
        while (n < iterations && iterate(&p) > tolerance) n++;
    }
    for (int64_t e = 0; e < columns; e++) shift[e] = log(shift[e]);
    cot_tape_scratch_release(tape, mark);
    return n;
}
