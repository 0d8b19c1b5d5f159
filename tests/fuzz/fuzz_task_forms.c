/* Task files in published forms, and archives of them: the first byte says which. */
#include <coterie/task.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"fuzz.csv", "fuzz.json", "fuzz.tar", "fuzz.tar/folder", "fuzz.tar.gz"};
    enum { NAMES = sizeof names / sizeof *names };
    const int64_t blocks = cot_memory_blocks();
    const char   *name = names[size ? data[0] % NAMES : 0];
    char          path[4096], file[16];
    cot_task    **tasks;
    size_t        count;
    snprintf(file, sizeof file, "%.*s", (int)strcspn(name, "/"), name);
    snprintf(path, sizeof path, "%s%s", fuzz_file(file, size ? data + 1 : data, size ? size - 1 : 0), name + strlen(file));
    if (fuzz_accepted(cot_tasks_read(path, &tasks, &count), "fuzz.")) {
        FUZZ_CHECK(count > 0);
        for (size_t i = 0; i < count; i++) FUZZ_CHECK(cot_task_count(tasks[i]) > 0);
        cot_tasks_destroy(tasks, count);
    }
    FUZZ_CHECK(cot_memory_blocks() == blocks);
    return 0;
}
