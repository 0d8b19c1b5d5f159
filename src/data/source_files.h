/* The files of a corpus: which there are, what they are called, and which part of each is validation text. */
#ifndef COT_DATA_SOURCE_FILES_H
#define COT_DATA_SOURCE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/data_options.h"

typedef struct {
    char    *path;
    char    *name;            /* of its source */
    int32_t  source;          /* index of that name */
    bool     rows;            /* .jsonl: a document a row */
    double   valid_fraction;  /* 0 = all for training, 1 = all for validation */
    uint64_t bytes;           /* as it lies on disk */
    int64_t  mtime_ns;
} cot_source_file;

typedef struct {
    cot_source_file *files;  /* those of `path`, then those of `valid_path`, each in the order of their paths */
    size_t           count, capacity;
    const char     **names;  /* of sources, borrowed from files */
    int32_t          sources;
    char            *roots[2];  /* `path` and `valid_path`, absolute, links resolved; NULL when not given */
} cot_source_files;

/* Lists the files of `path` and `valid_path`. A folder is searched whole, but for hidden files and for README, LICENSE,
 * LICENCE and COPYING files. A relative path that is not there is looked for where the program and its data
 * were installed.
 *
 * Errors   COT_IO for a path that is missing, unreadable or neither file nor folder; COT_INVALID for a folder without
 * files. */
cot_status cot_source_files_find(const cot_data_options *options, cot_source_files *out);
bool       cot_source_file_same(const cot_source_file *file);  /* Do size and time stamp still hold? */
void       cot_source_files_release(cot_source_files *files);

#endif
