/* The mixer family: what moves information along the sequence. A mixer may carry a sequence state from token to token,
 * which a session owns, so that generation runs the same forward as training. */
#ifndef COT_MIXERS_MIXER_H
#define COT_MIXERS_MIXER_H

#include "base/family.h"
#include "formats/dialects/dialect.h"
#include "tensor/build.h"
#include "tensor/tape.h"

typedef struct cot_mixer cot_mixer;

typedef struct cot_mixer_ops {
    cot_member member;
    size_t     state_size;  /* bytes of the member's own struct, zeroed before its options are read */
    cot_status (*setup)(cot_mixer *mixer, const cot_build *build);  /* declares parameters */
    /* residual [T, D] real + mixer(x [T, D] act); first [T] as in ops/attention.h; sequence: a state made below, or
     * NULL */
    cot_tensor *(*forward)(cot_mixer *mixer, cot_tape *tape, cot_tensor *x, cot_tensor *residual, const int32_t *first,
                           void *sequence);
    /* whole: it serves walks (ops/attention.h); else it may drop what no later token needs */
    cot_status (*sequence_create)(const cot_mixer *mixer, int64_t capacity, bool whole, cot_mode mode, void **out);
    void       (*sequence_destroy)(void *sequence);
    int64_t    (*sequence_truncate)(void *sequence, int64_t length);  /* its length now: less, where too much was dropped */
    cot_cost   (*cost)(const cot_mixer *mixer, double context);  /* context: tokens attended to on average */
    int64_t    (*sequence_bytes)(const cot_mixer *mixer, int64_t capacity, cot_mode mode);  /* of a state that is not whole */
    void       (*describe)(const cot_mixer *mixer, cot_model_card *card);  /* fills in its fields; sets card->beyond where published families have no place for it */
    void       (*text)(const cot_mixer *mixer, char *text, size_t size);  /* in words, e.g. "attention with 6 heads of 64" */
} cot_mixer_ops;

struct cot_mixer {
    const cot_mixer_ops *ops;
    void                *state;  /* the member's struct: options first, then what setup() found */
    cot_build            build;  /* prefix is NULL */
};

const cot_member *cot_mixer_at(size_t index);

extern const cot_option cot_rope_scaling_options[];  /* what attention's `rope_scaling: {...}` may set */

/* Makes the mixer that spec ({kind: attention, ...}) asks for and declares its parameters under build->prefix. */
cot_status cot_mixer_create(const cot_config *spec, const cot_build *build, cot_mixer **out);
void       cot_mixer_destroy(cot_mixer *mixer);  /* accepts NULL */

#endif
