#include "tensor/build.h"

#include <math.h>
#include <stdio.h>

cot_init cot_build_init(const cot_build *build, int64_t fan_in)
{
    const double scale = build->init == COT_INIT_TRUNCATED_NORMAL ? sqrt(build->init_value / (double)fan_in) : build->init_value;
    return (cot_init){build->init, scale};
}

cot_status cot_build_weight(const cot_build *build, const char *name, int64_t groups, int64_t rows, int64_t in, cot_param **out)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", build->prefix, name);
    cot_param_spec spec = {.name = full, .rank = 2, .shape = {rows, in}, .init = cot_build_init(build, in)};
    if (groups > 0) {
        spec.rank = 3;
        spec.shape[0] = groups, spec.shape[1] = rows, spec.shape[2] = in;
        spec.placement = COT_PLACE_EXPERT;
    }
    return cot_params_add(build->params, &spec, out);
}

cot_status cot_build_vector(const cot_build *build, const char *name, int64_t size, cot_init_kind init, cot_param **out)
{
    char full[256];
    snprintf(full, sizeof full, "%s.%s", build->prefix, name);
    const cot_param_spec spec = {.name = full, .rank = 1, .shape = {size}, .init = {init, 0}, .no_decay = true};
    return cot_params_add(build->params, &spec, out);
}
