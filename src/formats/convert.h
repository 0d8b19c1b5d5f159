/* Copies of numbers between element types, for weights on their way to and from a file. */
#ifndef COT_FORMATS_CONVERT_H
#define COT_FORMATS_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/dtype.h"

/* Is there a conversion? Between any two of f64, f32, bf16 and f16, and from a type to itself. */
bool cot_convertible(cot_dtype to, cot_dtype from);

/* Converts `count` numbers. Neither side need be aligned; they do not overlap. Rounds to nearest, ties to even; what is
 * too large becomes infinite, NaN stays NaN. From f64 to 16 bits it rounds twice, to f32 first. */
void cot_convert(void *to, cot_dtype to_type, const void *from, cot_dtype from_type, size_t count);

float    cot_f16_to_f32(uint16_t half);
uint16_t cot_f32_to_f16(float value);

#endif
