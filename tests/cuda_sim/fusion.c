/* Fusions: what cuDNN documents that it takes, held against each description and run. What is wrong
 * in itself is a fault; what is right and has no engine is refused, as on a card. */
#include <stdlib.h>

#include "kernels/cpu/internal.h"
#include "tests/cuda_sim/internal.h"

enum { VECTOR = 16, WANTED = 4099 }; /* bytes; the latter no multiple of anything */

typedef const og_cuda_tensor *tensor;

static int64_t count(tensor t)
{
    return og__product(t->dims, 0, t->rank);
}

static int operands(const int *list)
{
    int n = 0;
    for (int i = 0; i < OG_CUDA_OPERANDS; i++)
        n += list[i] != 0;
    return n;
}

static bool same_dims(tensor a, tensor b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    return same;
}

/* May a be read as one of b's dims? */
static bool broadcasts(tensor a, tensor b)
{
    bool goes = a->rank == b->rank;
    for (int i = 0; goes && i < a->rank; i++)
        goes = a->dims[i] == b->dims[i] || a->dims[i] == 1;
    return goes;
}

/* No two elements in one place; axes of one element lie anywhere. */
static bool apart(tensor t)
{
    for (int i = 0; i < t->rank; i++)
        for (int j = 0; j < t->rank; j++)
            if (i != j && t->dims[i] > 1 && t->dims[j] > 1 &&
                (t->strides[i] == t->strides[j] ||
                 (t->strides[i] > t->strides[j] && t->strides[i] < t->strides[j] * t->dims[j])))
                return false;
    return true;
}

/* [a, b, spatial …] without gaps, b innermost. */
static bool channels_last(tensor t)
{
    int64_t step = 1;
    for (int i = 0; i < t->rank; i++) {
        int a = i == 0 ? 1 : i == t->rank - 1 ? 0 : t->rank - i;
        if (t->dims[a] > 1 && t->strides[a] != step)
            return false;
        step *= t->dims[a];
    }
    return true;
}

static bool dense(tensor t)
{
    int64_t step = 1;
    for (int a = t->rank - 1; a >= 0; a--) {
        if (t->dims[a] > 1 && t->strides[a] != step)
            return false;
        step *= t->dims[a];
    }
    return true;
}

static bool same_strides(tensor a, tensor b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == 1 || a->strides[i] == b->strides[i];
    return same;
}

/* [1, channels, 1 …] of float32. */
static bool per_channel(tensor t, tensor image)
{
    return t->rank == image->rank && t->dtype == OG_FLOAT && t->dims[1] == image->dims[1] &&
           count(t) == t->dims[1];
}

/* ---- what is wrong in itself */

static const char *tensor_wrong(tensor t)
{
    bool known = t->dtype == OG_FLOAT || og_dtype_is_half(t->dtype) || t->dtype == OG_INT32 ||
                 t->dtype == OG_INT8 || t->dtype == OG_BOOL;
    if (!known)
        return "a tensor's element type";
    if (t->rank < 3 || t->rank > OG_CUDA_DIMS)
        return "a tensor of fewer than 3 or more than 5 axes";
    for (int a = 0; a < t->rank; a++)
        if (t->dims[a] < 1 || t->strides[a] < 1)
            return "a dimension or stride below 1";
    if (!apart(t))
        return "strides that put two elements in one place";
    if (t->place == OG_CUDA_CONSTANT && (count(t) != 1 || t->dtype != OG_FLOAT))
        return "a constant that is not one float32";
    if (t->blocked && (t->place != OG_CUDA_MEMORY || t->dtype != OG_FLOAT))
        return "an order of the library's own of what is not float32 in memory";
    return NULL;
}

