/* The line of progress while a tokenizer is trained and a corpus tokenised. */
#ifndef COTERIE_APP_PREPARING_H
#define COTERIE_APP_PREPARING_H

#include <stdbool.h>
#include <stdint.h>

#include "progress.h"

typedef struct {
    progress    bar;
    const char *what;
} preparing;

/* A cot_prepare_progress whose context is a preparing, zeroed before; progress_clear(&p->bar) takes the line away. */
bool show_preparation(void *context, const char *what, uint64_t done, uint64_t total);

#endif
