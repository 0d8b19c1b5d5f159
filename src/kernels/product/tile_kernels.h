/* The plain C tile products behind cot_tile_find(), one set per mode and instruction set: the contract, and what serves
 * where no code can be generated. */
#ifndef COT_KERNELS_PRODUCT_TILE_KERNELS_H
#define COT_KERNELS_PRODUCT_TILE_KERNELS_H

#include "kernels/kernels.h"
#include "kernels/product/tile.h"

typedef struct {
    void (*run)(const cot_tile *tile, const cot_tile_stream *operands);         /* c real */
    void (*run_narrow)(const cot_tile *tile, const cot_tile_stream *operands);  /* c act */
} cot_tile_kernels;

const cot_tile_kernels *cot_tile_kernels_for(cot_mode mode);

/* Tiles that stream; f32, and both kinds of bf16. */
void cot_tile_run_strips_avx512(const cot_tile *tile, const cot_tile_stream *operands);
void cot_tile_run_strips_avx512bf16(const cot_tile *tile, const cot_tile_stream *operands);

/* Lets LIBXSMM generate tile->spec; false when it is not built in or cannot. Sets run and generated. */
bool cot_tile_generate(cot_tile *tile);

#endif
