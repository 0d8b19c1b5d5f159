#include "routing/measures.h"

#include <math.h>
#include <string.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"
#include "ops/values.h"

void cot_expert_use_clear(cot_expert_use *use, int64_t experts, int64_t *count, double *weight)
{
    *use = (cot_expert_use){.experts = experts, .count = count, .weight = weight};
    if (weight) memset(weight, 0, (size_t)experts * sizeof *weight);
    memset(count, 0, (size_t)experts * sizeof *count);
}

static double entropy_sum(const cot_routing *routing)
{
    const cot_mode mode = routing->probs->dtype == COT_F64 ? COT_MODE_F64 : COT_MODE_F32;
    const cot_gating_kernels *kernels = cot_gating_kernels_for(mode);
    const int64_t rows = cot_tensor_rows(routing->probs), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    double partial[COT_SUM_PIECES] = {0}, total = 0;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        partial[p] = kernels->entropy(p * each, cot_piece_end(p, each, rows), cot_tensor_columns(routing->probs),
                                      routing->clean_logits->data, routing->probs->data);
    for (int64_t p = 0; p < pieces; p++) total += partial[p];
    return total;
}

void cot_expert_use_add(cot_expert_use *use, const cot_routing *routing)
{
    use->assignments += routing->assignments - routing->skipped;
    use->dropped += routing->dropped;
    for (int64_t a = 0; a < routing->assignments; a++) {
        if (routing->slot[a] == COT_SLOT_SKIPPED) continue;
        use->count[routing->expert[a]]++;
        if (use->weight) use->weight[routing->expert[a]] += cot_value_at(routing->gate->data, routing->gate->dtype, a);
    }
    if (!routing->probs || !routing->clean_logits) return;
    use->tokens += cot_tensor_rows(routing->probs);
    use->entropy += entropy_sum(routing);
}

static double share_of(const cot_expert_use *use, int64_t e) { return use->weight ? use->weight[e] : (double)use->count[e]; }

static void measure_unevenness(const cot_expert_use *use, cot_expert_measures *m)
{
    double total = 0, sum = 0, squares = 0;
    for (int64_t e = 0; e < use->experts; e++) total += share_of(use, e);
    for (int64_t e = 0; e < use->experts && total > 0; e++) {
        const double share = share_of(use, e) / total;
        if (share > 0) sum += share * log(share);
        squares += share * share;
        m->usage += use->count[e] > 0;
    }
    m->usage /= (double)use->experts;
    m->importance_cv2 = total > 0 ? fmax((double)use->experts * squares - 1, 0) : 0;
    m->unevenness = total > 0 ? log((double)use->experts) + sum : 0;
    m->unevenness_bias = use->assignments ? (double)(use->experts - 1) / (2 * (double)use->assignments) : 0;
}

void cot_use_histogram(const int64_t *count, int64_t experts, int64_t histogram[COT_USE_BINS])
{
    memset(histogram, 0, COT_USE_BINS * sizeof *histogram);
    for (int64_t e = 0; e < experts; e++) {
        int bin = 0;
        while (bin < COT_USE_BINS - 1 && count[e] >> bin) bin++;
        histogram[bin]++;
    }
}

int64_t cot_use_histogram_size(const int64_t histogram[COT_USE_BINS])
{
    int64_t size = COT_USE_BINS;
    while (size > 1 && !histogram[size - 1]) size--;
    return size;
}

int64_t cot_use_grid_bin(int64_t n) { return (n + COT_GRID_CELLS - 1) / COT_GRID_CELLS; }

void cot_use_grid(const int64_t *count, int64_t n, int64_t bin, int64_t *grid)
{
    const int64_t cells = (n + bin - 1) / bin;
    memset(grid, 0, (size_t)(cells * cells) * sizeof *grid);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) grid[i / bin * cells + j / bin] += count[i * n + j];
}

int64_t cot_load_entries(int64_t experts)
{
    if (experts <= COT_LOADS_LISTED) return experts;
    int64_t together = (int64_t)sqrt((double)experts);
    while (experts % together) together--;
    return together > 1 ? experts / together : COT_LOADS_LISTED;
}

double cot_load_entry(const double *load, int64_t experts, int64_t entry)
{
    const int64_t entries = cot_load_entries(experts), from = entry * experts / entries, to = (entry + 1) * experts / entries;
    double sum = 0;
    for (int64_t e = from; e < to; e++) sum += load[e];
    return sum;
}

cot_expert_measures cot_expert_use_measure(const cot_expert_use *use, double *load)
{
    const double mean = (double)use->assignments / (double)use->experts;
    cot_expert_measures m = {.router_entropy = use->tokens ? use->entropy / (double)use->tokens : 0,
                             .drop_fraction = use->assignments ? (double)use->dropped / (double)use->assignments : 0};
    double largest = 0, variance = 0;
    for (int64_t e = 0; e < use->experts; e++) {
        const double count = (double)use->count[e];
        if (load) load[e] = use->assignments ? count / (double)use->assignments : 0;
        largest = count > largest ? count : largest;
        variance += (count - mean) * (count - mean) / (double)use->experts;
        m.dead += count < 0.1 * mean;
    }
    if (mean > 0) {
        m.cv2 = variance / (mean * mean);
        m.max_vio = largest / mean - 1;
    }
    measure_unevenness(use, &m);
    return m;
}
