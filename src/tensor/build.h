/* What a part of a model is told when it declares its parameters, and what it is asked about its cost. */
#ifndef COT_TENSOR_BUILD_H
#define COT_TENSOR_BUILD_H

#include <coterie/config.h>

#include "tensor/params.h"

typedef struct {
    cot_params   *params;
    const char   *prefix;       /* e.g. "layers.3.ffn"; names are prefix.name */
    const cot_config *spec;     /* what the part was asked to be: where messages point to */
    int32_t       layer;
    int32_t       num_layers;
    int64_t       hidden_size;
    int64_t       context;      /* longest sequence that the model is meant for; 0 = unknown */
    int64_t       vocab_size;   /* 0 = no tokens with ids */
    double        norm_eps;
    double        dropout;
    cot_init_kind init;         /* COT_INIT_NORMAL: std = init_value; COT_INIT_TRUNCATED_NORMAL: std = sqrt(init_value / fan_in) */
    double        init_value;
} cot_build;

/* What one token costs. A multiply-add counts as two FLOPs; norms and softmaxes are left out. */
typedef struct {
    double  flops;              /* forward, per token */
    int64_t inactive;           /* parameters that a token does not touch */
} cot_cost;

/* Declares a weight [out, in], or a stack [groups, out, in] when groups > 0, initialised as the model says for fan-in `in`. */
cot_status cot_build_weight(const cot_build *build, const char *name, int64_t groups, int64_t rows, int64_t in, cot_param **out);
/* Declares a vector of ones or zeros without weight decay. */
cot_status cot_build_vector(const cot_build *build, const char *name, int64_t size, cot_init_kind init, cot_param **out);
/* The initialisation of a weight with that fan-in. */
cot_init   cot_build_init(const cot_build *build, int64_t fan_in);

#endif