static const char *convolution_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    bool data = o->kind == OG_CUDA_CONV_GRAD_DATA, weights = o->kind == OG_CUDA_CONV_GRAD_WEIGHTS;
    tensor x = &f->tensors[data ? o->out[0] : o->in[0]],
           w = &f->tensors[weights ? o->out[0] : o->in[1]],
           y = &f->tensors[data      ? o->in[0]
                           : weights ? o->in[1]
                                     : o->out[0]];
    if (x->rank != w->rank || x->rank != y->rank || x->rank < 4)
        return "a convolution has 2 or 3 spatial axes, in all its tensors";
    if (x->dims[0] != y->dims[0] || w->dims[0] != y->dims[1] || x->dims[1] % w->dims[1] != 0 ||
        w->dims[0] % (x->dims[1] / w->dims[1]) != 0)
        return "images or channels of a convolution do not fit";
    for (int a = 0; a < x->rank - 2; a++) {
        int64_t span = (w->dims[a + 2] - 1) * o->dilations[a] + 1,
                padded = x->dims[a + 2] + o->begins[a] + o->ends[a];
        if (o->steps[a] < 1 || o->dilations[a] < 1 || o->begins[a] < 0 || o->ends[a] < 0 ||
            padded < span || (padded - span) / o->steps[a] + 1 != y->dims[a + 2])
            return "a convolution's places do not fit";
    }
    if (!channels_last(x) || !channels_last(w) || !channels_last(y))
        return "a convolution's tensors lie channels-last and without gaps";
    if (f->tensors[o->in[0]].dtype != f->tensors[o->in[1]].dtype)
        return "operands of a convolution have one element type";
    return NULL;
}

static const char *product_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    tensor a = &f->tensors[o->in[0]], b = &f->tensors[o->in[1]], c = &f->tensors[o->out[0]];
    int r = a->rank;
    if (b->rank != r || c->rank != r || a->dims[r - 1] != b->dims[r - 2] ||
        c->dims[r - 2] != a->dims[r - 2] || c->dims[r - 1] != b->dims[r - 1])
        return "a product's matrices do not fit";
    for (int i = 0; i < r - 2; i++)
        if ((a->dims[i] != c->dims[i] && a->dims[i] != 1) ||
            (b->dims[i] != c->dims[i] && b->dims[i] != 1))
            return "a product's matrices are not as many";
    return a->dtype == b->dtype ? NULL : "operands of a product have one element type";
}

static const char *pointwise_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    bool one = o->mode == OG_CUDA_IDENTITY || o->mode == OG_CUDA_EXP || o->mode == OG_CUDA_LOG ||
               o->mode == OG_CUDA_RELU_FORWARD || o->mode == OG_CUDA_INDEX;
    tensor y = &f->tensors[o->out[0]];
    if (o->mode >= OG_CUDA_SUM)
        return "a pointwise operation whose mode is a reduction's";
    if (!o->in[0] || !o->in[1] != one || !o->in[2] == (o->mode == OG_CUDA_SELECT))
        return "a pointwise operation with too many or too few operands";
    for (int i = 0; i < 3; i++)
        if (o->in[i] && !broadcasts(&f->tensors[o->in[i]], y))
            return "operands of a pointwise operation do not fit";
    if (o->mode == OG_CUDA_INDEX && (o->axis < 0 || o->axis >= y->rank || y->dtype != OG_INT32))
        return "positions are int32, along an axis that there is";
    if ((o->mode == OG_CUDA_GREATER_EQUAL) != (y->dtype == OG_BOOL))
        return "a comparison, and nothing else, gives bools";
    if (o->mode == OG_CUDA_SELECT && f->tensors[o->in[2]].dtype != OG_BOOL)
        return "what is chosen by is a bool";
    return NULL;
}

