/* Finds the kernel of a tile product: generated for its shape where that is possible, else plain C. */
#include "kernels/product/tile.h"

#include "kernels/product/tile_kernels.h"

COT_KERNELS_DEFINE(tile)

static cot_mode mode_of(cot_tile_type type)
{
    return type == COT_TILE_F64 ? COT_MODE_F64 : type == COT_TILE_F32 ? COT_MODE_F32 : COT_MODE_BF16;
}

/* Kernels of our own where operands stream; LIBXSMM's know too little about what comes next. */
static bool find_strips(cot_tile *tile)
{
#if defined(__x86_64__)
    const cot_tile_spec *s = &tile->spec;
    if (!s->streams || s->type == COT_TILE_F64) return false;
    if (s->type == COT_TILE_F32 && cot_cpu() >= COT_CPU_AVX512) tile->run = cot_tile_run_strips_avx512;
    if (s->type != COT_TILE_F32 && cot_cpu() >= COT_CPU_AVX512BF16 && (s->a_transposed || s->lda % 2 == 0))
        tile->run = cot_tile_run_strips_avx512bf16;
#endif
    return tile->run != NULL;
}

cot_tile cot_tile_find(cot_tile_spec spec)
{
    cot_tile tile = {.spec = spec};
    if (find_strips(&tile) || cot_tile_generate(&tile)) return tile;
    const cot_tile_kernels *plain = cot_tile_kernels_for(mode_of(spec.type));
    tile.run = spec.type == COT_TILE_BF16_OUT ? plain->run_narrow : plain->run;
    return tile;
}

bool cot_tile_gathers(cot_tile_type type)
{
    const cot_tile tile = cot_tile_find((cot_tile_spec){
        .type = type, .m = 8, .n = 16, .k = 16, .lda = 16, .ldb = 16, .ldc = 16, .streams = true});
    return !tile.generated;
}

int64_t cot_tile_steps(cot_tile_type type, int64_t m, int64_t k)
{
    const int64_t elements = type >= COT_TILE_BF16 ? 32 : 16;
    return (m + 5) / 6 * ((k + elements - 1) / elements);
}
