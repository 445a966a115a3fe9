/* What all devices share: finding a kernel for a call, and row-major strides. */
#include "runtime/device/device.h"

#include <string.h>

/* Does a kernel's op, "Name", "ai.ongrad::Name" or "*", name this row? */
static bool names_row(const char *kernel_op, const og_op *op)
{
    if (kernel_op[0] == '*')
        return true;
    if (op->domain && op->domain[0]) {
        size_t n = strlen(op->domain);
        return strncmp(kernel_op, op->domain, n) == 0 && kernel_op[n] == ':' &&
               kernel_op[n + 1] == ':' && strcmp(kernel_op + n + 2, op->name) == 0;
    }
    return strcmp(kernel_op, op->name) == 0;
}

static bool all_dense(int n, const og_tensor *t)
{
    for (int i = 0; i < n; i++)
        if (t[i].type.dtype != OG_UNDEFINED && !og_tensor_is_dense(&t[i]))
            return false;
    return true;
}

/* Those of n tensors that the mask names channels-last, the others dense. */
static bool images_last(int n, const og_tensor *t, uint8_t images)
{
    for (int i = 0; i < n; i++)
        if (t[i].type.dtype != OG_UNDEFINED &&
            !(og_op_image(images, i) ? og_tensor_is_channels_last(&t[i])
                                     : og_tensor_is_dense(&t[i])))
            return false;
    return true;
}

/* Do the kernel's flags allow the call's layouts? */
static bool takes_layouts(const og_kernel *kernel, const og_call *call)
{
    const og_op *op = call->node->op;
    if (kernel->flags & OG_KERNEL_CHANNELS_LAST && images_last(call->nx, call->x, op->images_in) &&
        images_last(call->ny, call->y, op->images_out))
        return true;
    return (kernel->flags & OG_KERNEL_STRIDED || all_dense(call->nx, call->x)) &&
           (kernel->flags & OG_KERNEL_ANY_ORDER || all_dense(call->ny, call->y));
}

const og_kernel *og_device_kernel(const og_device *device, const og_call *call, bool reference)
{
    for (const og_kernel_table *t = device->tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if ((!reference || k->flags & OG_KERNEL_REFERENCE) &&
                (!call->node->program || k->flags & OG_KERNEL_PROGRAM) &&
                names_row(k->op, call->node->op) && takes_layouts(k, call) &&
                (!k->supports || k->supports(call)))
                return k;
    return NULL;
}

bool og_device_has(const og_device *device, const og_op *op)
{
    for (const og_kernel_table *t = device->tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (names_row(k->op, op))
                return true;
    return false;
}

bool og_device_names(const og_device *device, const og_op *op)
{
    for (const og_kernel_table *t = device->tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if (k->op[0] != '*' && names_row(k->op, op))
                return true;
    return false;
}

void og_strides_dense(const og_type *type, int64_t *strides)
{
    int64_t step = 1;
    for (int a = type->rank - 1; a >= 0; a--) {
        strides[a] = step;
        step *= type->dims[a];
    }
}

void og_strides_channels_last(const og_type *type, int64_t *strides)
{
    int64_t step = 1;
    for (int i = 0; i < type->rank; i++) {
        int a = i == 0 ? 1 : i == type->rank - 1 ? 0 : type->rank - i;
        strides[a] = step;
        step *= type->dims[a];
    }
}

size_t og_layout_misaligned(const og_layout *layout, og_dtype dtype)
{
    return (size_t)(layout->offset * og_dtype_bits(dtype) / 8) % OG_ALIGNMENT;
}

og_tensor og_tensor_dense(const og_type *type, void *data)
{
    og_tensor t = {.type = *type, .data = data};
    og_strides_dense(type, t.strides);
    return t;
}

/* Are the strides those given, but for axes of one element? */
static bool lies_as(const og_tensor *t, const int64_t *strides)
{
    for (int a = 0; a < t->type.rank; a++)
        if (t->type.dims[a] == 0)
            return true;
    for (int a = 0; a < t->type.rank; a++)
        if (t->type.dims[a] != 1 && t->strides[a] != strides[a])
            return false;
    return true;
}

bool og_tensor_is_dense(const og_tensor *t)
{
    int64_t strides[OG_MAX_RANK];
    og_strides_dense(&t->type, strides);
    return lies_as(t, strides);
}

bool og_tensor_is_channels_last(const og_tensor *t)
{
    int64_t strides[OG_MAX_RANK];
    if (t->type.rank < 3)
        return false;
    og_strides_channels_last(&t->type, strides);
    return lies_as(t, strides);
}