static const char *norm_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    bool gradient = o->kind == OG_CUDA_NORM_GRAD;
    tensor x = &f->tensors[o->in[gradient]], y = &f->tensors[gradient ? o->in[0] : o->out[0]],
           dx = &f->tensors[o->out[0]];
    if (x->rank < 4 || (!channels_last(x) && !dense(x)) || !same_strides(x, y) ||
        !same_strides(x, dx))
        return "a normalization's images lie channels-last or dense, all alike";
    if (operands(o->in) != (gradient ? 5 : 4) || operands(o->out) != 3)
        return "a normalization with too few operands";
    if (!same_dims(x, y) || !same_dims(x, dx) || x->dtype != y->dtype || x->dtype != dx->dtype)
        return "a normalization's images differ";
    for (int i = gradient ? 2 : 1; i < (gradient ? 5 : 3); i++)
        if (!per_channel(&f->tensors[o->in[i]], x))
            return "a normalization's parameters are float32, one for each channel";
    for (int i = 1; i < 3; i++)
        if (!per_channel(&f->tensors[o->out[i]], x))
            return "a normalization's results are float32, one for each channel";
    if (!gradient && f->tensors[o->in[3]].place != OG_CUDA_CONSTANT)
        return "epsilon is a constant";
    return NULL;
}

static const char *pooling_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    bool gradient = o->kind == OG_CUDA_POOL_GRAD, most = o->mode == OG_CUDA_MAXIMUM;
    int place = gradient ? o->in[1] : o->out[1];
    tensor x = &f->tensors[gradient ? o->out[0] : o->in[0]],
           y = &f->tensors[gradient ? o->in[0] : o->out[0]], places = &f->tensors[place];
    int64_t elements = 1;
    if (o->mode < OG_CUDA_MAXIMUM)
        return "pooling whose mode is another operation's";
    if (x->rank < 4 || x->rank != y->rank || x->dims[0] != y->dims[0] || x->dims[1] != y->dims[1])
        return "pooling has 2 or 3 spatial axes, in all its tensors";
    for (int a = 0; a < x->rank - 2; a++) {
        int64_t room = x->dims[a + 2] + o->begins[a] + o->ends[a] - o->window[a];
        elements *= o->window[a];
        if (o->window[a] < 1 || o->steps[a] < 1 || o->begins[a] < 0 || o->ends[a] < 0 ||
            o->begins[a] >= o->window[a] || o->ends[a] >= o->window[a] || room < 0 ||
            room / o->steps[a] + 1 != y->dims[a + 2])
            return "a pooling's places do not fit";
    }
    if (!channels_last(x) || !channels_last(y))
        return "a pooling's images lie channels-last and without gaps";
    if (x->dtype != y->dtype)
        return "a pooling's images differ";
    if (place ? !most : most && gradient)
        return "the largest elements' places, and nothing else's, lead back";
    if (place && (places->dtype != OG_INT8 || !same_dims(places, y) || !same_strides(places, y)))
        return "places of largest elements are int8, and lie as the smaller images do";
    return place && elements > INT8_MAX + 1 ? "a window of more places than an int8 holds" : NULL;
}

static const char *operation_wrong(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    if (!o->in[0] || !o->out[0])
        return "an operation without operand or result";
    tensor x = &f->tensors[o->in[0]], y = &f->tensors[o->out[0]];
    switch (o->kind) {
    case OG_CUDA_CONV:
    case OG_CUDA_CONV_GRAD_DATA:
    case OG_CUDA_CONV_GRAD_WEIGHTS:
        return convolution_wrong(f, o);
    case OG_CUDA_MATMUL:
        return product_wrong(f, o);
    case OG_CUDA_POINTWISE:
        return pointwise_wrong(f, o);
    case OG_CUDA_REDUCTION:
        return o->mode < OG_CUDA_SUM  ? "a reduction whose mode is a pointwise one"
               : !broadcasts(y, x)    ? "a reduction's result does not fit"
               : y->dtype != OG_FLOAT ? "a reduction's result is float32"
                                      : NULL;
    case OG_CUDA_RESHAPE:
        /* what lies nowhere may be rounded on the way */
        return count(x) != count(y) || (x->dtype != y->dtype && x->place != OG_CUDA_VIRTUAL)
                   ? "a reshape to something else"
                   : NULL;
    case OG_CUDA_POOL:
    case OG_CUDA_POOL_GRAD:
        return pooling_wrong(f, o);
    default:
        return norm_wrong(f, o);
    }
}

