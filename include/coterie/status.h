/* Status codes: every public function that can fail returns one, and leaves one message per thread. */
#ifndef COTERIE_STATUS_H
#define COTERIE_STATUS_H

#if defined(__GNUC__)
#define COT_API __attribute__((visibility("default")))
#else
#define COT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define COT_STATUS_LIST(X)                                                    \
    X(OK,             "success")                                              \
    X(INVALID,        "a value is out of range or of the wrong kind")         \
    X(SHAPE_MISMATCH, "tensor shapes do not fit together")                    \
    X(NOT_FOUND,      "nothing is known under that name")                     \
    X(OUT_OF_MEMORY,  "memory allocation failed")                             \
    X(IO,             "a file could not be read or written")                  \
    X(FORMAT,         "a file does not follow its format")                    \
    X(NOT_FINITE,     "a loss, gradient or logit is not finite")              \
    X(STOPPED,        "stopped on request")

typedef enum {
#define X(id, text) COT_##id,
    COT_STATUS_LIST(X)
#undef X
} cot_status;

/**
 * The general meaning of a status, e.g. "tensor shapes do not fit together".
 *
 * Threads  safe. The text is static.
 */
COT_API const char *cot_status_text(cot_status status);

/**
 * What the last failed call on this thread had to say: what was found, where, and what was expected.
 * One line without a newline; empty when nothing has failed yet.
 *
 * Threads  one message per thread, valid until the next failure on it.
 */
COT_API const char *cot_last_error(void);

/** The library's version, e.g. "0.1.0". */
COT_API const char *cot_version(void);

#ifdef __cplusplus
}
#endif

#endif
