#include "inference/likelihood.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/model.h"

enum {
    BATCH_TOKENS = 2048,     /* of a walk; its last sequence may go beyond */
    LOGIT_BYTES = 16 << 20,  /* held at once */
    WORTH_KEEPING = 32,      /* tokens that the next batch shares: fewer are read again with it */
};

/* A scored token and the row of the walk that predicts it. */
typedef struct {
    int32_t row, target;
    cot_token_likelihood *out;
} prediction;

typedef struct {
    cot_model *model;
    const cot_scored_sequence  *sequences;
    const cot_scored_sequence **order;    /* sorted */
    size_t      count;
    size_t     *offset;                   /* [count] of a sequence's first token among the results */
    cot_token_likelihood *tokens;
    cot_tape   *tape, *head_tape;
    void      **states;                   /* of the layers */
    int64_t     capacity;                 /* tokens of the longest path */
    int32_t    *held, held_count;         /* what the states hold between batches */
    int32_t    *ids, *first, *row_at;     /* the walk; the row of the path's token at a depth */
    prediction *predictions;              /* of the batch */
    size_t      prediction_count;
    int32_t    *needed;                   /* rows that predict something, in order; then their number among these by row */
    char       *rows;                     /* hidden states of a chunk of them */
} scorer;

static int32_t fed(const cot_scored_sequence *s) { return s->count - 1; }

static int32_t common(const int32_t *a, int32_t n, const int32_t *b, int32_t m)
{
    const int32_t most = n < m ? n : m;
    int32_t i = 0;
    while (i < most && a[i] == b[i]) i++;
    return i;
}

static int32_t shared(const cot_scored_sequence *a, const cot_scored_sequence *b)
{
    return common(a->ids, fed(a), b->ids, fed(b));
}