const char *sim_fusion_wrong(const og_cuda_fusion *f)
{
    bool made[OG_CUDA_TENSORS] = {false}, used[OG_CUDA_TENSORS] = {false};
    if (f->n_tensors < 2 || f->n_tensors > OG_CUDA_TENSORS || f->n_operations < 1 ||
        f->n_operations > OG_CUDA_OPERATIONS)
        return "too many or too few tensors or operations";
    for (int i = 1; i < f->n_tensors; i++)
        if (tensor_wrong(&f->tensors[i]))
            return tensor_wrong(&f->tensors[i]);
    for (int k = 0; k < f->n_operations; k++) {
        const og_cuda_operation *o = &f->operations[k];
        for (int i = 0; i < OG_CUDA_OPERANDS; i++) {
            if (o->in[i] < 0 || o->in[i] >= f->n_tensors || o->out[i] < 0 ||
                o->out[i] >= f->n_tensors)
                return "an operand that there is not";
            if (o->in[i] && f->tensors[o->in[i]].place == OG_CUDA_VIRTUAL && !made[o->in[i]])
                return "a virtual operand that no operation before has made";
            used[o->in[i]] = true;
        }
        for (int i = 0; i < OG_CUDA_OPERANDS; i++) {
            if (o->out[i] && (made[o->out[i]] || f->tensors[o->out[i]].place == OG_CUDA_CONSTANT))
                return "a result that another operation has made, or a constant";
            made[o->out[i]] = true;
        }
        if (operation_wrong(f, o))
            return operation_wrong(f, o);
    }
    for (int i = 1; i < f->n_tensors; i++)
        if (!used[i] && (!made[i] || f->tensors[i].place == OG_CUDA_VIRTUAL))
            return "a tensor that nothing uses";
    return NULL;
}

/* ---- what has no engine */

enum { WIDEST_HEAD = 256 };

/* A product of attention, which 16-bit operands mean: their heads are whole units. */
static const char *product_refused(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    tensor a = &f->tensors[o->in[0]], b = &f->tensors[o->in[1]];
    for (int i = 0; i < 2; i++) {
        tensor t = i ? b : a;
        int64_t head = t->strides[t->rank - 1] == 1 ? t->dims[t->rank - 1] : t->dims[t->rank - 2];
        if (og_dtype_is_half(t->dtype) && t->place == OG_CUDA_MEMORY &&
            (head % (VECTOR / 2) != 0 || head > WIDEST_HEAD))
            return "heads that are no multiple of 8, or wider than 256";
    }
    return NULL;
}

/* Bytes for dense images of a normalization, which are turned round. */
static size_t turned(const og_cuda_fusion *f, const og_cuda_operation *o)
{
    tensor x = &f->tensors[o->in[0]];
    bool norm = o->kind == OG_CUDA_NORM || o->kind == OG_CUDA_NORM_GRAD;
    return norm && !channels_last(x)
               ? (size_t)(o->kind == OG_CUDA_NORM ? 2 : 3) * (size_t)count(x) * og__size(x->dtype)
               : 0;
}

