/* The builder (build.h): nodes, constants, shape helpers. */
#include "runtime/graph/build.h"

#include <string.h>

#include "runtime/base/half.h"

/* ---- any op */

static og_graph *graph_of(og_vals in)
{
    for (int i = 0; i < in.n; i++)
        if (in.v[i].g)
            return in.v[i].g;
    return NULL;
}

/* "ai.ongrad::Copy" or "Tanh". */
static const og_op *find_row(og_graph *g, const char *name)
{
    static const char internal[] = OG_DOMAIN "::";
    size_t n = sizeof(internal) - 1;
    const og_op *row =
        strncmp(name, internal, n) == 0 ? og_op_find(OG_DOMAIN, name + n) : og_op_find(NULL, name);
    if (!row)
        og_fail(&g->error, OG_INTERNAL, "the builder was asked for an op that has no row: %s",
                name);
    return row;
}

/* The rule's source line becomes part of the origin of what it makes. */
static void note_site(og_graph *g, og_site site)
{
    const og_origin *old = g->origin;
    if (old && old->file == site.file && old->line == site.line)
        return;
    og_origin o = old ? *old : (og_origin){.role = OG_ROLE_FORWARD, .node = "", .op = ""};
    o.file = site.file;
    o.line = site.line;
    og_graph_set_origin(g, &o);
}

static og_outs add(og_site site, const char *op, int n_out, og_vals in, const og_attr *attrs,
                   int n_attrs)
{
    og_outs outs;
    for (int i = 0; i < OG_MAX_OUT; i++)
        outs.y[i] = OG_NONE;
    og_graph *g = graph_of(in);
    if (!g || g->error.status != OG_OK)
        return outs;
    int ids[64];
    if (in.n > 64 || n_out > OG_MAX_OUT) {
        og_fail(&g->error, OG_INTERNAL, "the builder was given %d inputs and %d outputs for %s",
                in.n, n_out, op);
        return outs;
    }
    const og_op *row = find_row(g, op);
    if (!row)
        return outs;
    for (int i = 0; i < in.n; i++)
        ids[i] = in.v[i].g ? in.v[i].id : -1;
    const og_origin *origin = g->origin;
    note_site(g, site);
    og_node *n = og_graph_add_node(g, row, "", ids, in.n, n_out, attrs, n_attrs);
    g->origin = origin;
    for (int i = 0; n && i < n_out; i++)
        outs.y[i] = (og_val){g, n->out[i]};
    return outs;
}

og_outs og_ops(og_site site, const char *op, int n_out, og_vals in, const og_attr *attrs)
{
    og_attr copy[24];
    int n = 0;
    og_graph *g = graph_of(in);
    for (; g && attrs[n].name && n < 24; n++) {
        copy[n] = attrs[n];
        if (attrs[n].kind == OG_ATTR_INTS)
            copy[n].ints =
                og_arena_copy(g->arena, attrs[n].ints, sizeof(int64_t) * (size_t)attrs[n].n);
        if (attrs[n].kind == OG_ATTR_FLOATS)
            copy[n].floats =
                og_arena_copy(g->arena, attrs[n].floats, sizeof(double) * (size_t)attrs[n].n);
    }
    return add(site, op, n_out, in, copy, n);
}

og_outs og_ops_like(og_site site, const char *op, int n_out, og_vals in, const og_node *like)
{
    return add(site, op, n_out, in, like->attrs, like->n_attrs);
}

/* ---- primitives */

