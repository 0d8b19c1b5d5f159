/* Reporting failures: cot_fail() leaves the message that cot_last_error() returns, COT_TRY() passes a status on. */
#ifndef COT_BASE_FAIL_H
#define COT_BASE_FAIL_H

#include <coterie/status.h>

/* Stores one line (what was found, where, what was expected) for this thread and returns `status`. */
__attribute__((format(printf, 2, 3))) cot_status cot_fail(cot_status status, const char *format, ...);

#define COT_TRY(call)                                \
    do {                                             \
        cot_status try_status_ = (call);             \
        if (try_status_ != COT_OK) return try_status_; \
    } while (0)

#endif
