/* One tensor of a .safetensors file as an array. */
#include <string.h>

#include "runtime/base/safetensors.h"
#include "runtime/base/text.h"
#include "runtime/data/array.h"

enum { MOST_LISTED = 20 };

bool og__is_safetensors(og__bytes file)
{
    return og_is_safetensors(file.p, file.n);
}

og_status og__safetensors_open(og__bytes file, const char *member, og_array *array, og_error *error)
{
    og_safetensors all;
    og_safetensor t, found = {0};
    og_text list = {0};
    int n = 0, matches = 0;
    bool more = true;
    OG_TRY(og_safetensors_open(file.p, file.n, &all, error));
    og_status status = OG_OK;
    while (status == OG_OK && more) {
        status = og_safetensors_next(&all, &t, &more, error);
        if (status != OG_OK || !more)
            break;
        if (n++ < MOST_LISTED)
            og_text_printf(&list, "%s%s", n == 1 ? "" : ", ", t.name);
        if (!member || !strcmp(member, t.name)) {
            found = t;
            matches++;
        }
    }
    if (status != OG_OK) {
        og_text_free(&list);
        return status;
    }
    if (matches == 0)
        status = og_fail(error, OG_INVALID_DATA, "no tensor%s%s%s in the file; it has %s",
                         member ? " \"" : "", member ? member : "", member ? "\"" : "",
                         list.s ? list.s : "none");
    else if (matches > 1)
        status = og_fail(error, OG_INVALID_DATA,
                         "the file has %d tensors: %s; hint: choose one with "
                         "FILE.safetensors:NAME",
                         n, list.s ? list.s : "");
    og_text_free(&list);
    OG_TRY(status);
    const uint8_t *elements;
    size_t bytes;
    OG_TRY(og_safetensor_place(&all, &found, &elements, &bytes, error));
    array->dtype = found.dtype;
    array->rank = found.rank;
    memcpy(array->dims, found.dims, sizeof found.dims);
    return og__array_place(array, elements, bytes, error);
}
