/* Tasks: questions whose answers are scored by how probable a model finds them, as lm-eval's multiple-choice and
 * loglikelihood tasks are, with the same names and the same numbers. docs/evaluation.md has the formulas. */
#ifndef COTERIE_TASK_H
#define COTERIE_TASK_H

#include <coterie/evaluate.h>

typedef enum {
    COT_TASK_CHOICES,     /**< one context, several continuations, one of them right */
    COT_TASK_CONTEXTS,    /**< several contexts, one continuation: which context makes it most probable? */
    COT_TASK_PAIRS,       /**< minimal pairs: two sentences, the first is the good one */
    COT_TASK_COMPLETION,  /**< a context and the one continuation that is right (cloze) */
} cot_task_kind;

/** Questions of one kind. */
typedef struct cot_task cot_task;

/**
 * Reads a task file, packed as .gz or .zst or not. By the ending of its name: MMLU's .csv (question, answers, the right
 * one's letter), BIG-Bench Hard's .json ({"examples": [{"input", "target"}]}), else a row of JSON a line. The keys of
 * its rows say what kind it is, others are ignored:
 *
 *   query, choices, gold                  COT_TASK_CHOICES; gold counts from 0
 *   context_options, continuation, gold   COT_TASK_CONTEXTS
 *   sentence_good, sentence_bad           COT_TASK_PAIRS (BLiMP's files)
 *   context, continuation                 COT_TASK_COMPLETION
 *
 * A path may go on inside an archive: `mmlu.tar.gz/mmlu/test/anatomy_test.csv`.
 *
 * Errors   COT_IO; COT_FORMAT with file and line: what was found and what was expected; COT_INVALID when the path is an
 *          archive or a folder in one with several task files.
 */
COT_API cot_status cot_task_read(const char *path, cot_task **out);
COT_API void       cot_task_destroy(cot_task *task);  /**< Accepts NULL. */

/**
 * Reads all task files that a path names: one, or those of a .tar, .tar.gz or .tar.zst, or of a folder in it, in its
 * order. The caller gives them back with cot_tasks_destroy(). Errors as above.
 */
COT_API cot_status cot_tasks_read(const char *path, cot_task ***out, size_t *count);
COT_API void       cot_tasks_destroy(cot_task **tasks, size_t count);

COT_API const char   *cot_task_name(const cot_task *task);  /**< the file's name without folder and endings */
COT_API cot_task_kind cot_task_kind_of(const cot_task *task);
COT_API const char   *cot_task_kind_name(cot_task_kind kind);  /**< "multiple choice" ... */
COT_API int64_t       cot_task_count(const cot_task *task);  /**< questions */

/** How questions become prompts. Texts are borrowed; NULL stands for the default. */
typedef struct {
    int64_t         shots;             /**< solved examples before each question */
    const cot_task *shots_from;        /**< whose first `shots` questions they are; NULL: others of the same task, drawn anew for each question */
    uint64_t        seed;              /**< of these draws */
    int64_t         limit;             /**< only the first so many questions; 0 = all */
    const char     *description;       /**< before everything; default: nothing */
    const char     *query_end;         /**< behind each context, e.g. "\nAnswer:"; default: nothing */
    const char     *target_delimiter;  /**< between context and continuation; default: a space where neither side has white space there */
    const char     *fewshot_delimiter; /**< behind each example; default: an empty line */
    int64_t         window;            /**< tokens that a prediction may look at; 0 = the model's context. Longer contexts lose their beginning. */
    int64_t         bins;              /**< of calibration; 0 = 10 */
} cot_task_options;

/**
 * The text before the model, and what is to follow it.
 *
 *   question       0 to cot_task_count() - 1
 *   alternative    a choice, a context, or 0
 *   context, continuation   out; the caller frees both with free()
 *
 * Errors   COT_INVALID when there is no such question or alternative, or not enough others for the examples.
 */
COT_API cot_status cot_task_prompt(const cot_task *task, const cot_task_options *options, int64_t question,
                                   int64_t alternative, char **context, char **continuation);

