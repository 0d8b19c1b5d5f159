/* Task files, and the prompts that their questions make. */
#include <coterie/task.h>

#include "fuzz.h"

enum { MOST_QUESTIONS = 64, MOST_ALTERNATIVES = 4 };

static void make_prompts(const cot_task *task)
{
    const int64_t count = cot_task_count(task);
    const cot_task_options options = {.shots = cot_task_kind_of(task) == COT_TASK_PAIRS ? 0 : count < 4 ? count - 1 : 3, .query_end = ":"};
    for (int64_t q = 0; q < count && q < MOST_QUESTIONS; q++)
        for (int64_t i = 0; i < MOST_ALTERNATIVES; i++) {
            char *context, *continuation;
            if (!fuzz_accepted(cot_task_prompt(task, &options, q, i, &context, &continuation), "of 'fuzz'")) break;
            FUZZ_CHECK(context && continuation && *continuation);
            free(context);
            free(continuation);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int64_t blocks = cot_memory_blocks();
    cot_task *task;
    if (fuzz_accepted(cot_task_read(fuzz_file("fuzz.jsonl", data, size), &task), "fuzz.jsonl")) {
        FUZZ_CHECK(cot_task_count(task) > 0);
        make_prompts(task);
        cot_task_destroy(task);
    }
    FUZZ_CHECK(cot_memory_blocks() == blocks);
    return 0;
}
