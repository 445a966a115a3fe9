#include "tools/ongrad/class_names.h"

#include <stdlib.h>
#include <string.h>

static const char key[] = "ongrad.classes";

bool og__class_names_read(const og_model *model, og__class_names *c)
{
    *c = (og__class_names){0};
    const char *text = og_model_metadata(model, key);
    if (!text || !*text)
        return true;
    size_t lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    c->text = strdup(text);
    c->names = lines <= INT32_MAX ? calloc(lines, sizeof *c->names) : NULL;
    for (char *line = c->text; c->names && line;) {
        char *end = strchr(line, '\n');
        c->names[c->n++] = line;
        if (end)
            *end = '\0';
        line = end ? end + 1 : NULL;
    }
    return c->text && c->names;
}

void og__class_names_free(og__class_names *c)
{
    free(c->names);
    free(c->text);
    *c = (og__class_names){0};
}

bool og__class_names_keep(og_model *model, const char *const *names, int n)
{
    og_text text = {0};
    for (int i = 0; i < n; i++)
        og_text_printf(&text, "%s%s", i ? "\n" : "", names[i]);
    bool kept = !text.failed && og_model_set_metadata(model, key, text.s ? text.s : "") == OG_OK;
    og_text_free(&text);
    return kept;
}
