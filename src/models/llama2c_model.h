/* Models from llama2.c's checkpoints (formats/llama2c.h). */
#ifndef COT_MODELS_LLAMA2C_MODEL_H
#define COT_MODELS_LLAMA2C_MODEL_H

#include "models/model.h"

/* Errors: COT_IO; COT_FORMAT naming the file. */
cot_status cot_llama2c_load(const char *path, cot_model **out);

/* What cot_model_folder_describe() and cot_model_load_weights() do for folders. Errors: COT_SHAPE_MISMATCH when the
 * model is not made as the file says. */
cot_status cot_llama2c_describe(const char *path, cot_config **section, int64_t *vocab_size, int64_t *context);
cot_status cot_llama2c_load_weights(cot_model *model, const char *path);

#endif