#define B(name)                                                                     \
    og_val og_##name(og_site site, og_val a)                                        \
    {                                                                               \
        const char *op = strcmp(#name, "Log1p") == 0 ? OG_DOMAIN "::Log1p" : #name; \
        return a.g ? add(site, op, 1, In(a), NULL, 0).y[0] : OG_NONE;               \
    }
OG_UNARY(B)
#undef B
#define B(name)                                                                    \
    og_val og_##name(og_site site, og_val a, og_val b)                             \
    {                                                                              \
        return a.g && b.g ? add(site, #name, 1, In(a, b), NULL, 0).y[0] : OG_NONE; \
    }
OG_BINARY(B)
#undef B

/* ---- constants */

og_val og_const_copy(og_graph *g, const og_type *type, const void *data)
{
    int64_t bytes = og_type_bytes(type);
    void *copy = bytes < 0 ? NULL : og_arena_alloc(g->arena, (size_t)bytes + 1);
    if (!copy) {
        og_fail_memory(&g->error, bytes < 0 ? SIZE_MAX : (size_t)bytes, "a constant");
        return OG_NONE;
    }
    if (bytes > 0)
        memcpy(copy, data, (size_t)bytes);
    return og_graph_add_const(g, "", type, copy);
}

og_val og_const_double(og_graph *g, og_dtype dtype, double value)
{
    og_type type = og_type_make(dtype, 0, NULL);
    union {
        float f;
        double d;
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint32_t u32;
        uint64_t u64;
    } u = {0};
    switch (dtype) {
    case OG_FLOAT:
        u.f = (float)value;
        break;
    case OG_DOUBLE:
        u.d = value;
        break;
    case OG_FLOAT16:
        u.u16 = og_float_to_half((float)value);
        break;
    case OG_BFLOAT16:
        u.u16 = og_float_to_bfloat((float)value);
        break;
    case OG_BOOL:
        u.u8 = value != 0;
        break;
    case OG_UINT8:
        u.u8 = (uint8_t)value;
        break;
    case OG_INT8:
        u.i8 = (int8_t)value;
        break;
    case OG_UINT16:
        u.u16 = (uint16_t)value;
        break;
    case OG_INT16:
        u.i16 = (int16_t)value;
        break;
    case OG_INT32:
        u.i32 = (int32_t)value;
        break;
    case OG_UINT32:
        u.u32 = (uint32_t)value;
        break;
    case OG_INT64:
        u.i64 = (int64_t)value;
        break;
    case OG_UINT64:
        u.u64 = (uint64_t)value;
        break;
    default:
        og_fail(&g->error, OG_UNSUPPORTED, "no constants of type %s can be made",
                og_dtype_name(dtype));
        return OG_NONE;
    }
    return og_const_copy(g, &type, &u);
}

og_val og_const_ints(og_graph *g, int n, const int64_t *ints)
{
    int64_t dims[1] = {n};
    og_type type = og_type_make(OG_INT64, 1, dims);
    return og_const_copy(g, &type, ints);
}

og_val og_const_int(og_graph *g, int64_t value)
{
    og_type type = og_type_make(OG_INT64, 0, NULL);
    return og_const_copy(g, &type, &value);
}

og_val og_scalar_like(og_val x, double value)
{
    return x.g && x.g->error.status == OG_OK ? og_const_double(x.g, og_type_of(x)->dtype, value)
                                             : OG_NONE;
}

og_val og_full(og_graph *g, const og_type *type, double value)
{
    og_val v = og_const_double(g, type->dtype, value);
    if (!v.g || type->rank == 0)
        return v;
    return add(OG_HERE, "Expand", 1, In(v, og_const_ints(g, type->rank, type->dims)), NULL, 0).y[0];
}

/* ---- shapes */

bool Has(og_val v)
{
    return v.g != NULL;
}

og_dtype DType(og_val v)
{
    return v.g ? og_type_of(v)->dtype : OG_UNDEFINED;
}

int Rank(og_val v)
{
    return v.g ? og_type_of(v)->rank : 0;
}

int64_t Dim(og_val v, int axis)
{
    if (!v.g)
        return 0;
    const og_type *t = og_type_of(v);
    int i = axis < 0 ? axis + t->rank : axis;
    return i >= 0 && i < t->rank ? t->dims[i] : 0;
}

int64_t Count(og_val v)
{
    return v.g ? og_type_elements(og_type_of(v)) : 0;
}

og_val og_reshape(og_site site, og_val x, int rank, const int64_t *dims)
{
    if (!x.g)
        return OG_NONE;
    og_type t = og_type_make(DType(x), rank, dims);
    if (og_type_equal(&t, og_type_of(x)))
        return x;
    og_attr allow_zero = I("allowzero", 1);
    return add(site, "Reshape", 1, In(x, og_const_ints(x.g, rank, dims)), &allow_zero, 1).y[0];
}

og_val og_reshape_like(og_site site, og_val x, og_val like)
{
    return like.g ? og_reshape(site, x, og_type_of(like)->rank, og_type_of(like)->dims) : OG_NONE;
}

og_val og_expand_like(og_site site, og_val x, og_val like)
{
    if (!x.g || !like.g)
        return OG_NONE;
    const og_type *a = og_type_of(x), *t = og_type_of(like);
    if (a->rank == t->rank && memcmp(a->dims, t->dims, sizeof(int64_t) * (size_t)t->rank) == 0)
        return x;
    return add(site, "Expand", 1, In(x, og_const_ints(x.g, t->rank, t->dims)), NULL, 0).y[0];
}

og_val og_transpose(og_site site, og_val x, const int *perm)
{
    if (!x.g)
        return OG_NONE;
    int64_t p[OG_MAX_RANK];
    for (int i = 0; i < Rank(x); i++)
        p[i] = perm[i];
    return og_ops(site, "Transpose", 1, In(x), (og_attr[]){Is("perm", Rank(x), p), {0}}).y[0];
}

og_val og_swap_last(og_site site, og_val x)
{
    int perm[OG_MAX_RANK] = {0}, r = Rank(x);
    for (int i = 0; i < r; i++)
        perm[i] = i;
    if (r >= 2) {
        perm[r - 1] = r - 2;
        perm[r - 2] = r - 1;
    }
    return og_transpose(site, x, perm);
}

og_val og_reduce(og_site site, const char *kind, og_val x, int n, const int *axes, bool keep)
{
    if (!x.g)
        return OG_NONE;
    og_attr keepdims = I("keepdims", keep);
    if (n == 0)
        return add(site, kind, 1, In(x), &keepdims, 1).y[0];
    int64_t list[OG_MAX_RANK];
    for (int i = 0; i < n; i++)
        list[i] = axes[i];
    return add(site, kind, 1, In(x, og_const_ints(x.g, n, list)), &keepdims, 1).y[0];
}

og_val og_sum_to(og_site site, og_val x, const og_type *like)
{
    if (!x.g)
        return OG_NONE;
    const og_type *t = og_type_of(x);
    int axes[OG_MAX_RANK], n = 0, added = t->rank - like->rank;
    for (int i = 0; i < t->rank; i++)
        if (i < added || (like->dims[i - added] == 1 && t->dims[i] != 1))
            axes[n++] = i;
    if (added < 0 || n == 0)
        return og_reshape(site, x, like->rank, like->dims);
    return og_reshape(site, og_reduce(site, "ReduceSum", x, n, axes, true), like->rank, like->dims);
}

og_val og_slice(og_site site, og_val x, int axis, int64_t start, int64_t length)
{
    if (!x.g)
        return OG_NONE;
    int64_t a = axis < 0 ? axis + Rank(x) : axis, end = start + length;
    return add(site, "Slice", 1,
               In(x, og_const_ints(x.g, 1, &start), og_const_ints(x.g, 1, &end),
                  og_const_ints(x.g, 1, &a)),
               NULL, 0)
        .y[0];
}

/* ---- constants read back */

int og_value_ints(const og_value *v, int max, int64_t *ints)
{
    if (!v || v->kind != OG_VALUE_CONST || !v->data || v->type.rank > 1 || v->type.rank < 0)
        return -1;
    int64_t n = og_type_elements(&v->type);
    if (n > max || (v->type.dtype != OG_INT64 && v->type.dtype != OG_INT32))
        return -1;
    for (int64_t i = 0; i < n; i++)
        ints[i] = v->type.dtype == OG_INT64 ? ((const int64_t *)v->data)[i]
                                            : ((const int32_t *)v->data)[i];
    return (int)n;
}

double og_value_double(const og_value *v, int64_t i)
{
    const void *p = v->data;
    switch (v->type.dtype) {
    case OG_FLOAT:
        return ((const float *)p)[i];
    case OG_DOUBLE:
        return ((const double *)p)[i];
    case OG_FLOAT16:
        return (double)og_half_to_float(((const uint16_t *)p)[i]);
    case OG_BFLOAT16:
        return (double)og_bfloat_to_float(((const uint16_t *)p)[i]);
    case OG_BOOL:
    case OG_UINT8:
        return ((const uint8_t *)p)[i];
    case OG_INT8:
        return ((const int8_t *)p)[i];
    case OG_UINT16:
        return ((const uint16_t *)p)[i];
    case OG_INT16:
        return ((const int16_t *)p)[i];
    case OG_INT32:
        return ((const int32_t *)p)[i];
    case OG_INT64:
        return (double)((const int64_t *)p)[i];
    case OG_UINT32:
        return ((const uint32_t *)p)[i];
    case OG_UINT64:
        return (double)((const uint64_t *)p)[i];
    default:
        return 0;
    }
}
