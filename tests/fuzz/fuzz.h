/* What the fuzz targets share. A target takes any bytes as a file of its kind and does with it what the program would; whatever
 * they are, the library must refuse them with one line that names the file, or take them, and give its memory back.
 *
 * libFuzzer drives a target where clang builds it (COTERIE_FUZZ=ON, tools/checks/fuzz.sh); replay.c runs the kept inputs through
 * it in every test run. */
#ifndef COT_TESTS_FUZZ_FUZZ_H
#define COT_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/status.h>

#include "base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, which is how libFuzzer learns of a finding. */
#define FUZZ_CHECK(condition)                                                                             \
    do {                                                                                                  \
        if (condition) break;                                                                             \
        fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__, #condition,      \
                cot_last_error());                                                                        \
        abort();                                                                                          \
    } while (0)

/* A refusal says where: its line names `name` and has no control characters. Returns whether there was none. */
static inline bool fuzz_accepted(cot_status status, const char *name)
{
    if (status == COT_OK) return true;
    FUZZ_CHECK(strstr(cot_last_error(), name));
    for (const char *c = cot_last_error(); *c; c++) FUZZ_CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    return false;
}

/* Writes a file of this name into a folder of this process's own and returns its path, which lives until the next call. */
const char *fuzz_file(const char *name, const void *data, size_t size);
const char *fuzz_folder(void);  /* that folder; it goes when the program ends */

#endif
