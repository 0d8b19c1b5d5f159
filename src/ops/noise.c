#include "ops/noise.h"

#include <math.h>

#include "ops/pieces.h"
#include "ops/values.h"

enum { PIECE = 4096 };  /* elements; each costs an exponential */

/* ---- std = softplus(raw) + offset ---- */

typedef struct {
    cot_tensor *raw, *std;
} softplus_saved;

static void softplus_backward(cot_tape *tape, void *saved_)
{
    const softplus_saved *s = saved_;
    const cot_dtype real = s->raw->dtype;
    const int64_t count = cot_tensor_count(s->raw), pieces = cot_pieces(count, PIECE);
    bool add = false;
    void *draw = cot_tape_grad(tape, s->raw, &add);
    if (!draw) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            const double slope = 1.0 / (1.0 + exp(-cot_value_at(s->raw->data, real, i)));
            cot_value_put(draw, real, i, cot_value_at(s->std->grad, real, i) * slope, add);
        }
}

cot_tensor *cot_softplus(cot_tape *tape, cot_tensor *raw, double offset)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const cot_dtype real = cot_tape_real(tape);
    cot_tensor *std = cot_tape_tensor(tape, real, raw->rank, raw->shape, raw->needs_grad);
    softplus_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return std;
    *s = (softplus_saved){raw, std};
    const int64_t count = cot_tensor_count(raw), pieces = cot_pieces(count, PIECE);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            const double z = cot_value_at(raw->data, real, i);
            cot_value_set(std->data, real, i, fmax(z, 0) + log1p(exp(-fabs(z))) + offset);
        }
    cot_tape_record(tape, softplus_backward, s, &std, 1);
    return std;
}

/* ---- noisy = clean + noise * std ---- */

typedef struct {
    cot_tensor *clean, *std, *noisy;
    const void *noise;
} noise_saved;

static void noise_backward(cot_tape *tape, void *saved_)
{
    const noise_saved *s = saved_;
    const cot_dtype real = s->clean->dtype;
    const int64_t count = cot_tensor_count(s->clean), pieces = cot_pieces(count, PIECE);
    bool add_clean = false, add_std = false;
    void *dclean = cot_tape_grad(tape, s->clean, &add_clean);
    void *dstd = cot_tape_grad(tape, s->std, &add_std);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            const double dnoisy = cot_value_at(s->noisy->grad, real, i);
            if (dclean) cot_value_put(dclean, real, i, dnoisy, add_clean);
            if (dstd) cot_value_put(dstd, real, i, dnoisy * cot_value_at(s->noise, real, i), add_std);
        }
}

cot_tensor *cot_add_noise(cot_tape *tape, cot_tensor *clean, cot_tensor *std, const void *noise)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const cot_dtype real = cot_tape_real(tape);
    cot_tensor *noisy = cot_tape_tensor(tape, real, clean->rank, clean->shape, clean->needs_grad || std->needs_grad);
    noise_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return noisy;
    *s = (noise_saved){clean, std, noisy, noise};
    const int64_t count = cot_tensor_count(clean), pieces = cot_pieces(count, PIECE);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t i = p * PIECE; i < cot_piece_end(p, PIECE, count); i++) {
            const double shift = cot_value_at(noise, real, i) * cot_value_at(std->data, real, i);
            cot_value_set(noisy->data, real, i, cot_value_at(clean->data, real, i) + shift);
        }
    cot_tape_record(tape, noise_backward, s, &noisy, 1);
    return noisy;
}
