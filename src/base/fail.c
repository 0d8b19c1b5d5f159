/* One message per thread, kept in thread-local storage so that failing needs no memory. */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

/* Messages quote files: no newline, no terminal codes, neither those below the space nor U+0080 to U+009F. */
static void mask_controls(char *line)
{
    for (unsigned char *c = (unsigned char *)line; *c; c++)
        if (*c < 0x20 || *c == 0x7f) *c = '?';
        else if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) c[0] = c[1] = '?';
}

cot_status cot_fail(cot_status status, const char *format, ...)
{
    char line[sizeof message];  /* the arguments may include the previous message */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    mask_controls(line);
    snprintf(message, sizeof message, "%s", line);
    return status;
}

const char *cot_last_error(void) { return message; }

const char *cot_status_text(cot_status status)
{
    static const char *const texts[] = {
#define X(id, text) [COT_##id] = text,
        COT_STATUS_LIST(X)
#undef X
    };
    const unsigned index = (unsigned)status;
    return index < sizeof texts / sizeof *texts ? texts[index] : "unknown status";
}

const char *cot_version(void) { return COT_VERSION; }
