/* Reading the text of files that are listed already. */
#ifndef COT_DATA_TEXTS_H
#define COT_DATA_TEXTS_H

#include <coterie/data.h>

#include "data/source_files.h"

/* Like cot_texts_open(); options and files are borrowed as long as the texts are open. */
cot_status cot_texts_open_files(const cot_data_options *options, const cot_source_files *files, cot_split split,
                                cot_texts **out);

#endif
