/* Reading scalars, and saying where and why one cannot be read. */
#include "base/config_tree.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

/* ---- messages ---- */

/* Writes a node's dotted path; "the top level" for the root. */
static void write_path(const cot_config *at, char *out, size_t bytes)
{
    const cot_config *chain[COT_CONFIG_DEPTH + 1];
    int count = 0;
    for (; at && (at->parent || at->key) && count <= COT_CONFIG_DEPTH; at = at->parent) chain[count++] = at;
    snprintf(out, bytes, "%s", count ? "" : "the top level");
    size_t used = 0;
    while (count-- > 0 && used < bytes) {
        const cot_config *node = chain[count];
        size_t place = 0;
        while (!node->key && place < node->parent->size && node->parent->items[place] != node) place++;
        const char *dot = used ? "." : "";
        used += (size_t)(node->key ? snprintf(out + used, bytes - used, "%s%s", dot, node->key)
                                   : snprintf(out + used, bytes - used, "%s%zu", dot, place));
    }
}

static cot_status fail_at(cot_status status, const cot_config *at, const char *text)
{
    if (!at) return cot_fail(status, "%s", text);
    char path[256], line[16] = "";
    write_path(at, path, sizeof path);
    if (at->line > 0) snprintf(line, sizeof line, ":%d", at->line);
    return cot_fail(status, "%s%s: %s %s", at->file, line, path, text);
}

cot_status cot_config_fail(const cot_config *at, const char *format, ...)
{
    char text[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail_at(COT_INVALID, at, text);
}

cot_status cot_config_fail_as(cot_status status, const cot_config *at, const char *format, ...)
{
    char text[768];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail_at(status, at, text);
}

cot_status cot_config_expected(const cot_config *at, const char *what)
{
    switch (at->kind) {
    case COT_CONFIG_NULL: return cot_config_fail(at, "is empty, expected %s", what);
    case COT_CONFIG_LIST: return cot_config_fail(at, "is a list, expected %s", what);
    case COT_CONFIG_MAP: return cot_config_fail(at, "is a map, expected %s", what);
    default: return cot_config_fail(at, "is '%.60s'%s, expected %s", at->text, at->quoted ? " in quotes" : "", what);
    }
}

/* ---- numbers: [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent ---- */

typedef struct {
    bool        negative;
    const char *digits;    /* digits and at most one point */
    size_t      length;
    size_t      fraction;  /* digits after the point */
    long        exponent;  /* clamped to +-100000 */
} number;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool scan_exponent(const char *text, long *out)
{
    const bool negative = *text == '-';
    if (*text == '-' || *text == '+') text++;
    if (!is_digit(*text)) return false;
    long value = 0;
    for (; is_digit(*text); text++)
        if (value < 100000) value = 10 * value + (*text - '0');
    if (value > 100000) value = 100000;
    *out = negative ? -value : value;
    return *text == '\0';
}

static bool scan_number(const char *text, number *out)
{
    *out = (number){.negative = *text == '-'};
    if (*text == '-' || *text == '+') text++;
    out->digits = text;
    if (text[0] == '0' && is_digit(text[1])) return false;  /* 010: ten to some readers, eight to others */
    size_t whole = strspn(text, "0123456789");
    if (text[whole] == '.') out->fraction = strspn(text + whole + 1, "0123456789");
    out->length = whole + (text[whole] == '.') + out->fraction;
    if (whole + out->fraction == 0) return false;
    text += out->length;
    if (*text == 'e' || *text == 'E') return scan_exponent(text + 1, &out->exponent);
    return *text == '\0';
}

/* The number's exact value where it is whole and fits. */
static bool whole_value(const number *n, int64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n->length; i++) {
        if (n->digits[i] == '.') continue;
        if (value > (UINT64_MAX - 9) / 10) return false;
        value = 10 * value + (uint64_t)(n->digits[i] - '0');
    }
    long shift = n->exponent - (long)n->fraction;
    for (; value && shift < 0; shift++) {
        if (value % 10) return false;
        value /= 10;
    }
    for (; value && shift > 0; shift--) {
        if (value > UINT64_MAX / 10) return false;
        value *= 10;
    }
    if (value > (uint64_t)INT64_MAX) return false;
    *out = n->negative ? -(int64_t)value : (int64_t)value;
    return true;
}

bool cot_config_is_number_text(const char *text)
{
    number n;
    return scan_number(text, &n);
}

static bool is_plain(const cot_config *config) { return config->kind == COT_CONFIG_SCALAR && !config->quoted; }

bool cot_config_is_int(const cot_config *config, int64_t *out)
{
    number n;
    return is_plain(config) && scan_number(config->text, &n) && whole_value(&n, out);
}

bool cot_config_is_double(const cot_config *config, double *out)
{
    number n;
    if (!is_plain(config) || !scan_number(config->text, &n)) return false;
    const double value = strtod(config->text, NULL);
    if (!isfinite(value)) return false;
    *out = value;
    return true;
}

bool cot_config_is_bool(const cot_config *config, bool *out)
{
    static const char *const words[] = {"false", "true", "False", "True", "FALSE", "TRUE"};
    for (size_t i = 0; is_plain(config) && i < sizeof words / sizeof *words; i++) {
        if (strcmp(config->text, words[i]) != 0) continue;
        *out = i % 2;
        return true;
    }
    return false;
}

cot_status cot_config_int(const cot_config *config, int64_t *out)
{
    if (!config || cot_config_is_int(config, out)) return COT_OK;
    return cot_config_expected(config, "a whole number");
}

cot_status cot_config_double(const cot_config *config, double *out)
{
    if (!config || cot_config_is_double(config, out)) return COT_OK;
    return cot_config_expected(config, "a number");
}

cot_status cot_config_bool(const cot_config *config, bool *out)
{
    if (!config || cot_config_is_bool(config, out)) return COT_OK;
    return cot_config_expected(config, "true or false");
}
