#include "preparing.h"

#include <string.h>

#include "cli.h"

bool show_preparation(void *context, const char *what, uint64_t done, uint64_t total)
{
    preparing *p = context;
    if (p->what != what) {
        progress_clear(&p->bar);
        progress_start(&p->bar, strcmp(what, "tokenizer") == 0 ? "training the tokenizer" : "tokenising the corpus",
                       "B", (double)total, 0);
        p->what = what;
    }
    progress_update(&p->bar, (double)done, NULL);
    return !cli_stop_requested();
}
