/* The tape: what one step computed, and how to go back.
 *
 * An operation takes the tape first, returns its result, and when gradients are wanted records a backward function.
 * Activations live in the tape's arena until cot_tape_reset(). Gradients of activations come from a pool and return to
 * it as soon as the node that made the activation has gone back, so their peak is a few tensors, not all of them.
 *
 * The error is sticky: after a failure every operation does nothing and returns a placeholder tensor with no data; ask
 * cot_tape_status() once a step.
 *
 * Element types. A tape has a `real` type (f32 or f64: residual stream, statistics, router, losses, gradients of parameters) and
 * an `act` type (f64, f32 or bf16: what enters and leaves large products). They give the mode: f64 (f64, f64), f32 (f32, f32), bf16 (f32, bf16). */
#ifndef COT_TENSOR_TAPE_H
#define COT_TENSOR_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "tensor/params.h"
#include "tensor/tensor.h"

typedef enum { COT_MODE_F64, COT_MODE_F32, COT_MODE_BF16, COT_MODE_COUNT } cot_mode;

static inline cot_dtype cot_mode_real(cot_mode m) { return m == COT_MODE_F64 ? COT_F64 : COT_F32; }
static inline cot_dtype cot_mode_act(cot_mode m) { return m == COT_MODE_F64 ? COT_F64 : m == COT_MODE_F32 ? COT_F32 : COT_BF16; }

typedef struct cot_tape cot_tape;

typedef void (*cot_backward)(cot_tape *tape, void *saved);

cot_status cot_tape_create(cot_mode mode, cot_tape **out);
void       cot_tape_destroy(cot_tape *tape);
/* Forgets everything that was computed, keeps the memory, and sets how the next step runs (mode stays). */
void       cot_tape_reset(cot_tape *tape, bool record, bool training, uint64_t seed, uint32_t step);

cot_status cot_tape_status(const cot_tape *tape);             /* the first failure since the reset, or COT_OK; its message is in cot_last_error() */
bool       cot_tape_failed(const cot_tape *tape);
void       cot_tape_fail(cot_tape *tape, cot_status status);  /* keeps the first; the message was left by cot_fail() */

cot_mode   cot_tape_mode(const cot_tape *tape);
cot_dtype  cot_tape_real(const cot_tape *tape);
cot_dtype  cot_tape_act(const cot_tape *tape);
bool       cot_tape_recording(const cot_tape *tape);
bool       cot_tape_training(const cot_tape *tape);
cot_rng_key cot_tape_rng(const cot_tape *tape, uint32_t stream);  /* key of a purpose at this step */

/* Memory that lives until the reset (forward) — not zeroed. NULL sets the tape's error, and a tape with an error gives NULL. */
void *cot_tape_alloc(cot_tape *tape, size_t bytes);
/* Scratch memory of an operation; give it back in reverse order of taking, before the operation returns. Survives nothing. */
size_t cot_tape_scratch_mark(cot_tape *tape);
void  *cot_tape_scratch(cot_tape *tape, size_t bytes);        /* NULL as above */
void   cot_tape_scratch_release(cot_tape *tape, size_t mark);
size_t cot_tape_bytes(const cot_tape *tape);                  /* memory that it holds now: activations, gradients, scratch */

/* A result of an operation: data from the arena, needs_grad as told (and only while recording). On failure a placeholder. */
cot_tensor *cot_tape_tensor(cot_tape *tape, cot_dtype dtype, int32_t rank, const int64_t *shape, bool needs_grad);
static inline cot_tensor *cot_tape_matrix(cot_tape *tape, cot_dtype dtype, int64_t rows, int64_t columns, bool needs_grad)
{
    return cot_tape_tensor(tape, dtype, 2, (const int64_t[]){rows, columns}, needs_grad);
}
/* A tensor over memory that the caller keeps alive until the reset. */
cot_tensor *cot_tape_wrap(cot_tape *tape, cot_dtype dtype, int32_t rank, const int64_t *shape, void *data, bool needs_grad);
/* The tensor of a parameter: data is its value, gradients flow into it unless it is frozen. */
cot_tensor *cot_tape_param(cot_tape *tape, cot_param *param);

/* Records how to go back. `outputs` (up to 4) are the tensors the node made: backward is skipped when no gradient has flowed
 * into any of them, and their gradients are released after it. `saved` lives in the tape's arena. A label ("layers.3.ffn")
 * from cot_tape_enter() names the place in errors. */
void cot_tape_record(cot_tape *tape, cot_backward backward, void *saved, cot_tensor *const *outputs, int count);

/* Inside a backward: the gradient buffer of `t` to write into. *accumulate says whether to add (true) or to overwrite.
 * NULL when t wants none or the tape failed. */
void *cot_tape_grad(cot_tape *tape, cot_tensor *t, bool *accumulate);

/* Inside a backward: hands the whole gradient of `from` to `to` (same shape and dtype): the buffer moves when `to` has none yet,
 * else it is added. `from` has none afterwards. How a residual stream's gradient travels without copies. */
void cot_tape_grad_pass(cot_tape *tape, cot_tensor *from, cot_tensor *to);

/* Runs a part of the model without keeping its activations; going back runs it again, with the same random draws, so the
 * results are the same bits. `run` reads `in` (and parameters), makes out[0] and, if it likes, out[1] (both freshly made tensors;
 * NULL = none). `context` must live until the reset; `again` tells the second run. Without recording it simply runs. */
typedef void (*cot_segment)(cot_tape *tape, void *context, bool again, cot_tensor *in, cot_tensor *out[2]);
void cot_tape_recompute(cot_tape *tape, cot_segment run, void *context, cot_tensor *in, cot_tensor *out[2]);

/* Goes back from a scalar of the real type: its gradient starts at `seed_gradient`. */
void cot_tape_backward(cot_tape *tape, cot_tensor *scalar, double seed_gradient);

/* Names where the following operations stand ("layers.3.ffn"), for messages; the text must outlive the step. */
void        cot_tape_enter(cot_tape *tape, const char *name);
const char *cot_tape_where(const cot_tape *tape);

/* Looks at every result and gradient and fails with COT_NOT_FINITE at the first one that holds a NaN or an infinity, naming the
 * place. Costs time: a training loop repeats the step with it once a loss or gradient norm is not finite. Off after a reset. */
void cot_tape_check_finite(cot_tape *tape, bool on);

/* Where time goes: an operation names its kind first, and going back is of the same kind. */
typedef enum {
    COT_TIME_OTHER, COT_TIME_PRODUCT, COT_TIME_EXPERTS, COT_TIME_ATTENTION, COT_TIME_LOSS, COT_TIME_ROUTING,
    COT_TIME_ELEMENTWISE, COT_TIME_OPTIMIZER, COT_TIME_ROWS, COT_TIME_COUNT
} cot_time_kind;
void        cot_tape_kind(cot_tape *tape, cot_time_kind kind);  /* what follows is of this kind */
/* Until the release all is of this kind, whatever operations say: how a router's products count as routing. Not nested. */
void        cot_tape_hold_kind(cot_tape *tape, cot_time_kind kind);
void        cot_tape_release_kind(cot_tape *tape);
double      cot_tape_time(const cot_tape *tape, cot_time_kind kind);  /* seconds since creation or the last clear */
double      cot_tape_time_back(const cot_tape *tape, cot_time_kind kind);  /* the part of them spent going back */
void        cot_tape_clear_times(cot_tape *tape);
const char *cot_time_name(cot_time_kind kind);
double      cot_now(void);  /* monotonic seconds */

#endif
