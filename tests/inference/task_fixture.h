/* Task files written for a test. Include it with _GNU_SOURCE defined. */
#ifndef COT_TESTS_TASK_FIXTURE_H
#define COT_TESTS_TASK_FIXTURE_H

#include "data/corpus_fixture.h"

#include <coterie/task.h>

#include "inference/tasks/task_parts.h"

static inline cot_task *task_of(scratch *files, const char *name, const char *text)
{
    cot_task *task;
    put_text(files, name, text);
    CHECK_OK(cot_task_read(scratch_path(files, name), &task));
    return task;
}

#endif