/* By the tokens that are read, a beginning before what goes on from it; equals in their given order. */
static int compare(const void *a_, const void *b_)
{
    const cot_scored_sequence *const a = *(const cot_scored_sequence *const *)a_,
                                     *const b = *(const cot_scored_sequence *const *)b_;
    const int32_t n = shared(a, b);
    if (n < fed(a) && n < fed(b)) return a->ids[n] < b->ids[n] ? -1 : 1;
    if (fed(a) != fed(b)) return fed(a) < fed(b) ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* ---- memory ---- */

static void release(scorer *s)
{
    cot_model_sequences_destroy(s->model, s->states);
    cot_tape_destroy(s->head_tape);
    cot_tape_destroy(s->tape);
    cot_free(s->order);
    cot_free(s->offset);
    cot_free(s->held);
    cot_free(s->ids);
    cot_free(s->first);
    cot_free(s->row_at);
    cot_free(s->predictions);
    cot_free(s->needed);
    cot_free(s->rows);
}

static int64_t chunk_rows(const scorer *s)
{
    const int64_t rows = LOGIT_BYTES / 4 / s->model->vocab_size;
    return rows < 16 ? 16 : rows > BATCH_TOKENS ? BATCH_TOKENS : rows;
}

static size_t row_bytes(const scorer *s)
{
    return (size_t)s->model->hidden_size * cot_dtype_size(cot_tape_act(s->tape));
}

/* Checks the sequences, sorts them, and sets what depends on their lengths. */
static cot_status take_sequences(scorer *s, size_t *most_predictions)
{
    size_t tokens = 0;
    int32_t most_scored = 0;
    for (size_t i = 0; i < s->count; i++) {
        const cot_scored_sequence *q = &s->sequences[i];
        if (q->count < 2 || q->scored < 1 || q->scored >= q->count)
            return cot_fail(COT_INVALID,
                            "sequence %zu has %d tokens, %d of them scored, expected 1 or more and fewer than all", i,
                            q->count, q->scored);
        for (int32_t j = q->count - q->scored; j < q->count; j++)
            if (q->ids[j] < 0 || q->ids[j] >= s->model->vocab_size)
                return cot_fail(COT_INVALID, "token %d of sequence %zu is %d, expected 0 to %lld", j, i, q->ids[j],
                                (long long)s->model->vocab_size - 1);
        s->order[i] = q;
        s->offset[i] = tokens;
        tokens += (size_t)q->scored;
        s->capacity = fed(q) > s->capacity ? fed(q) : s->capacity;
        most_scored = q->scored > most_scored ? q->scored : most_scored;
    }
    qsort(s->order, s->count, sizeof *s->order, compare);
    /* Sequences of a batch may all read the same: then it grows by predictions alone. */
    *most_predictions = BATCH_TOKENS + (size_t)most_scored;
    return COT_OK;
}

static cot_status prepare(scorer *s, cot_mode mode)
{
    size_t predictions = 0;
    s->order = cot_malloc(s->count * sizeof *s->order);
    s->offset = cot_malloc(s->count * sizeof *s->offset);
    if (!s->order || !s->offset) return cot_fail(COT_OUT_OF_MEMORY, "no memory to score %zu sequences", s->count);
    COT_TRY(take_sequences(s, &predictions));
    COT_TRY(cot_tape_create(mode, &s->tape));
    COT_TRY(cot_tape_create(mode, &s->head_tape));
    COT_TRY(cot_model_sequences_create(s->model, s->capacity, true, mode, &s->states));
    const size_t room = BATCH_TOKENS + (size_t)s->capacity;
    s->held = cot_malloc((size_t)s->capacity * sizeof *s->held);
    s->row_at = cot_malloc((size_t)s->capacity * sizeof *s->row_at);
    s->ids = cot_malloc(room * sizeof *s->ids);
    s->first = cot_malloc(room * sizeof *s->first);
    s->needed = cot_malloc(2 * room * sizeof *s->needed);
    s->predictions = cot_malloc(predictions * sizeof *s->predictions);
    s->rows = cot_malloc((size_t)chunk_rows(s) * row_bytes(s));
    const bool whole = s->held && s->row_at && s->ids && s->first && s->needed && s->predictions && s->rows;
    return whole ? COT_OK
                 : cot_fail(COT_OUT_OF_MEMORY, "no memory to score sequences of %lld tokens", (long long)s->capacity);
}

/* ---- what a batch is ---- */

static size_t batch_end(const scorer *s, size_t from)
{
    int64_t tokens = fed(s->order[from]), predictions = s->order[from]->scored;
    size_t end = from + 1;
    for (; end < s->count && tokens < BATCH_TOKENS && predictions < BATCH_TOKENS; end++) {
        tokens += fed(s->order[end]) - shared(s->order[end - 1], s->order[end]);
        predictions += s->order[end]->scored;
    }
    return end;
}

/* How many tokens at the start of the whole batch lie in the states already, or are worth putting there since the next
 * batch starts with them too. What predicts a scored token belongs to the walk. */
static int32_t batch_root(const scorer *s, size_t from, size_t end)
{
    int32_t all = shared(s->order[from], s->order[end - 1]);
    for (size_t i = from; i < end; i++) {
        const int32_t before = fed(s->order[i]) - s->order[i]->scored;
        all = before < all ? before : all;
    }
    const int32_t held = common(s->held, s->held_count < all ? s->held_count : all, s->order[from]->ids, all);
    const int32_t next = end < s->count ? shared(s->order[end - 1], s->order[end]) : 0;
    const int32_t kept = next < all ? next : all;
    return kept >= held + WORTH_KEEPING ? kept : held;
}

static cot_status hold(scorer *s, const int32_t *ids, int32_t root)
{
    const int32_t kept = common(s->held, s->held_count < root ? s->held_count : root, ids, root);
    cot_model_sequences_truncate(s->model, s->states, kept);
    s->held_count = root;
    if (kept == root) return COT_OK;
    memcpy(s->held, ids, (size_t)root * sizeof *ids);
    const cot_pass pass = {.ids = ids + kept, .tokens = root - kept};
    cot_tape_reset(s->tape, false, false, 0, 0);
    s->model->ops->hidden(s->model, s->tape, &pass, s->states, false);
    return cot_tape_status(s->tape);
}

/* Lays out the walk from `root` on and lists what it predicts. Returns its tokens. */
static int32_t lay_out(scorer *s, size_t from, size_t end, int32_t root)
{
    int32_t t = 0;
    s->prediction_count = 0;
    for (size_t i = from; i < end; i++) {
        const cot_scored_sequence *q = s->order[i];
        const int32_t known = i == from ? root : shared(s->order[i - 1], q);
        for (int32_t depth = known; depth < fed(q); depth++, t++) {
            s->ids[t] = q->ids[depth];
            s->first[t] = t - (depth - root);
            s->row_at[depth] = t;
        }
        cot_token_likelihood *out = s->tokens + s->offset[q - s->sequences];
        for (int32_t j = q->count - q->scored; j < q->count; j++)
            s->predictions[s->prediction_count++] = (prediction){s->row_at[j - 1], q->ids[j], out++};
    }
    return t;
}

/* ---- logits ---- */

/* Which rows of a walk predict something: rows [count] in order, and each prediction's row by its number there. */
static int64_t list_needed(scorer *s, int32_t tokens)
{
    int32_t *number = s->needed + tokens;
    int64_t count = 0;
    memset(number, 0, (size_t)tokens * sizeof *number);
    for (size_t i = 0; i < s->prediction_count; i++) number[s->predictions[i].row] = 1;
    for (int32_t t = 0; t < tokens; t++) {
        if (!number[t]) continue;
        number[t] = (int32_t)count;
        s->needed[count++] = t;
    }
    for (size_t i = 0; i < s->prediction_count; i++) s->predictions[i].row = number[s->predictions[i].row];
    return count;
}

/* Natural log of the sum of exponentials, and the first of the largest. */
static double log_sum(const float *logits, int64_t count, int64_t *best)
{
    double sum = 0;
    *best = 0;
    for (int64_t v = 1; v < count; v++)
        if (logits[v] > logits[*best]) *best = v;
    for (int64_t v = 0; v < count; v++) sum += (double)expf(logits[v] - logits[*best]);
    return (double)logits[*best] + log(sum);
}

/* Predictions of needed rows [begin, end), whose logits these are. */
static void read_logits(const scorer *s, const float *logits, int64_t begin, int64_t end)
{
    const int64_t vocab = s->model->vocab_size;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t row = begin; row < end; row++) {
        const float *x = logits + (row - begin) * vocab;
        int64_t best;
        const double sum = log_sum(x, vocab, &best);
        for (size_t i = 0; i < s->prediction_count; i++) {
            const prediction *p = &s->predictions[i];
            if (p->row != row) continue;
            *p->out = (cot_token_likelihood){(double)x[p->target] - sum, (float)exp((double)x[best] - sum),
                                             p->target == best};
        }
    }
}

