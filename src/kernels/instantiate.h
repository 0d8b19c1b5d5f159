/* Includes COT_BODY once per mode; see kernels.h. COT_ISA is ref, avx2, avx512 or (few need it) avx512bf16. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/fast_math.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

#define COT_JOIN3_(a, b, c) a##_##b##_##c
#define COT_JOIN3(a, b, c) COT_JOIN3_(a, b, c)
#define K(name) COT_JOIN3(name, COT_MODE_NAME, COT_ISA)

#define COT_ISA_LEVEL_ref 0
#define COT_ISA_LEVEL_avx2 1
#define COT_ISA_LEVEL_avx512 2
#define COT_ISA_LEVEL_avx512bf16 3
#define COT_JOIN2_(a, b) a##b
#define COT_JOIN2(a, b) COT_JOIN2_(a, b)
#define COT_ISA_LEVEL COT_JOIN2(COT_ISA_LEVEL_, COT_ISA)

#if COT_ISA_LEVEL == 0
#define COT_MODE_NAME f64
#define COT_IS_F64 1
#define COT_IS_BF16 0
#define real double
#define act double
#define LOAD(a) (a)
#define STORE(r) (r)
#define EXP(x) exp(x)
#include COT_BODY
#undef COT_MODE_NAME
#undef COT_IS_F64
#undef COT_IS_BF16
#undef real
#undef act
#undef LOAD
#undef STORE
#undef EXP
#define COT_EXP32(x) expf(x)
#else
#define COT_EXP32(x) cot_fast_expf(x)
#endif

#define COT_IS_F64 0
#define real float
#define EXP(x) COT_EXP32(x)

#define COT_MODE_NAME f32
#define COT_IS_BF16 0
#define act float
#define LOAD(a) (a)
#define STORE(r) (r)
#include COT_BODY
#undef COT_MODE_NAME
#undef COT_IS_BF16
#undef act
#undef LOAD
#undef STORE

#define COT_MODE_NAME bf16
#define COT_IS_BF16 1
#define act cot_bf16
#define LOAD(a) cot_bf16_to_f32(a)
#define STORE(r) cot_f32_to_bf16(r)
#include COT_BODY
