/* Asking a model the questions of a task: prompts become token sequences, their ends are scored, block by block. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/utf8.h"
#include "inference/likelihood.h"
#include "inference/tasks/task_parts.h"
#include "models/model.h"

enum { BLOCK_TOKENS = 1 << 22, DEFAULT_BINS = 10, MOST_BINS = 1 << 20 };

/* A sequence of a block and where its score belongs. */
typedef struct {
    cot_task_answer *answer;
    int32_t          alternative;
    bool             unconditional;
    size_t           offset;  /* of its tokens in the block */
} request;

typedef struct {
    cot_model              *model;
    const cot_task         *task;
    const cot_task_options *options;
    cot_tokenizer_encoder  *encoder;
    int32_t                 start;    /* what texts begin with; -1 = with themselves */
    int32_t                 prefix;   /* what stands for an empty context; -1 = nothing can */
    int64_t                 window;
    int64_t                 asked;    /* questions to ask, those included that do not fit */
    int64_t                 long_line, long_tokens;  /* of the first answer that does not fit */
    cot_task_result        *result;
    cot_prompt              context, continuation;
    int32_t                *before;   /* tokens of the context alone */
    size_t                  before_count, before_room;
    int32_t                *ids;      /* of the block's sequences */
    size_t                  id_count, id_room;
    cot_scored_sequence    *sequences;
    request                *requests;
    size_t                  count, room;
    cot_confidence         *top;      /* of completions' tokens */
    int64_t                 top_count;
    size_t                  top_room;
    cot_evaluate_progress   progress;
    void                   *progress_context;
    int64_t                 block_begin, block_end;  /* questions */
} asking;

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for the questions of a task"); }

static cot_status grow(void *array_, size_t *room, size_t needed, size_t size)
{
    void **array = array_;
    if (needed <= *room) return COT_OK;
    const size_t larger = 2 * needed + 64;
    void *grown = cot_realloc(*array, *room * size, larger * size);
    if (!grown) return no_memory();
    *array = grown;
    *room = larger;
    return COT_OK;
}

/* ---- tokens ---- */

/* Bytes of `text` without the white space at its end. */
static size_t without_end(const char *text, size_t length)
{
    while (length > 0) {
        size_t at = length - 1;
        while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) at--;
        const bool separator = text[at] >= 0x1c && text[at] <= 0x1f;  /* white space to Python */
        if (!separator && !cot_utf8_space(text + at, length - at)) break;
        length = at;
    }
    return length;
}

static cot_status encode(asking *a, const char *text, size_t length, const int32_t **ids, size_t *count)
{
    return cot_tokenizer_encoder_run(a->encoder, text, length, true, ids, count);
}

static cot_status add_ids(asking *a, const int32_t *ids, size_t count)
{
    COT_TRY(grow(&a->ids, &a->id_room, a->id_count + count, sizeof *a->ids));
    memcpy(a->ids + a->id_count, ids, count * sizeof *ids);
    a->id_count += count;
    return COT_OK;
}

/* An empty context: the prefix token, unless the continuation begins with it. */
static cot_status encode_alone(asking *a, const char *text, size_t length, int32_t *scored)
{
    const int32_t *ids;
    size_t count;
    if (a->prefix < 0)
        return cot_fail(COT_INVALID, "the context is empty and the tokenizer has no end-of-text token to stand for it");
    COT_TRY(encode(a, text, length, &ids, &count));
    const bool there = count > 1 && ids[0] == a->prefix;
    if (!there) COT_TRY(add_ids(a, &a->prefix, 1));
    *scored = (int32_t)count - there;
    return add_ids(a, ids, count);
}

/* Context and continuation, which are one text in the prompt's context already; what goes beyond the tokens of the
 * context alone is scored. */
static cot_status encode_together(asking *a, size_t context, int32_t *scored)
{
    const int32_t *ids;
    size_t count;
    if (a->start >= 0) COT_TRY(add_ids(a, &a->start, 1));
    COT_TRY(encode(a, a->context.text, context, &ids, &count));
    COT_TRY(grow(&a->before, &a->before_room, count, sizeof *a->before));
    memcpy(a->before, ids, count * sizeof *ids);
    a->before_count = count;
    COT_TRY(encode(a, a->context.text, a->context.length, &ids, &count));
    if (count > a->before_count) {
        *scored = (int32_t)(count - a->before_count);
        return add_ids(a, ids, count);
    }
    /* The continuation is swallowed by the context's last token: it is encoded by itself. */
    COT_TRY(add_ids(a, a->before, a->before_count));
    COT_TRY(encode(a, a->context.text + context, a->context.length - context, &ids, &count));
    *scored = (int32_t)count;
    return add_ids(a, ids, count);
}

/* Keeps the last window + 1 tokens of the sequence from `begin` on. */
static void cut(asking *a, size_t begin, cot_task_answer *answer)
{
    const size_t most = (size_t)a->window + 1;
    if (a->id_count - begin <= most) return;
    answer->cut = true;
    memmove(a->ids + begin, a->ids + a->id_count - most, most * sizeof *a->ids);
    a->id_count = begin + most;
}

