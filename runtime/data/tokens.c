/* A file of tokens, cut into sequences for a language model: sample i has tokens i × seq_len to
 * (i + 1) × seq_len, and its targets are the same shifted by one. .npy of one axis, or bare numbers
 * (.bin, with dtype=uint16 or what it is). Nothing is copied. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/reader.h"

static const og__source_type tokens = {"tokens", false, NULL};

og_source *og__tokens_open(const char *path, const og_source_options *options, og_error *error)
{
    og_array *a = options->dtype ? og__array_open_bare(path, options->dtype, error)
                                 : og_array_open(path, error);
    if (!a)
        return NULL;
    int64_t length = options->seq_len, n = a->dims[0] - 1; /* the last is only a target */
    og_source *s = NULL;
    if (a->rank != 1)
        og_fail(error, OG_INVALID_DATA, "a file of tokens has one axis, this has %d", a->rank);
    else if (n / length < 1)
        og_fail(error, OG_INVALID_DATA,
                "%" PRId64 " tokens make no sequence of seq_len=%" PRId64 " and its next token",
                a->dims[0], length);
    else
        s = og__array_source(path, a, error);
    if (!s) {
        if (error->status != OG_OUT_OF_MEMORY)
            og_array_free(a);
        return NULL;
    }
    s->type = &tokens;
    s->options = *options;
    a->data = (const char *)a->data + (size_t)options->shift * (size_t)og_dtype_bits(a->dtype) / 8;
    a->rank = s->rank = 2;
    a->dims[0] = s->dims[0] = s->samples = n / length;
    a->dims[1] = s->dims[1] = length;
    return s;
}
