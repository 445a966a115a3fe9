#include "tools/ongrad/as_trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

static bool is_target(const og__bindings *b, int i)
{
    return i >= b->n_inputs;
}

/* "ongrad.scale.x", of a target "ongrad.target.scale.y". */
static og_text key_of(const og__bindings *b, int i, const char *what)
{
    og_text key = {0};
    og_text_printf(&key, "ongrad.%s%s.%s", is_target(b, i) ? "target." : "", what,
                   og__binding_at(b, i)->name);
    return key;
}

/* NULL: the model says nothing of it. */
static const char *metadata(const og__bindings *b, int i, const char *what)
{
    og_text key = key_of(b, i, what);
    const char *value = key.s ? og_model_metadata(b->model, key.s) : NULL;
    og_text_free(&key);
    return value && *value ? value : NULL;
}

/* Scales are for files of the same kind: bytes and numbers between 0 and 1 do not share one. */
static const char *kind_of(const og_source *source)
{
    return og_source_is_pictures(source) ? "pictures" : og_dtype_name(og_source_dtype(source));
}

bool og__as_trained_options(og__bindings *b, int i)
{
    og__binding *s = og__binding_at(b, i);
    const og_source *base = b->base ? og__binding_at(b->base, i)->source : NULL;
    const char *rate = is_target(b, i) ? NULL : metadata(b, i, "rate");
    const char *columns = base ? og_source_columns(base) : metadata(b, i, "columns");
    if (s->options.rate == 0 && rate)
        s->options.rate = strtod(rate, NULL);
    if (s->columns || !columns || (!base && !strcmp(b->command, "train")))
        return true;
    s->options.columns = s->columns = strdup(columns);
    s->columns_as_trained = true;
    return s->columns != NULL;
}

void og__as_trained_scale(og__bindings *b, int i)
{
    og__binding *s = og__binding_at(b, i);
    const og__binding *base = b->base ? og__binding_at(b->base, i) : NULL;
    const char *text = metadata(b, i, "scale");
    double scale = 1, shift = 0;
    char kind[32] = "";
    if (s->scaled || !s->source)
        return;
    if (base && base->source && (base->scale != 1 || base->shift != 0)) {
        scale = base->scale;
        shift = base->shift;
        snprintf(kind, sizeof kind, "%s", kind_of(base->source));
    } else if (base || !text || sscanf(text, "%lf %lf %31s", &scale, &shift, kind) != 3) {
        return;
    }
    if (strcmp(kind, kind_of(s->source)) != 0)
        return;
    s->scale = scale;
    s->shift = shift;
    s->scaled_as_trained = true;
}

/* What was said before of another training does not stay. */
static int keep(og__run *run, int i, const char *what, const char *value)
{
    if (!value && !metadata(&run->data, i, what))
        return OG__EXIT_DONE;
    og_text key = key_of(&run->data, i, what);
    bool kept = key.s && og_model_set_metadata(run->model, key.s, value ? value : "") == OG_OK;
    og_text_free(&key);
    return kept ? OG__EXIT_DONE : og__run_failed(run);
}

int og__as_trained_keep(og__run *run)
{
    for (int i = 0; i < run->data.n_inputs + run->data.n_targets; i++) {
        const og__binding *b = og__binding_at(&run->data, i);
        char scale[128], rate[64];
        if (!b->source)
            continue;
        bool scaled = b->scale != 1 || b->shift != 0;
        snprintf(scale, sizeof scale, "%.17g %.17g %s", b->scale, b->shift, kind_of(b->source));
        snprintf(rate, sizeof rate, "%g", b->options.rate);
        OG__TRY(keep(run, i, "scale", scaled ? scale : NULL));
        OG__TRY(keep(run, i, "rate", b->options.rate > 0 ? rate : NULL));
        /* Labels may lie under other names in another file. */
        OG__TRY(keep(run, i, "columns",
                     is_target(&run->data, i) ? b->columns : og_source_columns(b->source)));
    }
    return OG__EXIT_DONE;
}
