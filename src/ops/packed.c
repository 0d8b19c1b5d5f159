#include "ops/packed.h"

#include <pthread.h>

#include "base/threads.h"
#include "kernels/product/pack.h"

enum { FEW_ROWS = 16 };

typedef struct {
    cot_mode mode;
    void    *panels;
} packed;

static void packed_free(void *packed_)
{
    packed *p = packed_;
    if (!p) return;
    cot_free(p->panels);
    cot_free(p);
}

static packed *packed_create(cot_mode mode, size_t bytes)
{
    packed *p = cot_malloc(sizeof *p);
    if (!p) return NULL;
    *p = (packed){.mode = mode, .panels = cot_malloc(bytes)};
    if (p->panels) return p;
    cot_free(p);
    return NULL;
}

static int64_t panel_length(const cot_matmul *shape) { return (shape->in + 7) / 8 * 8; }

static void make_panels(const cot_matmul *shape, const cot_tensor *w, packed *p)
{
    const cot_pack_kernels *pack = cot_pack_kernels_for(p->mode);
    const cot_pack_source source = {.data = w->data, .ld = shape->in, .is_real = true};
    const int64_t length = panel_length(shape), each = (shape->out + COT_PANEL - 1) / COT_PANEL;
    const size_t panel_bytes = (size_t)(length * COT_PANEL) * cot_dtype_size(cot_mode_act(p->mode));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < shape->groups * each; i++) {
        const int64_t g = i / each, n0 = i % each * COT_PANEL,
                      n = shape->out - n0 < COT_PANEL ? shape->out - n0 : COT_PANEL;
        pack->panels_transposed(&source, g * shape->out + n0, 0, (int)shape->in, (int)length, n,
                                (char *)p->panels + (size_t)i * panel_bytes);
    }
}

/* The parameter's panels, in the mode asked for and up to date. */
static const packed *refresh(cot_mode mode, const cot_matmul *shape, const cot_tensor *w)
{
    cot_param *param = w->param;
    packed *p = param->packed;
    if (p && p->mode == mode && param->packed_version == param->version) return p;
    if (p && p->mode != mode) {
        packed_free(p);
        param->packed = p = NULL;
    }
    if (!p) {
        const size_t rows = (size_t)(shape->groups * ((shape->out + COT_PANEL - 1) / COT_PANEL) * COT_PANEL);
        param->packed = p =
            packed_create(mode, rows * (size_t)panel_length(shape) * cot_dtype_size(cot_mode_act(mode)));
        param->packed_free = packed_free;
        if (!p) return NULL;
    }
    make_panels(shape, w, p);
    param->packed_version = param->version;
    return p;
}

const void *cot_packed_panels(cot_tape *tape, const cot_matmul *shape, cot_tensor *w)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    if (!w->param || cot_tape_recording(tape) || shape->rows > FEW_ROWS * shape->groups || shape->rows == 0)
        return NULL;
    pthread_mutex_lock(&one_at_a_time);
    const packed *p = refresh(cot_tape_mode(tape), shape, w);
    pthread_mutex_unlock(&one_at_a_time);
    return p ? p->panels : NULL;
}
