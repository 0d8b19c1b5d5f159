#define _GNU_SOURCE
#include "base/memory.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <coterie/runtime.h>

#include "base/fail.h"

static cot_allocator allocator;  /* no functions: the system's */
static atomic_int_fast64_t live_blocks;
static atomic_int_fast64_t fail_countdown;

void    cot_memory_fail_after(int64_t n) { atomic_store(&fail_countdown, n); }
int64_t cot_memory_blocks(void) { return atomic_load(&live_blocks); }

static bool must_fail(void)
{
    int_fast64_t n = atomic_load(&fail_countdown);
    return n > 0 && atomic_fetch_sub(&fail_countdown, 1) == 1;
}

cot_status cot_set_allocator(const cot_allocator *wanted)
{
    if (wanted && (!wanted->allocate || !wanted->release)) return cot_fail(COT_INVALID, "an allocator lacks a function, expected allocate and release");
    if (cot_memory_blocks() != 0)
        return cot_fail(COT_INVALID, "the library holds %" PRId64 " blocks of memory, expected none when its allocator changes", cot_memory_blocks());
    allocator = wanted ? *wanted : (cot_allocator){.context = NULL};
    return COT_OK;
}

enum { HUGE_PAGE = 2 << 20 };

static void *system_allocate(size_t alignment, size_t bytes)
{
    void *block = aligned_alloc(alignment, bytes);
    if (block && alignment == HUGE_PAGE) madvise(block, bytes, MADV_HUGEPAGE);
    return block;
}

void *cot_malloc(size_t bytes)
{
    if (must_fail() || bytes > SIZE_MAX - HUGE_PAGE) return NULL;
    const size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : COT_ALIGNMENT;
    const size_t rounded = bytes ? (bytes + alignment - 1) / alignment * alignment : alignment;
    void *block = allocator.allocate ? allocator.allocate(allocator.context, alignment, rounded) : system_allocate(alignment, rounded);
    if (block) atomic_fetch_add(&live_blocks, 1);
    return block;
}

void *cot_plain_realloc(void *block, size_t bytes) { return must_fail() ? NULL : realloc(block, bytes); }
void *cot_plain_malloc(size_t bytes) { return cot_plain_realloc(NULL, bytes ? bytes : 1); }

char *cot_plain_strdup(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = cot_plain_malloc(bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void *cot_calloc(size_t bytes)
{
    void *block = cot_malloc(bytes);
    if (block) memset(block, 0, bytes);
    return block;
}

void *cot_realloc(void *block, size_t old_bytes, size_t new_bytes)
{
    void *grown = cot_malloc(new_bytes);
    if (!grown) return NULL;
    if (block) memcpy(grown, block, old_bytes < new_bytes ? old_bytes : new_bytes);
    cot_free(block);
    return grown;
}

void cot_free(void *block)
{
    if (!block) return;
    atomic_fetch_sub(&live_blocks, 1);
    if (allocator.release) allocator.release(allocator.context, block);
    else free(block);
}

char *cot_strndup(const char *text, size_t length)
{
    char *copy = cot_malloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *cot_strdup(const char *text) { return cot_strndup(text, strlen(text)); }

bool cot_size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* ---- arena: a list of blocks, newest first; positions count bytes over all of them ---- */

typedef struct block {
    struct block *older;
    size_t        start;     /* position of its first byte */
    size_t        capacity;
    size_t        used;
    char         *data;
} block;

struct cot_arena {
    block *newest;
    size_t peak;  /* most bytes in use at once, so that one block can hold them next time */
};

enum { SMALLEST_BLOCK = 1 << 16 };

static block *block_create(size_t capacity, block *older)
{
    block *b = cot_malloc(sizeof *b);
    if (!b) return NULL;
    *b = (block){.older = older, .capacity = capacity, .data = cot_malloc(capacity)};
    if (!b->data) {
        cot_free(b);
        return NULL;
    }
    b->start = older ? older->start + older->used : 0;
    return b;
}

static void block_destroy(block *b)
{
    cot_free(b->data);
    cot_free(b);
}

cot_arena *cot_arena_create(void) { return cot_calloc(sizeof(cot_arena)); }

void cot_arena_destroy(cot_arena *arena)
{
    if (!arena) return;
    while (arena->newest) {
        block *older = arena->newest->older;
        block_destroy(arena->newest);
        arena->newest = older;
    }
    cot_free(arena);
}

void *cot_arena_alloc(cot_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return NULL;
    const size_t rounded = (bytes + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
    block *b = arena->newest;
    if (!b || b->capacity - b->used < rounded) {
        /* A quarter of what is used keeps the number of blocks logarithmic without doubling the peak. */
        size_t capacity = cot_arena_used(arena) / 4;
        if (capacity < SMALLEST_BLOCK) capacity = SMALLEST_BLOCK;
        if (capacity < rounded) capacity = rounded;
        b = block_create(capacity, arena->newest);
        if (!b) return NULL;
        arena->newest = b;
    }
    void *result = b->data + b->used;
    b->used += rounded;
    if (b->start + b->used > arena->peak) arena->peak = b->start + b->used;
    return result;
}

size_t cot_arena_used(const cot_arena *arena) { return arena->newest ? arena->newest->start + arena->newest->used : 0; }

size_t cot_arena_mark(const cot_arena *arena) { return cot_arena_used(arena); }

void cot_arena_rewind(cot_arena *arena, size_t mark)
{
    if (mark == 0) {
        cot_arena_reset(arena);
        return;
    }
    while (arena->newest && arena->newest->older && arena->newest->start >= mark) {
        block *older = arena->newest->older;
        block_destroy(arena->newest);
        arena->newest = older;
    }
    if (arena->newest) arena->newest->used = mark - arena->newest->start;
}

size_t cot_arena_capacity(const cot_arena *arena)
{
    size_t capacity = 0;
    for (const block *b = arena->newest; b; b = b->older) capacity += b->capacity;
    return capacity;
}

void cot_arena_reset(cot_arena *arena)
{
    if (!arena->newest) return;
    if (arena->newest->older || arena->newest->capacity < arena->peak) {  /* next round gets one block that holds it all */
        while (arena->newest) {
            block *older = arena->newest->older;
            block_destroy(arena->newest);
            arena->newest = older;
        }
        arena->newest = block_create(arena->peak, NULL);  /* on failure the next alloc tries again */
        return;
    }
    arena->newest->used = 0;
}
