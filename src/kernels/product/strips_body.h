/* Tile products whose operands stream: strips of six rows by 64 columns of c stay in registers while k runs, and the
 * kernel itself asks for what it will need next, a little at a time: a processor drops prefetches that come in
 * bursts. An including file defines
 *
 *   STEP(sum, a, b)   sum + a * b for 16 columns; a and b are 32-bit words, a float or a pair of bf16
 *   WORD_ELEMENTS     elements of k in a word
 *   LOAD_NARROW(c, mask), STORE_NARROW(c, mask, sum)   a vector of c in bf16
 *
 * A strip's next rows of a and the next strip of c are asked for line by line while k runs. A c that goes past the
 * caches is not asked for. */
#include <immintrin.h>

#include "kernels/product/tile_kernels.h"

enum { ROWS = 6, VECTORS = 4, LANES = 16, LINE_WORDS = 16, STEPS_AHEAD = 32 };

/* Registers by name: what is beyond a strip's rows and vectors folds away. */
#define EACH_VECTOR(X, i) X(i, 0) X(i, 1) X(i, 2) X(i, 3)
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define MASK(v) ((__mmask16)((v) == vectors - 1 ? s->last : 0xffff))
#define INSIDE(i, v) ((i) < rows && (v) < vectors)

typedef struct {
    const uint32_t *a[ROWS];      /* its rows; where a is transposed, a[0] is the first column */
    const uint32_t *ahead[ROWS];  /* rows of the next strip */
    const uint32_t *b;
    char           *c;
    const char     *next;         /* where the next strip of c begins */
    size_t          step;         /* words from one step of k to the next where a is transposed */
    size_t          ldb, ldc;     /* words; bytes */
    int             words;        /* of k */
    __mmask16       last;         /* columns of the last vector */
    bool            accumulate, narrow, past_cache;
    const cot_tile_stream *operands;
} strip;

typedef uint32_t __attribute__((may_alias)) word;

static inline void ask(const cot_tile_stream *o)
{
    for (int j = 0; j < 2; j++)
        for (int line = 0; line < o->lines[j]; line++) cot_soon_ask(o->soon[j]);
}

static inline __attribute__((always_inline)) __m512 load_c(const strip *s, int i, int v, __mmask16 mask)
{
    const char *c = s->c + (size_t)i * s->ldc;
    if (!s->accumulate) return _mm512_setzero_ps();
    return s->narrow ? LOAD_NARROW(c + v * LANES * 2, mask) : _mm512_maskz_loadu_ps(mask, c + v * LANES * 4);
}

static inline __attribute__((always_inline)) void store_c(const strip *s, int i, int v, __mmask16 mask, __m512 sum)
{
    char *c = s->c + (size_t)i * s->ldc;
    if (s->past_cache) _mm512_stream_ps((float *)(void *)(c + v * LANES * 4), sum);
    else if (s->narrow) STORE_NARROW(c + v * LANES * 2, mask, sum);
    else _mm512_mask_storeu_ps(c + v * LANES * 4, mask, sum);
}

/* Asks for a line or two of the next strip of c, of which `bytes` in each row are wanted. */
static inline void ask_for_next(const strip *s, int *line, int lines, int lines_a_row)
{
    for (int j = 0; j < 2 && *line < lines; j++, ++*line)
        __builtin_prefetch(s->next + (size_t)(*line / lines_a_row) * s->ldc + *line % lines_a_row * 64, 1, 3);
}

static inline __attribute__((always_inline)) void run_strip(const strip *s, int rows, int vectors, bool transposed)
{
#define START(i, v) __m512 sum##i##v = INSIDE(i, v) ? load_c(s, i, v, MASK(v)) : _mm512_setzero_ps();
#define START_ROW(i) EACH_VECTOR(START, i)
#define RIGHT(i, v) \
    const __m512i right##v = \
        (v) < vectors ? _mm512_maskz_loadu_epi32(MASK(v), b + (v) * LANES) : _mm512_setzero_si512();
#define ADD(i, v) if (INSIDE(i, v)) sum##i##v = STEP(sum##i##v, left, right##v);
#define ADD_ROW(i)                                                                                                  \
    if ((i) < rows) {                                                                                               \
        const __m512i left = _mm512_set1_epi32((int)(transposed ? column[i] : ((const word *)s->a[i])[q]));         \
        EACH_VECTOR(ADD, i)                                                                                         \
    }
#define ASK_ROW(i) if ((i) < rows) __builtin_prefetch(s->ahead[i] + p, 0, 3);
#define STOP(i, v) if (INSIDE(i, v)) store_c(s, i, v, MASK(v), sum##i##v);
#define STOP_ROW(i) EACH_VECTOR(STOP, i)
    const int lines_a_row = (vectors * LANES * (s->narrow ? 2 : 4) + 63) / 64;
    const int lines = s->past_cache ? 0 : rows * lines_a_row;
    int line = 0;
    EACH_ROW(START_ROW)
    const word *b = (const word *)s->b, *column = (const word *)s->a[0];
    for (int p = 0; p < s->words; p += LINE_WORDS) {
        const int end = p + LINE_WORDS < s->words ? p + LINE_WORDS : s->words;
        if (!transposed) { EACH_ROW(ASK_ROW) }
        ask(s->operands);
        ask_for_next(s, &line, lines, lines_a_row);
        for (int q = p; q < end; q++, b += s->ldb, column += s->step) {
            if (transposed) __builtin_prefetch(column + STEPS_AHEAD * s->step, 0, 3);
            EACH_VECTOR(RIGHT, 0)
            EACH_ROW(ADD_ROW)
        }
    }
    EACH_ROW(STOP_ROW)
#undef START
#undef START_ROW
#undef RIGHT
#undef ADD
#undef ADD_ROW
#undef ASK_ROW
#undef STOP
#undef STOP_ROW
}

