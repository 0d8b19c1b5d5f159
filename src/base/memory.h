/* Memory: plain allocations that can be made to fail in tests, and arenas whose blocks go together.
 *
 * All memory of the library comes from cot_malloc() and friends; a test sets cot_memory_fail_after to let the
 * n-th allocation fail. Big blocks (2 MiB and more) are aligned to 2 MiB and ask for huge pages. */
#ifndef COT_BASE_MEMORY_H
#define COT_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COT_ALIGNMENT 64  /* every block starts on a cache line */

void *cot_malloc(size_t bytes);                  /* NULL when memory is short; bytes 0 gives a block too */
void *cot_calloc(size_t bytes);                  /* the same, zeroed */
void *cot_realloc(void *block, size_t old_bytes, size_t new_bytes);  /* NULL leaves `block` as it was */
void  cot_free(void *block);                     /* accepts NULL */
char *cot_strdup(const char *text);
char *cot_strndup(const char *text, size_t length);

/* For what a caller frees with free(): malloc(), whatever cot_set_allocator() has set. */
void *cot_plain_malloc(size_t bytes);
void *cot_plain_realloc(void *block, size_t bytes);
char *cot_plain_strdup(const char *text);

/* Multiplies sizes; false on overflow. */
bool cot_size_mul(size_t a, size_t b, size_t *out);

/* Tests only: lets the n-th allocation from now fail (1 = the next); 0 turns it off. */
void cot_memory_fail_after(int64_t n);
/* Tests only: blocks that are allocated now. */
int64_t cot_memory_blocks(void);

/* An arena hands out blocks that live until it is reset. After a reset it serves from the memory that it
 * has, so a loop that asks for the same sizes each time allocates in its first round only. */
typedef struct cot_arena cot_arena;

cot_arena *cot_arena_create(void);                        /* NULL when memory is short */
void       cot_arena_destroy(cot_arena *arena);           /* accepts NULL */
void      *cot_arena_alloc(cot_arena *arena, size_t bytes);  /* aligned to a cache line, not zeroed; NULL when short */
void       cot_arena_reset(cot_arena *arena);             /* keeps the memory, merged into one block */
size_t     cot_arena_used(const cot_arena *arena);        /* bytes handed out since the last reset */
size_t     cot_arena_capacity(const cot_arena *arena);    /* bytes that it holds */
size_t     cot_arena_mark(const cot_arena *arena);        /* a position to go back to */
void       cot_arena_rewind(cot_arena *arena, size_t mark);  /* forgets blocks handed out since the mark */

#endif
