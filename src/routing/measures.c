#include "routing/measures.h"

#include <string.h>

#include "kernels/gating/gating.h"
#include "ops/pieces.h"

void cot_expert_use_clear(cot_expert_use *use, int64_t experts, int64_t *count)
{
    *use = (cot_expert_use){.experts = experts, .count = count};
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
    for (int64_t a = 0; a < routing->assignments; a++)
        use->count[routing->expert[a]] += routing->slot[a] != COT_SLOT_SKIPPED;
    if (!routing->probs || !routing->clean_logits) return;
    use->tokens += cot_tensor_rows(routing->probs);
    use->entropy += entropy_sum(routing);
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
    return m;
}
