/* What all devices share: finding a kernel for a call, and row-major strides. */
#include "runtime/device/device.h"

#include <string.h>

/* Does a kernel's op, "Name" or "ai.ongrad::Name", name this row? */
static bool names_row(const char *kernel_op, const og_op *op)
{
    if (op->domain && op->domain[0]) {
        size_t n = strlen(op->domain);
        return strncmp(kernel_op, op->domain, n) == 0 && kernel_op[n] == ':' &&
               kernel_op[n + 1] == ':' && strcmp(kernel_op + n + 2, op->name) == 0;
    }
    return strcmp(kernel_op, op->name) == 0;
}

/* A kernel that does not read strides wants every input dense row-major. */
static bool takes_layouts(const og_kernel *kernel, const og_call *call)
{
    if (kernel->flags & OG_KERNEL_STRIDED)
        return true;
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].type.dtype != OG_UNDEFINED && !og_tensor_is_dense(&call->x[i]))
            return false;
    return true;
}

const og_kernel *og_device_kernel(const og_device *device, const og_call *call, bool reference)
{
    for (const og_kernel_table *t = device->tables; t->family; t++)
        for (const og_kernel *k = t->kernels; k->op; k++)
            if ((!reference || k->flags & OG_KERNEL_REFERENCE) &&
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

void og_strides_dense(const og_type *type, int64_t *strides)
{
    int64_t step = 1;
    for (int a = type->rank - 1; a >= 0; a--) {
        strides[a] = step;
        step *= type->dims[a];
    }
}

og_tensor og_tensor_dense(const og_type *type, void *data)
{
    og_tensor t = {.type = *type, .data = data};
    og_strides_dense(type, t.strides);
    return t;
}

bool og_tensor_is_dense(const og_tensor *t)
{
    int64_t step = 1;
    for (int a = t->type.rank - 1; a >= 0; a--) {
        if (t->type.dims[a] == 0)
            return true;
        if (t->type.dims[a] != 1 && t->strides[a] != step)
            return false;
        step *= t->type.dims[a];
    }
    return true;
}
