/* Finds the kernel of a tile product: generated for its shape where that is possible, else plain C. */
#include "kernels/product/tile.h"

#include "kernels/product/tile_kernels.h"

COT_KERNELS_DEFINE(tile)

static cot_mode mode_of(cot_tile_type type)
{
    return type == COT_TILE_F64 ? COT_MODE_F64 : type == COT_TILE_F32 ? COT_MODE_F32 : COT_MODE_BF16;
}

cot_tile cot_tile_find(cot_tile_spec spec)
{
    cot_tile tile = {.spec = spec};
    if (cot_tile_generate(&tile)) return tile;
#if defined(__x86_64__)
    if (spec.type == COT_TILE_BF16 && spec.a_transposed && cot_cpu() >= COT_CPU_AVX512BF16) {
        tile.run = cot_tile_run_pairs_avx512bf16;
        return tile;
    }
#endif
    const cot_tile_kernels *plain = cot_tile_kernels_for(mode_of(spec.type));
    tile.run = spec.type == COT_TILE_BF16_OUT ? plain->run_narrow : plain->run;
    return tile;
}
