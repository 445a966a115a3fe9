/* The JSON writer: compact, valid whatever the strings hold. Bytes that are not UTF-8 become
 * U+FFFD; numbers take the fewest digits that read back the same, with a point whatever the locale.
 */
#include "runtime/base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 sequence at s (1 … 4); 0 if it is not one. */
static int utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Of a sequence of n bytes, up to three; beyond U+FFFF for more. */
static int code_point(const unsigned char *s, int n)
{
    return n == 1   ? s[0]
           : n == 2 ? (s[0] & 0x1f) << 6 | (s[1] & 0x3f)
           : n == 3 ? (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f)
                    : 0x10000;
}

/* Control characters, ends of lines, and what is no character: some readers refuse them. */
static bool is_escaped(int code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
           code == 0xfffe || code == 0xffff;
}

static void add_quoted(og_text *out, const char *value)
{
    og_text_add(out, "\"");
    for (const unsigned char *s = (const unsigned char *)value; *s;) {
        int n = utf8_length(s);
        if (n == 0) {
            og_text_add(out, "\xef\xbf\xbd");
            s++;
            continue;
        }
        if (*s == '"' || *s == '\\')
            og_text_printf(out, "\\%c", *s);
        else if (*s == '\n')
            og_text_add(out, "\\n");
        else if (*s == '\t')
            og_text_add(out, "\\t");
        else if (*s == '\r')
            og_text_add(out, "\\r");
        else if (is_escaped(code_point(s, n)))
            og_text_printf(out, "\\u%04x", (unsigned)code_point(s, n));
        else
            og_text_addn(out, (const char *)s, (size_t)n);
        s += n;
    }
    og_text_add(out, "\"");
}

/* What stands before a value: the comma and the key. */
static void before_value(og_json *json, const char *key)
{
    if (json->depth > 0) {
        uint64_t bit = UINT64_C(1) << json->depth;
        if (json->has_value & bit)
            og_text_add(json->out, ",");
        json->has_value |= bit;
    }
    if (key) {
        add_quoted(json->out, key);
        og_text_add(json->out, ":");
    }
}

void og_json_open(og_json *json, const char *key, char bracket)
{
    before_value(json, key);
    og_text_addn(json->out, &bracket, 1);
    if (json->depth == 63) {
        json->out->failed = true;
        return;
    }
    json->depth++;
    json->has_value &= ~(UINT64_C(1) << json->depth);
}

void og_json_close(og_json *json, char bracket)
{
    if (json->depth > 0)
        json->depth--;
    og_text_addn(json->out, &bracket, 1);
}

void og_json_string(og_json *json, const char *key, const char *value)
{
    before_value(json, key);
    if (value)
        add_quoted(json->out, value);
    else
        og_text_add(json->out, "null");
}

void og_json_int(og_json *json, const char *key, int64_t value)
{
    before_value(json, key);
    og_text_printf(json->out, "%lld", (long long)value);
}

void og_json_double(og_json *json, const char *key, double value)
{
    if (!isfinite(value)) {
        og_json_null(json, key);
        return;
    }
    before_value(json, key);
    char digits[40];
    for (int precision = 6; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    for (char *c = digits; *c; c++)
        if (!strchr("0123456789+-e", *c))
            *c = '.';
    og_text_add(json->out, digits);
}

void og_json_bool(og_json *json, const char *key, bool value)
{
    before_value(json, key);
    og_text_add(json->out, value ? "true" : "false");
}

void og_json_null(og_json *json, const char *key)
{
    before_value(json, key);
    og_text_add(json->out, "null");
}
