#include "tools/ongrad/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/half.h"
#include "tools/ongrad/nodes.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

/* ---- reading */

static int compare(const void *a, const void *b)
{
    return strcmp(((const og__weight *)a)->info.name, ((const og__weight *)b)->info.name);
}

bool og__weights_read(og__weights *w, og_model *model)
{
    int n = og_model_weight_count(model);
    *w = (og__weights){.items = n < 0 ? NULL : calloc((size_t)n + 1, sizeof *w->items)};
    for (int i = 0; w->items && i < n; i++) {
        og__weight *weight = &w->items[w->n];
        if (og_model_weight(model, i, &weight->info, &weight->data) != OG_OK)
            continue;
        weight->n = 1;
        for (int d = 0; d < weight->info.rank; d++)
            weight->n *= weight->info.dims[d];
        w->n++;
    }
    if (w->items)
        qsort(w->items, (size_t)w->n, sizeof *w->items, compare);
    return w->items != NULL;
}

void og__weights_free(og__weights *w)
{
    free(w->items);
    *w = (og__weights){0};
}

#define READ(type, convert)                                      \
    {                                                            \
        type v;                                                  \
        memcpy(&v, (const char *)data + i * sizeof v, sizeof v); \
        return convert;                                          \
    }

static bool is_known(og_dtype dtype)
{
    return (dtype >= OG_FLOAT && dtype <= OG_UINT64 && dtype != OG_STRING) || dtype == OG_BFLOAT16;
}

/* Element i, which may lie at any address. */
static double element(og_dtype dtype, const void *data, size_t i)
{
    switch (dtype) {
    case OG_FLOAT:
        READ(float, (double)v)
    case OG_DOUBLE:
        READ(double, v)
    case OG_FLOAT16:
        READ(uint16_t, (double)og_half_to_float(v))
    case OG_BFLOAT16:
        READ(uint16_t, (double)og_bfloat_to_float(v))
    case OG_BOOL:
    case OG_UINT8:
        READ(uint8_t, v)
    case OG_INT8:
        READ(int8_t, v)
    case OG_UINT16:
        READ(uint16_t, v)
    case OG_INT16:
        READ(int16_t, v)
    case OG_UINT32:
        READ(uint32_t, v)
    case OG_INT32:
        READ(int32_t, v)
    case OG_UINT64:
        READ(uint64_t, (double)v)
    case OG_INT64:
        READ(int64_t, (double)v)
    default:
        return NAN;
    }
}
#undef READ

/* ---- statistics */

og__statistics og__weight_statistics(const og__weight *w)
{
    og__statistics s = {
        .known = is_known(w->info.dtype), .mean = NAN, .std = NAN, .least = NAN, .most = NAN};
    double sum = 0, squares = 0;
    int64_t finite = 0;
    for (int64_t i = 0; s.known && i < w->n; i++) {
        double v = element(w->info.dtype, w->data, (size_t)i);
        if (!isfinite(v)) {
            s.infinite++;
            continue;
        }
        sum += v;
        finite++;
        s.zeros += v == 0;
        s.least = finite == 1 || v < s.least ? v : s.least;
        s.most = finite == 1 || v > s.most ? v : s.most;
    }
    if (!finite)
        return s;
    s.mean = sum / (double)finite;
    for (int64_t i = 0; i < w->n; i++) {
        double d = element(w->info.dtype, w->data, (size_t)i) - s.mean;
        squares += isfinite(d) ? d * d : 0;
    }
    s.std = sqrt(squares / (double)finite);
    return s;
}

og__change og__weight_change(const og__weight *a, const og__weight *b)
{
    og_dtype dtype = a->info.dtype;
    og__change c = {.known = is_known(dtype)};
    double squares = 0, before = 0;
    if (!c.known) {
        size_t bytes = (size_t)((a->n * og_dtype_bits(dtype) + 7) / 8);
        c.equal = memcmp(a->data, b->data, bytes) == 0 ? a->n : 0;
        return c;
    }
    for (int64_t i = 0; i < a->n; i++) {
        double x = element(dtype, a->data, (size_t)i), y = element(dtype, b->data, (size_t)i);
        before += isfinite(x) ? x * x : 0;
        if (x == y || (isnan(x) && isnan(y))) {
            c.equal++;
            continue;
        }
        double d = fabs(y - x);
        d = isnan(d) ? INFINITY : d;
        c.most = d > c.most ? d : c.most;
        squares += d * d;
    }
    c.relative = squares > 0 ? sqrt(squares / before) : 0;
    return c;
}

/* ---- output */

static void number_cell(og__table *table, double value)
{
    if (isnan(value))
        og__table_cell(table, "-");
    else
        og__table_cell(table, "%.4g", value);
}

static void add_row(og__table *table, const og__weight *w)
{
    og__statistics s = og__weight_statistics(w);
    og_text shape = {0};
    og__shape_text(&shape, &w->info);
    og__table_cell(table, "%s", w->info.name);
    og__table_cell(table, "%s", shape.s ? shape.s : "");
    og__table_cell(table, "%s", og_dtype_name(w->info.dtype));
    number_cell(table, s.mean);
    number_cell(table, s.std);
    number_cell(table, s.least);
    number_cell(table, s.most);
    if (s.known && w->n)
        og__table_cell(table, "%.1f %%", 100 * (double)s.zeros / (double)w->n);
    else
        og__table_cell(table, "-");
    if (s.infinite)
        og__table_cell(table, "%" PRId64, s.infinite);
    else
        og__table_cell(table, "%s", "");
    og_text_free(&shape);
}

static void add_object(og_json *j, const og__weight *w)
{
    og__statistics s = og__weight_statistics(w);
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", w->info.name);
    og_json_string(j, "dtype", og_dtype_name(w->info.dtype));
    og_json_open(j, "shape", '[');
    for (int d = 0; d < w->info.rank; d++)
        og_json_int(j, NULL, w->info.dims[d]);
    og_json_close(j, ']');
    og_json_double(j, "mean", s.mean);
    og_json_double(j, "std", s.std);
    og_json_double(j, "min", s.least);
    og_json_double(j, "max", s.most);
    if (s.known)
        og_json_int(j, "zeros", s.zeros);
    else
        og_json_null(j, "zeros");
    og_json_int(j, "not_finite", s.infinite);
    og_json_close(j, '}');
}

int og__weights_print(const og__run *run, bool json)
{
    static const char *const headings[] = {"name", "shape", "type",   ">mean",      ">std",
                                           ">min", ">max",  ">zeros", ">not finite"};
    og__weights all;
    og_text out = {0};
    int64_t elements = 0;
    if (!og__weights_read(&all, run->model))
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the weights");
    if (json) {
        og_json j = {&out};
        og_json_open(&j, NULL, '{');
        og_json_string(&j, "model", run->model_name);
        og_json_open(&j, "weights", '[');
        for (int i = 0; i < all.n; i++)
            add_object(&j, &all.items[i]);
        og_json_close(&j, ']');
        og_json_close(&j, '}');
        og_text_add(&out, "\n");
    } else {
        og__table table;
        char count[32];
        og__table_start(&table, sizeof headings / sizeof *headings, headings);
        for (int i = 0; i < all.n; i++) {
            add_row(&table, &all.items[i]);
            elements += all.items[i].n;
        }
        og__table_finish(&table, &out, 0);
        og_text_printf(&out, "\n%d tensors, %s elements\n", all.n,
                       og__grouped_text(count, elements));
    }
    og__weights_free(&all);
    return og__write_stdout(run->command, &out);
}