static cot_status predict(scorer *s, const cot_tensor *hidden, int32_t tokens)
{
    const int64_t count = list_needed(s, tokens), chunk = chunk_rows(s);
    const size_t bytes = row_bytes(s);
    for (int64_t begin = 0; begin < count; begin += chunk) {
        const int64_t end = count - begin < chunk ? count : begin + chunk;
        for (int64_t i = begin; i < end; i++)
            memcpy(s->rows + (size_t)(i - begin) * bytes, (const char *)hidden->data + (size_t)s->needed[i] * bytes,
                   bytes);
        cot_tape_reset(s->head_tape, false, false, 0, 0);
        cot_tensor *x = cot_tape_wrap(s->head_tape, hidden->dtype, 2,
                                      (const int64_t[]){end - begin, s->model->hidden_size}, s->rows, false);
        const cot_tensor *logits = cot_model_logits(s->model, s->head_tape, x);
        COT_TRY(cot_tape_status(s->head_tape));
        read_logits(s, logits->data, begin, end);
    }
    for (size_t i = 0; i < s->prediction_count; i++)
        if (!isfinite(s->predictions[i].out->log_probability))
            return cot_fail(COT_NOT_FINITE, "the model gives a token the log probability %g",
                            s->predictions[i].out->log_probability);
    return COT_OK;
}

/* ---- the loop ---- */

static cot_status score_batch(scorer *s, size_t from, size_t end, int32_t *tokens)
{
    const int32_t root = batch_root(s, from, end);
    COT_TRY(hold(s, s->order[from]->ids, root));
    *tokens = lay_out(s, from, end, root);
    const cot_pass pass = {.ids = s->ids, .first = s->first, .tokens = *tokens};
    cot_tape_reset(s->tape, false, false, 0, 0);
    const cot_tensor *hidden = s->model->ops->hidden(s->model, s->tape, &pass, s->states, false);
    COT_TRY(cot_tape_status(s->tape));
    cot_model_sequences_truncate(s->model, s->states, root);
    return predict(s, hidden, *tokens);
}

static cot_status score(scorer *s, cot_evaluate_progress progress, void *context)
{
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < s->count; i++)
        total += (uint64_t)(fed(s->order[i]) - (i ? shared(s->order[i - 1], s->order[i]) : 0));
    for (size_t from = 0, end; from < s->count; from = end) {
        int32_t tokens;
        end = batch_end(s, from);
        COT_TRY(score_batch(s, from, end, &tokens));
        done = done + (uint64_t)tokens < total ? done + (uint64_t)tokens : total;
        if (progress && !progress(context, done, total)) return cot_fail(COT_STOPPED, "the evaluation was stopped");
    }
    return COT_OK;
}

cot_status cot_sequences_score(cot_model *model, cot_mode mode, const cot_scored_sequence *sequences, size_t count,
                               cot_evaluate_progress progress, void *context, cot_token_likelihood *tokens)
{
    if (count == 0) return COT_OK;
    scorer s = {.model = model, .sequences = sequences, .count = count, .tokens = tokens};
    cot_status status = prepare(&s, mode);
    if (status == COT_OK) status = score(&s, progress, context);
    release(&s);
    return status;
}