/* As cuDNN 9.19's heuristic answers for compute capabilities 8.0 and 9.0. */
const char *sim_fusion_refused(const og_cuda_fusion *f)
{
    for (int k = 0; k < f->n_operations; k++) {
        const og_cuda_operation *o = &f->operations[k];
        tensor in = &f->tensors[o->in[0]], out = &f->tensors[o->out[0]];
        if (o->kind == OG_CUDA_MATMUL && product_refused(f, o))
            return product_refused(f, o);
        if ((o->kind == OG_CUDA_NORM || o->kind == OG_CUDA_NORM_GRAD) &&
            in->dims[1] * (int64_t)og__size(in->dtype) % VECTOR != 0)
            return "a normalization of channels that are not 16 bytes wide";
        if (turned(f, o) && turned(f, o) + WANTED > f->workspace_limit)
            return "a normalization of dense images that are larger than the workspace";
        /* all that cuDNN compiles for float32 is said to use tensor cores */
        if (f->arithmetic == OG_CUDA_FLOAT &&
            (o->kind == OG_CUDA_POOL_GRAD ||
             (o->kind == OG_CUDA_POOL && (o->out[1] || in->rank > 4))))
            return "pooling in float32 without TF32";
        if (o->kind > OG_CUDA_CONV_GRAD_WEIGHTS)
            continue;
        if (in->dtype != out->dtype && out->place == OG_CUDA_MEMORY)
            return "a convolution that writes another type than it reads";
        if (f->n_operations == 1)
            continue;
        bool weights = o->kind == OG_CUDA_CONV_GRAD_WEIGHTS;
        int64_t unit = VECTOR / (int64_t)og__size(in->dtype);
        tensor w = &f->tensors[weights ? o->out[0] : o->in[1]];
        if (o->kind != OG_CUDA_CONV && (w->dims[0] % unit != 0 || w->dims[1] % unit != 0))
            return "a gradient with another operation, of channels that are not 16 bytes wide";
        if (o->kind != OG_CUDA_CONV && out->rank != 4)
            return "a gradient with another operation, of three spatial axes";
    }
    return NULL;
}

/* ---- runs */

size_t sim_fusion_workspace(const og_cuda_fusion *f)
{
    size_t wanted = f->workspace_limit >= WANTED ? WANTED : 0;
    return wanted + turned(f, &f->operations[0]);
}

static size_t span(tensor t)
{
    int64_t last = 0;
    for (int a = 0; a < t->rank; a++)
        last += (t->dims[a] - 1) * t->strides[a];
    return (size_t)((last + 1) * og_dtype_bits(t->dtype) + 7) / 8;
}

int sim_fusion_ranges(const og_cuda_fused *plan, const sim_bindings *b, og_cuda_range *ranges)
{
    const og_cuda_fusion *f = &plan->fusion;
    bool written[OG_CUDA_TENSORS] = {false};
    int n = 0;
    for (int k = 0; k < f->n_operations; k++)
        for (int i = 0; i < OG_CUDA_OPERANDS; i++)
            written[f->operations[k].out[i]] = true;
    for (int i = 1; i < f->n_tensors; i++)
        if (f->tensors[i].place == OG_CUDA_MEMORY)
            ranges[n++] = (og_cuda_range){b->memory[i], span(&f->tensors[i]), written[i]};
    if (plan->workspace)
        ranges[n++] = (og_cuda_range){b->workspace, plan->workspace, true};
    return n;
}

const char *sim_bindings_wrong(const og_cuda_fused *plan, const sim_bindings *b)
{
    const og_cuda_fusion *f = &plan->fusion;
    og_cuda_range ranges[OG_CUDA_TENSORS + 1];
    for (int i = 1; i < f->n_tensors; i++) {
        if (f->tensors[i].place != OG_CUDA_MEMORY)
            continue;
        if (!b->memory[i])
            return "a tensor has no address";
        if ((uintptr_t)b->memory[i] % VECTOR != 0)
            return "a tensor is not aligned to 16 bytes";
    }
    if (plan->workspace && (!b->workspace || b->workspace_bytes < plan->workspace))
        return "the workspace is smaller than the plan needs";
    if ((uintptr_t)b->workspace % 256 != 0)
        return "the workspace is not aligned to 256 bytes";
    int n = sim_fusion_ranges(plan, b, ranges);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const char *p = ranges[i].at, *q = ranges[j].at;
            if (i != j && ranges[i].write && p < q + ranges[j].bytes && q < p + ranges[i].bytes)
                return "what it writes overlaps what else it was given";
        }
    return NULL;
}
