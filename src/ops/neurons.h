/* Pools of experts of one row each: PEER's single neurons [he2024mixture] and the values of a product-key memory
 * [lample2019large]. No [T, choices, D] tensor is ever made, forward or backward.
 *
 * y [T, D] real = residual + sum over a token's assignments of gate * act(<u_e, x>) v_e, times <w_e, x> where there is a
 * table `linear`; gate * v_e without `down`. x [T, D] act; gate real, one number for each assignment; down, up, linear [N, D]
 * tables, real or bf16, that are updated by touched row: what flows into them goes to their param->rows. Assignments in token order, all of them used. `residual` [T, D] real. */
#ifndef COT_OPS_NEURONS_H
#define COT_OPS_NEURONS_H

#include "kernels/neurons/neurons.h"

typedef struct {
    int64_t        assignments;
    const int64_t *first;       /* [T + 1] first assignment of each token */
    const int32_t *expert;      /* [assignments] */
    cot_tensor    *gate;
} cot_neuron_choices;

typedef struct {
    cot_param *down, *up, *linear;  /* down NULL: values; linear NULL: no gated form */
    cot_neuron_activation activation;
} cot_neuron_tables;

cot_tensor *cot_neurons(cot_tape *tape, cot_tensor *x, const cot_neuron_choices *choices, const cot_neuron_tables *tables,
                        cot_tensor *residual);

#endif
