/* The geometry of convolutions (conv.h). ConvTranspose is the gradient of a convolution with regard
 * to its data: its input is that convolution's output, its output that convolution's data. */
#include "kernels/cpu/conv.h"

og__conv_op og__conv_op_of(const og_call *call)
{
    const char *name = call->node->op->name;
    return strstr(name, "GradData")      ? OG__CONV_GRAD_DATA
           : strstr(name, "GradWeights") ? OG__CONV_GRAD_WEIGHTS
           : strstr(name, "Transpose")   ? OG__CONV_TRANSPOSE
                                         : OG__CONV;
}

og__conv_tensors og__conv_tensors_of(const og_call *call, og__conv_op op)
{
    og__conv_tensors t = {0};
    switch (op) {
    case OG__CONV:
        t = (og__conv_tensors){&call->x[0], &call->x[1], &call->y[0], NULL};
        break;
    case OG__CONV_GRAD_WEIGHTS:
        t = (og__conv_tensors){&call->x[0], &call->y[0], &call->x[1], NULL};
        break;
    default:
        t = (og__conv_tensors){&call->y[0], &call->x[1], &call->x[0], NULL};
    }
    if ((op == OG__CONV || op == OG__CONV_TRANSPOSE) && og__has(call->nx, call->x, 2))
        t.bias = &call->x[2];
    return t;
}

/* Entry i of an attribute with `n` entries, or `fallback`; false in *ok if its length is wrong. */
static int64_t entry(const og_node *node, const char *name, int n, int i, int64_t fallback,
                     bool *ok)
{
    const int64_t *list;
    int length = og_attr_ints(node, name, &list);
    if (length == 0)
        return fallback;
    *ok = *ok && length == n;
    return length == n ? list[i] : fallback;
}

/* Pads that auto_pad asks for, when the output's length is known. */
static void auto_pads(og__conv *c, int axis, const char *mode)
{
    int64_t span = (c->kernel[axis] - 1) * c->dilations[axis] + 1;
    int64_t total = og__max(0, (c->out[axis] - 1) * c->strides[axis] + span - c->in[axis]);
    bool upper = strcmp(mode, "SAME_UPPER") == 0;
    c->begins[axis] = strcmp(mode, "VALID") == 0 ? 0 : upper ? total / 2 : total - total / 2;
    c->ends[axis] = strcmp(mode, "VALID") == 0 ? 0 : total - c->begins[axis];
}

bool og__conv_of(const og_call *call, og__conv_op op, og__conv *c)
{
    if (call->nx < 2 || call->ny != 1)
        return false;
    og__conv_tensors t = og__conv_tensors_of(call, op);
    const og_type *x = &t.x->type, *w = &t.w->type, *y = &t.y->type;
    int spatial = x->rank - 2;
    og_dtype dtype = call->x[0].type.dtype, result = call->y[0].type.dtype;
    if (spatial < 1 || spatial > OG__SPATIAL || w->rank != x->rank || y->rank != x->rank ||
        call->x[1].type.dtype != dtype || (result != dtype && result != OG_FLOAT) ||
        (t.bias && t.bias->type.dtype != dtype))
        return false;
    const og_node *node = call->node;
    *c = (og__conv){.spatial = spatial,
                    .n = x->dims[0],
                    .c = x->dims[1],
                    .m = w->dims[0],
                    .group = og_attr_int(node, "group", 1)};
    bool ok = c->group > 0 && c->c == w->dims[1] * c->group && c->m % c->group == 0 &&
              y->dims[0] == c->n && y->dims[1] == c->m;
    const char *mode = og_attr_string(node, "auto_pad", "NOTSET");
    bool automatic = strcmp(mode, "NOTSET") != 0;
    if (op == OG__CONV_TRANSPOSE && (automatic || og_node_attr(node, "output_shape")))
        return false; /* its definition resolves these */
    for (int a = 0; a < OG__SPATIAL; a++) {
        int axis = a - (OG__SPATIAL - spatial);
        c->in[a] = axis < 0 ? 1 : x->dims[axis + 2];
        c->out[a] = axis < 0 ? 1 : y->dims[axis + 2];
        c->kernel[a] = axis < 0 ? 1 : w->dims[axis + 2];
        c->strides[a] = c->dilations[a] = 1;
        if (axis < 0)
            continue;
        c->strides[a] = entry(node, "strides", spatial, axis, 1, &ok);
        c->dilations[a] = entry(node, "dilations", spatial, axis, 1, &ok);
        ok = ok && c->strides[a] > 0 && c->dilations[a] > 0 && c->kernel[a] > 0 &&
             entry(node, "kernel_shape", spatial, axis, c->kernel[a], &ok) == c->kernel[a];
        if (!ok)
            return false;
        if (automatic) {
            auto_pads(c, a, mode);
        } else {
            c->begins[a] = entry(node, "pads", 2 * spatial, axis, 0, &ok);
            c->ends[a] = entry(node, "pads", 2 * spatial, spatial + axis, 0, &ok);
        }
        int64_t span = (c->kernel[a] - 1) * c->dilations[a] + 1,
                padded = c->in[a] + c->begins[a] + c->ends[a];
        if (op ==
            OG__CONV_TRANSPOSE) /* output_padding may exceed what the last window's stride leaves */
            padded = og__min(padded, c->out[a] * c->strides[a] + span - 1);
        ok = ok && c->begins[a] >= 0 && c->ends[a] >= 0 && padded >= span &&
             (padded - span) / c->strides[a] + 1 == c->out[a];
    }
    return ok && (!t.bias || (t.bias->type.rank == 1 &&
                              t.bias->type.dims[0] == (op == OG__CONV_TRANSPOSE ? c->c : c->m)));
}
