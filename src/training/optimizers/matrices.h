/* A parameter as a list of matrices: experts of a stack and the parts of joined projections (q, k, v) each count as one. */
#ifndef COT_TRAINING_MATRICES_H
#define COT_TRAINING_MATRICES_H

#include "tensor/params.h"

typedef struct {
    int64_t offset;         /* of its first element */
    int64_t rows, columns;
} cot_matrix_view;

static inline int64_t cot_matrix_parts(const cot_param *param) { return param->spec.row_parts > 0 ? param->spec.row_parts : 1; }

static inline int64_t cot_matrix_count(const cot_param *param)
{
    if (param->value.rank < 2) return 0;
    return (param->value.rank == 3 ? param->value.shape[0] : 1) * cot_matrix_parts(param);
}

static inline cot_matrix_view cot_matrix_at(const cot_param *param, int64_t index)
{
    const int64_t *shape = param->value.shape, parts = cot_matrix_parts(param), expert = index / parts, part = index % parts;
    const int64_t  rows = param->value.rank == 3 ? shape[1] : shape[0], columns = cot_tensor_columns(&param->value);
    int64_t        row = expert * rows;
    for (int64_t i = 0; i < part; i++) row += param->spec.row_part[i];
    return (cot_matrix_view){row * columns, parts > 1 ? param->spec.row_part[part] : rows, columns};
}

#endif
