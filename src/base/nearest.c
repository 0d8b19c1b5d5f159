/* "Did you mean ...?": the nearest name by optimal string alignment distance (insert, delete, replace, swap
 * neighbours), blind to case and to '-' against '_'. */
#include "base/options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST = 64 };

static int letter(char c) { return c == '-' ? '_' : tolower((unsigned char)c); }

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static size_t distance(const char *a, size_t m, const char *b, size_t n)
{
    size_t rows[3][LONGEST + 1];  /* this row, the one before, the one before that, in turn */
    for (size_t j = 0; j <= n; j++) rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const bool same = letter(a[i - 1]) == letter(b[j - 1]);
            row[j] = least(above[j - 1] + !same, least(above[j], row[j - 1]) + 1);
            const bool swapped =
                i > 1 && j > 1 && letter(a[i - 1]) == letter(b[j - 2]) && letter(a[i - 2]) == letter(b[j - 1]);
            if (swapped) row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

const char *cot_nearest(const char *name, size_t count, const char *(*name_at)(const void *, size_t),
                        const void *context)
{
    const size_t length = strlen(name);
    if (length == 0 || length > LONGEST) return NULL;
    const char *best = NULL;
    size_t limit = length > 5 ? length / 3 : length > 3 ? 2 : length > 1;  /* a slip or two, not another word */
    for (size_t i = 0; i < count; i++) {
        const char *candidate = name_at(context, i);
        const size_t n = strlen(candidate);
        if (n > LONGEST) continue;
        const bool begun =
            length >= 3 && n > length && strncmp(name, candidate, length) == 0; /* "gen" for "generate" */
        const size_t d = begun ? 1 : distance(name, length, candidate, n);
        if (d > limit) continue;
        best = candidate;
        if (d == 0) break;
        limit = d - 1;
    }
    return best;
}

void cot_suggest(const char *noun, const char *name, size_t count, const char *(*name_at)(const void *, size_t),
                 const void *context, char *out, size_t bytes)
{
    const char *near = cot_nearest(name, count, name_at, context);
    out[0] = '\0';
    size_t used = near ? (size_t)snprintf(out, bytes, "; did you mean '%s'?", near) : 0;
    if (count == 0 || !noun) return;
    if (used < bytes) used += (size_t)snprintf(out + used, bytes - used, " (%s: ", noun);
    for (size_t i = 0; i < count && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", name_at(context, i));
    if (used < bytes) snprintf(out + used, bytes - used, ")");
}