static inline __attribute__((always_inline)) void run_rows(const strip *s, int rows, int vectors, bool transposed)
{
    switch (rows) {
    case 1: run_strip(s, 1, vectors, transposed); break;
    case 2: run_strip(s, 2, vectors, transposed); break;
    case 3: run_strip(s, 3, vectors, transposed); break;
    case 4: run_strip(s, 4, vectors, transposed); break;
    case 5: run_strip(s, 5, vectors, transposed); break;
    default: run_strip(s, ROWS, vectors, transposed);
    }
}

static inline __attribute__((always_inline)) void run_columns(const strip *s, int rows, int vectors, bool transposed)
{
    switch (vectors) {
    case 1: run_rows(s, rows, 1, transposed); break;
    case 2: run_rows(s, rows, 2, transposed); break;
    case 3: run_rows(s, rows, 3, transposed); break;
    default: run_rows(s, rows, VECTORS, transposed);
    }
}

static void run_transposed(const strip *s, int rows, int vectors) { run_columns(s, rows, vectors, true); }
static void run_plain(const strip *s, int rows, int vectors) { run_columns(s, rows, vectors, false); }

/* Row i of a, counted from the tile's first; rows beyond the tile are asked for only. */
static const uint32_t *row_of(const cot_tile_spec *s, const uint32_t *a, const int32_t *rows, int i)
{
    const size_t row = rows ? (size_t)rows[i] : (size_t)i;
    return a + row * (size_t)s->lda / WORD_ELEMENTS;
}

static void set_rows(const cot_tile_spec *s, const void *a, const int32_t *rows, int i0, strip *at)
{
    for (int i = 0; i < ROWS; i++) {
        const int next = i0 + ROWS + i, here = i0 + i < s->m ? i0 + i : s->m - 1;
        at->a[i] = s->a_transposed ? (const uint32_t *)a + i0 : row_of(s, a, rows, here);
        at->ahead[i] = s->a_transposed ? at->a[i] : row_of(s, a, rows, rows && next >= s->m ? s->m - 1 : next);
    }
}

/* Are c's rows whole cache lines? */
static bool lies_in_lines(const cot_tile_spec *s, const cot_tile_stream *o, const strip *at)
{
    return s->n % LANES == 0 && at->ldc % 64 == 0 && (uintptr_t)o->c % 64 == 0;
}

void STRIPS_RUN(const cot_tile *tile, const cot_tile_stream *o)
{
    const cot_tile_spec *s = &tile->spec;
    const size_t c_size = s->type == COT_TILE_BF16_OUT ? 2 : 4;
    strip at = {.step = s->a_transposed ? (size_t)s->lda : 0, .ldb = (size_t)s->ldb, .ldc = (size_t)s->ldc * c_size,
                .words = s->k / WORD_ELEMENTS, .accumulate = s->accumulate, .narrow = c_size == 2, .operands = o};
    at.past_cache = s->past_cache && !at.narrow && lies_in_lines(s, o, &at);
    for (int j = 0; j < s->n; j += VECTORS * LANES) {
        const int columns = s->n - j < VECTORS * LANES ? s->n - j : VECTORS * LANES,
                  vectors = (columns + LANES - 1) / LANES;
        at.b = (const uint32_t *)o->b + j;
        at.last = (__mmask16)(0xffffu >> (vectors * LANES - columns));
        for (int i = 0; i < s->m; i += ROWS) {
            at.c = (char *)o->c + (size_t)i * at.ldc + (size_t)j * c_size;
            at.next = i + ROWS < s->m ? at.c + ROWS * at.ldc : (const char *)o->next + (size_t)j * c_size;
            set_rows(s, o->a, o->rows, i, &at);
            (s->a_transposed ? run_transposed : run_plain)(&at, s->m - i < ROWS ? s->m - i : ROWS, vectors);
        }
    }
}
