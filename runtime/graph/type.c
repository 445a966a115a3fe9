/* Types, and how types and nodes read in messages. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "runtime/graph/graph.h"
#include "runtime/graph/op.h"

og_type og_type_make(og_dtype dtype, int rank, const int64_t *dims)
{
    og_type t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank && i < OG_MAX_RANK; i++)
        t.dims[i] = dims[i];
    return t;
}

bool og_type_same_dims(const og_type *a, const og_type *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    return same;
}

bool og_type_equal(const og_type *a, const og_type *b)
{
    return a->dtype == b->dtype && og_type_same_dims(a, b);
}

bool og_type_is_static(const og_type *t)
{
    if (t->rank < 0)
        return false;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] < 0)
            return false;
    return true;
}

int64_t og_type_elements(const og_type *t)
{
    if (!og_type_is_static(t))
        return -1;
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] == 0)
            return 0;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(n, t->dims[i], &n))
            return -1;
    return n;
}

int64_t og_type_bytes(const og_type *t)
{
    int64_t n = og_type_elements(t), bits;
    if (n < 0 || __builtin_mul_overflow(n, (int64_t)og_dtype_bits(t->dtype), &bits))
        return -1;
    return bits / 8 + (bits % 8 != 0);
}

bool og_type_is_aligned(const og_type *t, const void *data)
{
    int bits = og_dtype_bits(t->dtype);
    if (t->dtype == OG_COMPLEX64 || t->dtype == OG_COMPLEX128)
        bits /= 2;
    return bits < 8 || (uintptr_t)data % ((unsigned)bits / 8) == 0;
}

const void *og_type_align(const og_type *t, const void *data, og_arena *arena)
{
    return og_type_is_aligned(t, data) ? data
                                       : og_arena_copy(arena, data, (size_t)og_type_bytes(t));
}

bool og_dtype_is_half(og_dtype d)
{
    return d == OG_FLOAT16 || d == OG_BFLOAT16;
}

bool og_dtype_is_float(og_dtype d)
{
    return d == OG_FLOAT || d == OG_DOUBLE || d == OG_FLOAT16 || d == OG_BFLOAT16 ||
           (d >= OG_FLOAT8E4M3FN && d <= OG_FLOAT8E5M2FNUZ) || d == OG_FLOAT4E2M1;
}

bool og_dtype_is_int(og_dtype d)
{
    return (d >= OG_UINT8 && d <= OG_INT64) || d == OG_UINT32 || d == OG_UINT64 || d == OG_UINT4 ||
           d == OG_INT4;
}

const char *og_type_text(char buffer[160], const og_graph *g, const og_type *t)
{
    size_t at = (size_t)snprintf(buffer, 160, "%s", og_dtype_name(t->dtype));
    if (t->rank < 0)
        return buffer;
    at += (size_t)snprintf(buffer + at, 160 - at, " [");
    for (int i = 0; i < t->rank && at < 120; i++) {
        const char *comma = i ? ", " : "";
        if (t->dims[i] >= 0)
            at += (size_t)snprintf(buffer + at, 160 - at, "%s%lld", comma, (long long)t->dims[i]);
        else if (g && -t->dims[i] <= g->n_symbols)
            at += (size_t)snprintf(buffer + at, 160 - at, "%s%.30s", comma,
                                   g->symbols[-t->dims[i] - 1]);
        else
            at += (size_t)snprintf(buffer + at, 160 - at, "%s?", comma);
    }
    if (at < 150)
        snprintf(buffer + at, 160 - at, "]");
    return buffer;
}

const char *og_role_name(og_role role)
{
    static const char *const name[OG_ROLE_COUNT] = {
        [OG_ROLE_FORWARD] = "forward",   [OG_ROLE_LOSS] = "loss",
        [OG_ROLE_GRADIENT] = "gradient", [OG_ROLE_ACCUMULATE] = "accumulate",
        [OG_ROLE_UPDATE] = "update",     [OG_ROLE_RECOMPUTE] = "recompute",
        [OG_ROLE_WEIGHTS] = "weights",
    };
    return role < OG_ROLE_COUNT ? name[role] : "";
}

static const char *role_prefix(og_role role)
{
    static const char *const prefix[OG_ROLE_COUNT] = {
        [OG_ROLE_FORWARD] = "",
        [OG_ROLE_LOSS] = "loss, ",
        [OG_ROLE_GRADIENT] = "gradient of ",
        [OG_ROLE_ACCUMULATE] = "sum over micro-batches, ",
        [OG_ROLE_UPDATE] = "update, ",
        [OG_ROLE_RECOMPUTE] = "recomputed ",
        [OG_ROLE_WEIGHTS] = "of weights alone, ",
    };
    return role < OG_ROLE_COUNT ? prefix[role] : "";
}

const char *og_node_text(char buffer[256], const og_node *n)
{
    const og_origin *o = n->origin;
    const char *op = o && o->op && *o->op ? o->op : n->op->name;
    const char *name = o && o->node && *o->node ? o->node : n->name;
    int at = snprintf(buffer, 256, "%s%s", o ? role_prefix(o->role) : "", op);
    if (*name)
        at += snprintf(buffer + at, 256 - (size_t)at, " \"%.120s\"", name);
    if (o && o->opset)
        snprintf(buffer + at, 256 - (size_t)at, " (opset %d)", o->opset);
    return buffer;
}

void og_node_prefix(og_error *error, const og_node *n)
{
    char text[256];
    og_node_text(text, n);
    if (strncmp(og_error_text(error), text, strlen(text)) != 0)
        og_error_prefix(error, "%s", text);
}

bool(og_node_fail)(og_graph *g, const og_node *n, og_status status, const char *format, ...)
{
    char text[256];
    og_text message = {0};
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(&message, format, arguments);
    va_end(arguments);
    og_node_text(text, n);
    if (strcmp(n->op->name,
               n->origin && n->origin->op && *n->origin->op ? n->origin->op : n->op->name) != 0)
        og_fail(&g->error, status, "%s, its part %s: %s", text, n->op->name,
                message.s ? message.s : "");
    else
        og_fail(&g->error, status, "%s: %s", text, message.s ? message.s : "");
    og_text_free(&message);
    return false;
}

bool(og_infer_error)(og_infer *i, const char *format, ...)
{
    og_text message = {0};
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(&message, format, arguments);
    va_end(arguments);
    og_node_fail(i->g, i->node, OG_INVALID_MODEL, "%s", message.s ? message.s : "");
    og_text_free(&message);
    return false;
}

double og_node_flops(const og_graph *g, const og_node *n)
{
    const og_value *x[64];
    og_type y[8];
    if (n->n_in > 64 || n->n_out < 1 || n->n_out > 8 || n->op->view)
        return 0;
    double elements = 0;
    for (int i = 0; i < n->n_in; i++) {
        x[i] = og_graph_value(g, n->in[i]);
        if (i == 0 && x[0])
            elements = (double)og_type_elements(&x[0]->type);
    }
    for (int i = 0; i < n->n_out; i++)
        y[i] = g->values[n->out[i]]->type;
    if (n->op->flops)
        return n->op->flops(n, x, y);
    double out = (double)og_type_elements(&y[0]);
    if (n->program && n->program->fold)
        return (double)og_type_elements(&n->program->space) * (n->program->n_instr + 1);
    if (n->program)
        return out * n->program->n_instr;
    return out > elements ? out : elements;
}
