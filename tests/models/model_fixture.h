/* Small models to test with. Include it with the cmocka headers and corpus_fixture.h's checks at hand. */
#ifndef COT_TESTS_MODELS_MODEL_FIXTURE_H
#define COT_TESTS_MODELS_MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/model.h"

static inline cot_model *declared_model(const char *yaml, int64_t vocab_size, int64_t context, cot_dtype real)
{
    cot_config *section;
    cot_model  *model;
    if (cot_config_parse(yaml, "model", &section) != COT_OK) fail_msg("%s", cot_last_error());
    if (cot_model_create_as(section, vocab_size, context, real, &model) != COT_OK) fail_msg("%s", cot_last_error());
    cot_config_destroy(section);
    return model;
}

/* With its first parameters drawn from a seed. */
static inline cot_model *made_model(const char *yaml, int64_t vocab_size, int64_t context, uint64_t seed)
{
    cot_model *model = declared_model(yaml, vocab_size, context, COT_F32);
    if (cot_model_initialise(model, seed) != COT_OK) fail_msg("%s", cot_last_error());
    return model;
}

static inline cot_param *parameter_of(const cot_model *model, const char *name)
{
    cot_param *param = cot_params_find(model->params, name);
    if (!param) fail_msg("the model has no parameter '%s'", name);
    return param;
}

/* Sets all of a parameter of type f32 to one value. */
static inline void fill_parameter(const cot_model *model, const char *name, float value)
{
    cot_param *param = parameter_of(model, name);
    float     *data = param->value.data;
    for (int64_t i = 0; i < cot_tensor_count(&param->value); i++) data[i] = value;
    param->version++;
}

#endif
