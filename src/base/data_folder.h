/* Where the files that come with Coterie lie: recipes in recipes/, the demo's texts in data/. */
#ifndef COT_BASE_DATA_FOLDER_H
#define COT_BASE_DATA_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Writes the index-th folder that may have them, best first: beside the installed program, beside the installed library
 * (wherever their prefix was moved to), the source tree they were built from, where they were to be installed. It need
 * not exist. False past the end, and then `out` is untouched; a place that is unknown or longer than `bytes` is "". */
bool cot_data_folder(size_t index, char *out, size_t bytes);

#endif
