/* Models from llama2.c's checkpoints (formats/llama2c.h). */
#ifndef COT_MODELS_LLAMA2C_MODEL_H
#define COT_MODELS_LLAMA2C_MODEL_H

#include "models/model.h"

/* Errors: COT_IO; COT_FORMAT naming the file. */
cot_status cot_llama2c_load(const char *path, cot_model **out);

#endif