/* *fits: false when the continuation is longer than the window; then nothing is added. */
static cot_status add_request(asking *a, cot_task_answer *answer, int32_t alternative, bool unconditional, bool *fits)
{
    const int64_t question = answer->question;
    const size_t begin = a->id_count;
    int32_t scored = 0;
    COT_TRY(cot_prompt_continuation(&a->continuation, a->task, a->options, question, alternative));
    a->context.length = 0;
    if (!unconditional) COT_TRY(cot_prompt_context(&a->context, a->task, a->options, question, alternative));
    const size_t context = unconditional ? 0 : without_end(a->context.text, a->context.length);
    COT_TRY(grow(&a->context.text, &a->context.room, a->context.length + a->continuation.length + 1, 1));
    memcpy(a->context.text + a->context.length, a->continuation.text, a->continuation.length);
    a->context.length += a->continuation.length;
    COT_TRY(context ? encode_together(a, context, &scored)
                    : encode_alone(a, a->context.text, a->context.length, &scored));
    *fits = scored <= a->window;
    if (!*fits) {
        if (!a->long_line) a->long_line = answer->line, a->long_tokens = scored;
        return COT_OK;
    }
    cut(a, begin, answer);
    size_t request_room = a->room;
    COT_TRY(grow(&a->requests, &request_room, a->count + 1, sizeof *a->requests));
    COT_TRY(grow(&a->sequences, &a->room, a->count + 1, sizeof *a->sequences));
    a->requests[a->count] = (request){answer, alternative, unconditional, begin};
    a->sequences[a->count++] = (cot_scored_sequence){NULL, (int32_t)(a->id_count - begin), scored};
    if (!unconditional) answer->tokens[alternative] = scored;
    return COT_OK;
}

/* ---- answers ---- */

