#include "tools/ongrad/prediction_table.h"

#include <inttypes.h>
#include <string.h>

#include "runtime/base/half.h"

static double element(const og_tensor_info *info, const void *data, int64_t i)
{
    switch (info->dtype) {
    case OG_FLOAT:
        return (double)((const float *)data)[i];
    case OG_DOUBLE:
        return ((const double *)data)[i];
    case OG_FLOAT16:
        return (double)og_half_to_float(((const uint16_t *)data)[i]);
    case OG_BFLOAT16:
        return (double)og_bfloat_to_float(((const uint16_t *)data)[i]);
    case OG_INT64:
        return (double)((const int64_t *)data)[i];
    case OG_UINT64:
        return (double)((const uint64_t *)data)[i];
    case OG_INT32:
        return ((const int32_t *)data)[i];
    case OG_UINT32:
        return ((const uint32_t *)data)[i];
    case OG_INT16:
        return ((const int16_t *)data)[i];
    case OG_UINT16:
        return ((const uint16_t *)data)[i];
    case OG_INT8:
        return ((const int8_t *)data)[i];
    default:
        return ((const uint8_t *)data)[i];
    }
}

static void add_element(const og_tensor_info *info, const void *data, int64_t i, og_text *out)
{
    if (info->dtype == OG_INT64)
        og_text_printf(out, "%" PRId64, ((const int64_t *)data)[i]);
    else if (info->dtype == OG_UINT64)
        og_text_printf(out, "%" PRIu64, ((const uint64_t *)data)[i]);
    else
        og_text_printf(out, "%.*g", info->dtype == OG_DOUBLE ? 17 : 9, element(info, data, i));
}

/* RFC 4180: quoted where it must be. */
static void add_cell(const char *text, og_text *out)
{
    if (!text[strcspn(text, ",\"\r\n")]) {
        og_text_add(out, text);
        return;
    }
    og_text_add(out, "\"");
    for (const char *c = text; *c; c++) {
        og_text_addn(out, c, 1);
        og_text_add(out, *c == '"' ? "\"" : "");
    }
    og_text_add(out, "\"");
}

bool og__has_classes(const og_tensor_info *info, const og__class_names *classes)
{
    return classes->n > 0 && info->rank == 2 && info->dims[1] == classes->n;
}

static void add_head(const og_tensor_info *info, int64_t columns, const og__class_names *classes,
                     og_text *out)
{
    bool named = og__has_classes(info, classes);
    og_text_add(out, named ? "sample,class" : "sample");
    for (int64_t k = 0; k < columns; k++) {
        og_text name = {0};
        og_text_add(out, ",");
        if (named)
            og_text_add(&name, classes->names[k]);
        else if (columns == 1)
            og_text_add(&name, info->name);
        else
            og_text_printf(&name, "%s_%" PRId64, info->name, k);
        add_cell(name.s ? name.s : "", out);
        og_text_free(&name);
    }
    og_text_add(out, "\n");
}

void og__prediction_table(const og_tensor_info *info, const void *data, const char *const *names,
                          const og__class_names *classes, og_text *out)
{
    int64_t columns = info->rank > 1 ? info->dims[1] : 1;
    add_head(info, columns, classes, out);
    for (int64_t i = 0; i < info->dims[0] && !out->failed; i++) {
        int64_t first = i * columns, best = 0;
        if (names)
            add_cell(names[i], out);
        else
            og_text_printf(out, "%" PRId64, i);
        for (int64_t k = 1; k < columns; k++)
            if (element(info, data, first + k) > element(info, data, first + best))
                best = k;
        if (og__has_classes(info, classes)) {
            og_text_add(out, ",");
            add_cell(classes->names[best], out);
        }
        for (int64_t k = 0; k < columns; k++) {
            og_text_add(out, ",");
            add_element(info, data, first + k, out);
        }
        og_text_add(out, "\n");
    }
}
