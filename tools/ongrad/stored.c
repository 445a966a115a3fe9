#include "tools/ongrad/stored.h"

#include <stdio.h>
#include <string.h>

void og__add_escaped(og_text *text, const char *value)
{
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c < 0x20 || c >= 0x7f || c == '%')
            og_text_printf(text, "%%%02X", c);
        else
            og_text_addn(text, value, 1);
    }
}

void og__unescape(char *text)
{
    char *to = text;
    for (unsigned code; *text; to++) {
        if (*text == '%' && text[1] && text[2] && sscanf(text + 1, "%2x", &code) == 1) {
            *to = (char)code;
            text += 3;
        } else {
            *to = *text++;
        }
    }
    *to = '\0';
}

void og__stored_add(og_text *text, const char *name, const char *value)
{
    og_text_printf(text, "%s=", name);
    og__add_escaped(text, value);
    og_text_add(text, "\n");
}

bool og__stored_next(char **at, char **name, char **value)
{
    while (**at) {
        char *line = *at;
        size_t n = strcspn(line, "\n");
        *at = line + n + (line[n] == '\n');
        line[n] = '\0';
        *value = strchr(line, '=');
        if (!*value)
            continue;
        *(*value)++ = '\0';
        og__unescape(*value);
        *name = line;
        return true;
    }
    return false;
}