/** One question as the model answered it. A = its alternatives: choices, contexts, sentences, or 1. */
typedef struct {
    int64_t  question, line;  /**< index in the task; line in its file */
    int32_t  alternatives, gold;
    double  *log_probability; /**< [A] nats, of all tokens of the continuation */
    double  *unconditional;   /**< [A] the same without the context (COT_TASK_CHOICES; else 0) */
    int32_t *tokens, *characters, *bytes;  /**< [A] of the continuation; characters and bytes without the delimiter */
    bool     greedy;          /**< is every token of the right continuation the most probable one? */
    bool     cut;             /**< did a context lose its beginning? */
} cot_task_answer;

/** A number over all questions; NaN where it means nothing. */
typedef struct {
    const char *name;
    double      value;
    double      standard_error;  /**< of the mean over questions, sample variance */
    double      tie_rate;        /**< share of questions whose best alternative is not alone; the first of them counts */
} cot_task_score;

/** Predictions of like confidence. */
typedef struct {
    double  from, to;     /**< confidences */
    int64_t count;
    double  confidence, accuracy;  /**< means; NaN when empty */
} cot_calibration_bin;

/** How far confidence is from accuracy: sum over bins of count / all * |accuracy - confidence|. */
typedef struct {
    int64_t count, bins;
    double  ece_width, ece_mass;         /**< bins of equal width on [0, 1]; bins of equally many predictions */
    cot_calibration_bin *width, *mass;   /**< [bins] */
} cot_calibration;

typedef struct {
    char            *name;
    cot_task_kind    kind;
    int64_t          questions;     /**< asked */
    int64_t          left_out;      /**< not asked: an answer of theirs is longer than the window */
    int64_t          shots, window;
    int64_t          cut;           /**< questions with a context that lost its beginning */
    double           chance;        /**< accuracy of guessing; NaN for completions */
    size_t           score_count;
    cot_task_score  *scores;
    cot_calibration  top;           /**< the most probable alternative, right or wrong; for completions: the most probable token at each place */
    cot_calibration  all;           /**< every alternative, right or wrong; empty for completions */
    double           temperature;   /**< that log probabilities would have to be divided by to be calibrated best; NaN for completions */
    cot_task_answer *answers;       /**< [questions] */
} cot_task_result;

/**
 * Asks the model all questions.
 *
 *   tokenizer   the model's; text of special tokens in a task stands for these
 *   progress    NULL, or told how many questions are done of how many; returns false to stop
 *   out         the caller frees it with cot_task_result_destroy()
 *
 * A context and a continuation are encoded together, behind the token that texts of the tokenizer begin with, if they
 * do; white space at the context's end goes to the continuation. An empty context is that token, or else the one that
 * ends texts.
 *
 * Errors   COT_INVALID when there are not enough questions for the examples, or none fits into the window (with file
 *          and line); COT_NOT_FINITE; COT_STOPPED; COT_OUT_OF_MEMORY.
 * Source   lm-eval [gao2021framework]; calibration [guo2017calibration], [srivastava2023beyond].
 */
COT_API cot_status cot_task_run(cot_model *model, const cot_tokenizer *tokenizer, const cot_task *task,
                                const cot_task_options *options, cot_evaluate_progress progress, void *context,
                                cot_task_result **out);

COT_API void cot_task_result_destroy(cot_task_result *result);  /**< Accepts NULL. */

/** The score of that name, or NULL. */
COT_API const cot_task_score *cot_task_result_score(const cot_task_result *result, const char *name);

/** The result as JSON, answers left out; the caller frees it with free(). */
COT_API cot_status cot_task_result_to_json(const cot_task_result *result, char **out);

/** Writes a row of JSON for every question: prompts, log probabilities, what was right. Errors: COT_IO. */
COT_API cot_status cot_task_result_write_answers(const cot_task_result *result, const cot_task *task,
                                                 const cot_task_options *options, const char *path);

#endif
