/* Adafactor: second moments of a matrix kept as row and column averages, no first moment, updates clipped by their root mean
 * square and scaled by the parameter's.   [shazeer2018adafactor]
 *
 *   R = b R + (1 - b) rowmean(g^2 + e1), C likewise over columns, b = 1 - step^-0.8;  V = R C / mean(R)
 *   u = g / sqrt(V);  u /= max(1, rms(u) / clip);  w -= lr * max(e2, rms(w)) * u
 * Every expert of a stack is a matrix of its own; vectors keep all of V. */
#include <math.h>

#include "base/threads.h"
#include "training/optimizers/matrices.h"
#include "training/optimizers/optimizer.h"

typedef struct {
    cot_optimizer_common common;
    double               decay_power, eps1, eps2, clip_threshold;
    bool                 scale_parameter;
} adafactor;

static const cot_option options[] = {
    COT_OPTIMIZER_COMMON(adafactor, 1e-2, 0),
    COT_OPTION_DOUBLE(adafactor, decay_power, 0.8, 0, 1, "second moments decay by 1 - step^-decay_power"),
    COT_OPTION_DOUBLE(adafactor, eps1, 1e-30, 0, 1, "added to squared gradients"),
    COT_OPTION_DOUBLE(adafactor, eps2, 1e-3, 0, 1, "smallest scale of a parameter"),
    COT_OPTION_DOUBLE(adafactor, clip_threshold, 1, 0, 1e6, "largest root mean square of an update"),
    COT_OPTION_BOOL(adafactor, scale_parameter, true, "steps are relative to the parameter's root mean square"),
    COT_OPTION_END,
};

static void declare(const cot_optimizer *optimizer, cot_slots *slots)
{
    (void)optimizer;
    const cot_param *param = slots->param;
    if (param->value.rank < 2) {
        slots->slot_name[0] = "second_moment";
        slots->slot_size[0] = cot_tensor_count(&param->value);
        return;
    }
    slots->slot_name[0] = "row_moment";
    slots->slot_name[1] = "column_moment";
    slots->slot_size[0] = cot_tensor_rows(&param->value);
    slots->slot_size[1] = cot_matrix_count(param) * cot_tensor_columns(&param->value);
}

/* One matrix (or a vector: columns in one row, with `rows_moment` NULL and `columns_moment` holding all of V). f32 or f64 by `wide`. */
typedef struct {
    bool    wide;
    int64_t rows, columns;
    void   *w, *rows_moment, *columns_moment;
    const void *g;
} piece;

static double at(const void *data, bool wide, int64_t i) { return wide ? ((const double *)data)[i] : (double)((const float *)data)[i]; }
static void put(void *data, bool wide, int64_t i, double value)
{
    if (wide) ((double *)data)[i] = value;
    else ((float *)data)[i] = (float)value;
}

static void *offset(const void *data, bool wide, int64_t i) { return (char *)data + (size_t)i * (wide ? 8 : 4); }

static void update_moments(const adafactor *s, const piece *k, double decay, double grad_scale)
{
    for (int64_t r = 0; k->rows_moment && r < k->rows; r++) {
        double sum = 0;
        for (int64_t c = 0; c < k->columns; c++) sum += pow(at(k->g, k->wide, r * k->columns + c) * grad_scale, 2) + s->eps1;
        put(k->rows_moment, k->wide, r, decay * at(k->rows_moment, k->wide, r) + (1 - decay) * sum / (double)k->columns);
    }
    for (int64_t c = 0; c < k->columns; c++) {
        double sum = 0;
        for (int64_t r = 0; r < k->rows; r++) sum += pow(at(k->g, k->wide, r * k->columns + c) * grad_scale, 2) + s->eps1;
        put(k->columns_moment, k->wide, c, decay * at(k->columns_moment, k->wide, c) + (1 - decay) * sum / (double)k->rows);
    }
}

static double root_mean_square(const void *data, bool wide, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += at(data, wide, i) * at(data, wide, i);
    return sqrt(sum / (double)count);
}

static double update_at(const piece *k, double row_mean, int64_t r, int64_t c, double grad_scale)
{
    const double row = k->rows_moment ? at(k->rows_moment, k->wide, r) / row_mean : 1;
    return at(k->g, k->wide, r * k->columns + c) * grad_scale / sqrt(row * at(k->columns_moment, k->wide, c));
}

static void update_piece(const adafactor *s, const piece *k, double lr, double weight_decay, double decay, double grad_scale)
{
    update_moments(s, k, decay, grad_scale);
    double row_mean = 0, squares = 0;
    for (int64_t r = 0; k->rows_moment && r < k->rows; r++) row_mean += at(k->rows_moment, k->wide, r) / (double)k->rows;
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t c = 0; c < k->columns; c++) squares += pow(update_at(k, row_mean, r, c, grad_scale), 2);
    const double rms = sqrt(squares / (double)(k->rows * k->columns)), clip = fmax(1, rms / s->clip_threshold);
    const double scale = s->scale_parameter ? fmax(s->eps2, root_mean_square(k->w, k->wide, k->rows * k->columns)) : 1;
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t c = 0; c < k->columns; c++) {
            const int64_t i = r * k->columns + c;
            const double w = at(k->w, k->wide, i) * (1 - lr * weight_decay);
            put(k->w, k->wide, i, w - lr * scale / clip * update_at(k, row_mean, r, c, grad_scale));
        }
}

static void update(const cot_optimizer *optimizer, cot_tape *tape, cot_slots *slots, double lr, int64_t step, double grad_scale)
{
    (void)tape;
    const adafactor *s = optimizer->state;
    const cot_tensor *value = &slots->param->value;
    const bool wide = value->dtype == COT_F64;
    const double decay = 1 - pow((double)step, -s->decay_power);
    if (value->rank < 2) {
        const piece k = {wide, 1, cot_tensor_count(value), value->data, NULL, slots->slot[0], value->grad};
        update_piece(s, &k, lr, slots->weight_decay, decay, grad_scale);
        return;
    }
    const int64_t matrices = cot_matrix_count(slots->param), columns = cot_tensor_columns(value);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < matrices; i++) {
        const cot_matrix_view view = cot_matrix_at(slots->param, i);
        const piece k = {wide, view.rows, view.columns, offset(value->data, wide, view.offset), offset(slots->slot[0], wide, view.offset / columns),
                         offset(slots->slot[1], wide, i * columns), offset(value->grad, wide, view.offset)};
        update_piece(s, &k, lr, slots->weight_decay, decay, grad_scale);
    }
}

const cot_optimizer_ops cot_optimizer_adafactor = {
    .member = {"adafactor", "shazeer2018adafactor", "factored second moments, no first: little memory", options},
    .state_size = sizeof(adafactor),
    .declare = declare,
    .update = update,
};
