/* How evenly experts are used, over a step or a whole evaluation. Counted before capacity, but for what was dropped. */
#ifndef COT_ROUTING_MEASURES_H
#define COT_ROUTING_MEASURES_H

#include <coterie/evaluate.h>

#include "routing/routing.h"

/* Running totals of one layer. */
typedef struct {
    int64_t  experts, tokens /* with probabilities */, assignments, dropped;
    double   entropy;  /* sum over those tokens of the entropy of the router's probabilities, nats */
    int64_t *count;    /* [experts] assignments, the caller's memory */
    double  *weight;   /* [experts] sums of gates, the caller's memory; NULL: count stands for them */
} cot_expert_use;

typedef struct {
    double  cv2;             /* squared coefficient of variation (population) of the counts */
    double  importance_cv2;  /* the same of the sums of gates (of the counts where those were not kept) */
    double  max_vio;         /* largest count / mean - 1 */
    double  router_entropy;  /* mean over tokens, nats */
    double  drop_fraction;   /* of assignments */
    int64_t dead;            /* experts with less than a tenth of an even share */
    double  usage;           /* fraction of experts with an assignment */
    double  unevenness;      /* ln E + sum z ln z over the experts' shares z of all gates: the divergence from even use, nats;
                                [he2024mixture], table 2 */
    double  unevenness_bias; /* what as few assignments as these would show of an even router, (E - 1) / (2 assignments) */
} cot_expert_measures;

void cot_expert_use_clear(cot_expert_use *use, int64_t experts, int64_t *count, double *weight);
void cot_expert_use_add(cot_expert_use *use, const cot_routing *routing);  /* experts must agree */

/* load [experts] (may be NULL): fraction of all assignments. All zero when nothing was counted. */
cot_expert_measures cot_expert_use_measure(const cot_expert_use *use, double *load);

/* How many experts were used 0, 1, 2-3, 4-7 ... times. */
void cot_use_histogram(const int64_t *count, int64_t experts, int64_t histogram[COT_USE_BINS]);

/* Bins up to the last with an expert in it. */
int64_t cot_use_histogram_size(const int64_t histogram[COT_USE_BINS]);

/* Product keys: n * n counts, row by row, are drawn as a grid of at most COT_GRID_CELLS in a row, each the sum of
 * bin * bin counts (fewer at the right and lower edge where bin does not divide n): [cells, cells], cells = ceil(n / bin). */
int64_t cot_use_grid_bin(int64_t n);
void    cot_use_grid(const int64_t *count, int64_t n, int64_t bin, int64_t *grid);

/* Loads are listed one by one up to so many experts; beyond, consecutive experts share an entry, a whole number of them,
 * about as many as there are entries. */
enum { COT_LOADS_LISTED = 4096 };
int64_t cot_load_entries(int64_t experts);
double  cot_load_entry(const double *load, int64_t experts, int64_t entry);

#endif
