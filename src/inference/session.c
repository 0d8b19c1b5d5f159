#include <coterie/generate.h>

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "models/model.h"

struct cot_session {
    cot_model *model;
    cot_tape  *tape;
    void     **sequences;   /* one per layer */
    int64_t    capacity, length;
    int64_t    held;        /* tokens that the sequences have read: fewer than length after what they need was dropped */
    int32_t   *expert;      /* [num_layers] of the last token */
    int32_t   *ids;         /* [capacity] the tokens read so far */
};

cot_status cot_session_create(cot_model *model, int64_t capacity, bool bf16, cot_session **out)
{
    const cot_mode mode = bf16 ? COT_MODE_BF16 : COT_MODE_F32;
    *out = NULL;
    if (capacity < 0)
        return cot_fail(COT_INVALID, "a session's capacity is %lld, expected 0 or more", (long long)capacity);
    cot_session *s = cot_calloc(sizeof *s);
    if (!s) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a session");
    s->model = model;
    s->capacity = capacity ? capacity : model->context;
    s->expert = cot_malloc((size_t)model->num_layers * sizeof *s->expert);
    s->ids = cot_malloc((size_t)s->capacity * sizeof *s->ids);
    cot_status status =
        s->expert && s->ids ? cot_tape_create(mode, &s->tape) : cot_fail(COT_OUT_OF_MEMORY, "no memory for a session");
    if (status == COT_OK) status = cot_model_sequences_create(model, s->capacity, false, mode, &s->sequences);
    if (status != COT_OK) {
        cot_session_destroy(s);
        return status;
    }
    for (int64_t i = 0; i < model->num_layers; i++) s->expert[i] = -1;
    *out = s;
    return COT_OK;
}

void cot_session_destroy(cot_session *s)
{
    if (!s) return;
    cot_model_sequences_destroy(s->model, s->sequences);
    cot_tape_destroy(s->tape);
    cot_free(s->expert);
    cot_free(s->ids);
    cot_free(s);
}

static void observe(void *context, int32_t layer, const cot_routing *routing)
{
    cot_session *s = context;
    for (int64_t a = routing->assignments; a-- > 0 && routing->token[a] == routing->tokens - 1;)
        s->expert[layer] = routing->expert[a];
}

/* The last row of hidden states as a matrix of its own. */
static cot_tensor *last_row(cot_tape *tape, const cot_tensor *hidden)
{
    const int64_t d = cot_tensor_columns(hidden), rows = cot_tensor_rows(hidden);
    char *data = (char *)hidden->data + (size_t)((rows - 1) * d) * cot_dtype_size(hidden->dtype);
    return cot_tape_wrap(tape, hidden->dtype, 2, (const int64_t[]){1, d}, data, false);
}

cot_status cot_session_feed(cot_session *s, const int32_t *ids, int64_t count, const float **logits)
{
    if (count < 1 || count > s->capacity - s->length)
        return cot_fail(COT_INVALID, "%lld tokens are to be read, expected 1 to %lld: the session holds %lld of %lld",
                        (long long)count, (long long)(s->capacity - s->length), (long long)s->length,
                        (long long)s->capacity);
    memcpy(s->ids + s->length, ids, (size_t)count * sizeof *ids);
    const cot_pass pass = {.ids = s->ids + s->held, .tokens = s->length + count - s->held, .position = s->held,
                           .previous = s->held ? s->ids[s->held - 1] : -1, .observe = observe, .context = s};
    cot_tape_reset(s->tape, false, false, 0, 0);
    cot_tensor *hidden = s->model->ops->hidden(s->model, s->tape, &pass, s->sequences, false);
    const cot_tensor *result =
        cot_tape_failed(s->tape) ? NULL : cot_model_logits(s->model, s->tape, last_row(s->tape, hidden));
    if (cot_tape_failed(s->tape)) {
        s->held = cot_model_sequences_truncate(s->model, s->sequences, s->held);
        return cot_tape_status(s->tape);
    }
    s->held = s->length += count;
    *logits = result->data;
    return COT_OK;
}

int64_t cot_session_length(const cot_session *s) { return s->length; }

void cot_session_truncate(cot_session *s, int64_t length)
{
    if (length >= s->length) return;
    if (length < 0) length = 0;
    s->length = length;
    if (s->held > length) s->held = cot_model_sequences_truncate(s->model, s->sequences, length);
}

int32_t cot_session_expert(const cot_session *s, int64_t layer)
{
    return layer >= 0 && layer < s->model->num_layers ? s->expert[layer] : -1;
}
