#include "tensor/dtype.h"

static const struct {
    const char *name;
    size_t      size;
} dtypes[] = {
    [COT_F64] = {"f64", 8}, [COT_F32] = {"f32", 4}, [COT_BF16] = {"bf16", 2}, [COT_F16] = {"f16", 2},
    [COT_I64] = {"i64", 8}, [COT_I32] = {"i32", 4}, [COT_U8] = {"u8", 1},
};

size_t      cot_dtype_size(cot_dtype dtype) { return dtypes[dtype].size; }
const char *cot_dtype_name(cot_dtype dtype) { return dtypes[dtype].name; }