static int32_t characters_of(const char *text)
{
    int32_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void release_answer(cot_task_answer *answer)
{
    cot_free(answer->log_probability);
    cot_free(answer->unconditional);
    cot_free(answer->tokens);
    cot_free(answer->characters);
    cot_free(answer->bytes);
}

static cot_status make_answer(const cot_task *task, int64_t question, cot_task_answer *out)
{
    const cot_question *q = &task->questions[question];
    const int32_t n = question_alternatives(q);
    *out = (cot_task_answer){.question = question, .line = q->line, .alternatives = n, .gold = q->gold};
    out->log_probability = cot_calloc((size_t)n * sizeof *out->log_probability);
    out->unconditional = cot_calloc((size_t)n * sizeof *out->unconditional);
    out->tokens = cot_calloc((size_t)n * sizeof *out->tokens);
    out->characters = cot_calloc((size_t)n * sizeof *out->characters);
    out->bytes = cot_calloc((size_t)n * sizeof *out->bytes);
    if (!out->log_probability || !out->unconditional || !out->tokens || !out->characters || !out->bytes)
        return no_memory();
    for (int32_t i = 0; i < n; i++) {
        out->characters[i] = characters_of(question_continuation(q, i));
        out->bytes[i] = (int32_t)strlen(question_continuation(q, i));
    }
    return COT_OK;
}

/* One with an answer longer than the window is left out whole. */
static cot_status add_question(asking *a, int64_t question)
{
    cot_task_result *r = a->result;
    const size_t ids = a->id_count, count = a->count;
    cot_task_answer *answer = &r->answers[r->questions++];
    bool fits = true;
    COT_TRY(make_answer(a->task, question, answer));
    for (int32_t i = 0; fits && i < answer->alternatives; i++) {
        COT_TRY(add_request(a, answer, i, false, &fits));
        if (fits && a->task->kind == COT_TASK_CHOICES) COT_TRY(add_request(a, answer, i, true, &fits));
    }
    r->cut += fits && answer->cut;
    if (fits) return COT_OK;
    a->id_count = ids;
    a->count = count;
    r->left_out++;
    r->questions--;
    release_answer(answer);
    return COT_OK;
}

/* The block's scores, to where they belong. */
static cot_status take_scores(asking *a, const cot_token_likelihood *token)
{
    for (size_t i = 0; i < a->count; i++) {
        const request *r = &a->requests[i];
        double sum = 0;
        bool greedy = true;
        for (int32_t t = 0; t < a->sequences[i].scored; t++, token++) {
            sum += token->log_probability;
            greedy &= token->greedy;
            if (a->task->kind != COT_TASK_COMPLETION) continue;
            COT_TRY(grow(&a->top, &a->top_room, (size_t)a->top_count + 1, sizeof *a->top));
            a->top[a->top_count++] = (cot_confidence){(double)token->best, token->greedy};
        }
        (r->unconditional ? r->answer->unconditional : r->answer->log_probability)[r->alternative] = sum;
        if (!r->unconditional && r->alternative == r->answer->gold) r->answer->greedy = greedy;
    }
    return COT_OK;
}

static bool tell(void *context, uint64_t done, uint64_t total)
{
    const asking *a = context;
    const uint64_t questions = (uint64_t)(a->block_end - a->block_begin);
    const uint64_t answered = (uint64_t)a->block_begin + (total ? questions * done / total : questions);
    return !a->progress || a->progress(a->progress_context, answered, (uint64_t)a->asked);
}

static cot_status score_block(asking *a)
{
    size_t tokens = 0;
    for (size_t i = 0; i < a->count; i++) {
        a->sequences[i].ids = a->ids + a->requests[i].offset;
        tokens += (size_t)a->sequences[i].scored;
    }
    cot_token_likelihood *scores = cot_malloc(tokens * sizeof *scores);
    cot_status status =
        scores ? cot_sequences_score(a->model, COT_MODE_F32, a->sequences, a->count, tell, a, scores) : no_memory();
    if (status == COT_OK) status = take_scores(a, scores);
    cot_free(scores);
    a->count = a->id_count = 0;
    return status;
}

static cot_status ask(asking *a)
{
    for (int64_t q = 0; q < a->asked; q++) {
        COT_TRY(add_question(a, q));
        if (a->id_count < BLOCK_TOKENS && q + 1 < a->asked) continue;
        a->block_end = q + 1;
        COT_TRY(score_block(a));
        a->block_begin = a->block_end;
    }
    if (a->result->questions) return COT_OK;
    return cot_fail(
        COT_INVALID,
        "%s:%lld: a continuation of %lld tokens, expected at most %lld, the window; no question fits into it",
        a->task->file, (long long)a->long_line, (long long)a->long_tokens, (long long)a->window);
}

/* ---- the whole ---- */

static cot_status check_options(const cot_task *task, const cot_task_options *o, int64_t context)
{
    if (o->shots < 0 || o->limit < 0)
        return cot_fail(COT_INVALID, "%lld examples and a limit of %lld, expected 0 or more", (long long)o->shots,
                        (long long)o->limit);
    if (o->window < 0 || o->window > context)
        return cot_fail(COT_INVALID, "a window of %lld tokens, expected 1 to %lld, the model's context",
                        (long long)o->window, (long long)context);
    if (o->bins < 0 || o->bins > MOST_BINS)
        return cot_fail(COT_INVALID, "%lld bins of calibration, expected 1 to %d", (long long)o->bins, MOST_BINS);
    if (o->shots && task->kind == COT_TASK_PAIRS)
        return cot_fail(COT_INVALID, "%s: minimal pairs are scored without examples", task->file);
    if (o->shots && o->shots_from && o->shots_from->kind != task->kind)
        return cot_fail(COT_INVALID, "%s: examples of another kind, %s; expected %s", o->shots_from->file,
                        cot_task_kind_name(o->shots_from->kind), cot_task_kind_name(task->kind));
    return COT_OK;
}

static cot_status make_result(const asking *a, cot_task_result **out)
{
    cot_task_result *r = cot_calloc(sizeof *r);
    if (!r) return no_memory();
    *out = r;
    r->kind = a->task->kind;
    r->shots = a->options->shots;
    r->window = a->window;
    r->name = cot_strdup(a->task->name);
    r->answers = cot_calloc((size_t)a->asked * sizeof *r->answers);
    return r->name && r->answers ? COT_OK : no_memory();
}

static void release(asking *a)
{
    cot_tokenizer_encoder_destroy(a->encoder);
    cot_prompt_release(&a->context);
    cot_prompt_release(&a->continuation);
    cot_free(a->before);
    cot_free(a->ids);
    cot_free(a->sequences);
    cot_free(a->requests);
    cot_free(a->top);
}

void cot_task_result_destroy(cot_task_result *r)
{
    if (!r) return;
    for (int64_t q = 0; q < r->questions; q++) release_answer(&r->answers[q]);
    cot_calibration_release(&r->top);
    cot_calibration_release(&r->all);
    cot_free(r->answers);
    cot_free(r->scores);
    cot_free(r->name);
    cot_free(r);
}

cot_status cot_task_run(cot_model *model, const cot_tokenizer *tokenizer, const cot_task *task,
                        const cot_task_options *options, cot_evaluate_progress progress, void *context,
                        cot_task_result **out)
{
    *out = NULL;
    COT_TRY(check_options(task, options, model->context));
    asking a = {.model = model,
                .task = task,
                .options = options,
                .start = cot_tokenizer_start_of_text(tokenizer),
                .asked = (int64_t)task->count,
                .window = options->window ? options->window : model->context,
                .progress = progress,
                .progress_context = context};
    a.prefix = a.start >= 0 ? a.start : cot_tokenizer_end_of_text(tokenizer);
    if (options->limit && options->limit < a.asked) a.asked = options->limit;
    cot_status status = cot_tokenizer_encoder_create(tokenizer, &a.encoder);
    if (status == COT_OK) status = make_result(&a, &a.result);
    if (status == COT_OK) status = ask(&a);
    if (status == COT_OK)
        status = cot_task_measure(a.result, options->bins ? options->bins : DEFAULT_BINS, a.top, a.top_count);
    release(&a);
    if (status != COT_OK) {
        cot_task_result_destroy(a.result);
        return status;
    }
    *out = a.result;
    return COT_OK;
}
