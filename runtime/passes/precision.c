/* precision: the forward graph in mixed precision. Casts are inserted so that
 *
 * - ops of class half (products, convolutions) read and write the half type;
 * - ops of class float (reductions, softmax, norms), the losses, and what a definition of such an
 *   op is made of, read and write float32; recurrences, which are products for the most part, have
 *   a wide op that reads the operands of these in half, and batch normalization keeps images in
 * half that are half, where the device has a kernel for that;
 * - all others follow: half if what they read is half, float32 if any of it is float32. Constants
 *   have no say, nor has a parameter that is added to a product (its bias): they are brought to
 *   what the others are. So the stream that residual blocks add to is float32 from where position
 *   embeddings are added on.
 *
 * Only float32 is touched; states, inputs and outputs keep their types. The gradient of a Cast is a
 * Cast back, so gradients of half values are half, and those of parameters float32: the half copy
 * of a parameter is one Cast, which og_pass_half_copies turns into a state. */
#include <math.h>

#include "runtime/base/half.h"
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

enum { PASSIVE = 1, CONSTANT = 2 }; /* a parameter, a constant or a view of one; no parameter */
enum { MOST_OPERANDS = 8 };

typedef struct precision {
    og_rewrite rw;
    const og_device *device;
    og_dtype half;
    int *halves, *floats; /* by value of the old graph: the new value in that type; -1: not made */
    uint8_t *traits;      /* by value of the old graph */
} precision;

static og_precision class_of(const og_node *n)
{
    if (n->op->precision != OG_PRECISION_FOLLOW)
        return n->op->precision;
    const og_origin *o = n->origin;
    if (!o)
        return OG_PRECISION_FOLLOW;
    const og_op *composite = o->op && *o->op ? og_op_find(NULL, o->op) : NULL;
    bool is_float =
        o->role == OG_ROLE_LOSS || (composite && composite->precision == OG_PRECISION_FLOAT);
    return is_float ? OG_PRECISION_FLOAT : OG_PRECISION_FOLLOW;
}

static const og_value *old_value(const precision *p, int id)
{
    return og_graph_value(p->rw.from, id);
}

static bool is_float32(const precision *p, int id)
{
    return id >= 0 && old_value(p, id)->type.dtype == OG_FLOAT;
}

static bool is_view(const og_node *n)
{
    return n->op->view && n->op->precision == OG_PRECISION_FOLLOW && !og_op_is(n->op, NULL, "Cast");
}

/* ---- constants */

static uint16_t narrowed(og_dtype half, float x)
{
    return half == OG_FLOAT16 ? og_float_to_half(x) : og_float_to_bfloat(x);
}

/* Does the half type hold the constant's elements without making finite ones infinite? */
static bool fits(const precision *p, const og_value *v)
{
    const float *x = v->data;
    float most = p->half == OG_FLOAT16 ? 65504.0F : 0x1.FEp127F;
    for (int64_t i = 0, n = og_type_elements(&v->type); i < n; i++)
        if (fabsf(x[i]) > most && !isinf(x[i]))
            return false;
    return true;
}

static og_val half_constant(precision *p, const og_value *v)
{
    og_graph *to = p->rw.to;
    int64_t n = og_type_elements(&v->type);
    uint16_t *data = og_arena_array(to->arena, (size_t)n + 1, sizeof(*data));
    if (!data) {
        og_fail_memory(&to->error, (size_t)n * sizeof(*data), "a constant in half precision");
        return OG_NONE;
    }
    for (int64_t i = 0; i < n; i++)
        data[i] = narrowed(p->half, ((const float *)v->data)[i]);
    og_type type = v->type;
    type.dtype = p->half;
    return og_graph_add_const(to, v->name, &type, data);
}

/* ---- values in one type or the other */

static og_val in_half(precision *p, int id);

/* A view of a parameter: the same view of its half copy. */
static og_val half_view(precision *p, const og_node *n, int out)
{
    og_graph *to = p->rw.to;
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    if (!in) {
        og_fail_memory(&to->error, sizeof(int), "mixed precision");
        return OG_NONE;
    }
    in[0] = in_half(p, n->in[0]).id;
    for (int i = 1; i < n->n_in; i++)
        in[i] = og_rewrite_value(&p->rw, n->in[i]).id;
    to->origin = n->origin;
    const og_node *copy =
        og_graph_add_node(to, n->op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    return copy ? og_val_of(to, copy->out[out]) : OG_NONE;
}

static og_val in_half(precision *p, int id)
{
    const og_value *v = old_value(p, id);
    og_val now = og_rewrite_value(&p->rw, id);
    if (!now.g || DType(now) == p->half)
        return now;
    if (p->halves[id] < 0) {
        const og_node *producer = v->kind == OG_VALUE_NODE ? v->producer : NULL;
        og_val made;
        if (v->kind == OG_VALUE_CONST)
            made = half_constant(p, v);
        else if (producer && p->traits[id] & PASSIVE && is_view(producer) &&
                 is_float32(p, producer->in[0]))
            made = half_view(p, producer, v->out_index);
        else
            made = Cast(now, p->half);
        p->halves[id] = made.id;
    }
    return og_val_of(p->rw.to, p->halves[id]);
}

static og_val in_float(precision *p, int id)
{
    og_val now = og_rewrite_value(&p->rw, id);
    if (!now.g || DType(now) == OG_FLOAT)
        return now;
    if (p->floats[id] < 0)
        p->floats[id] = Cast(now, OG_FLOAT).id;
    return og_val_of(p->rw.to, p->floats[id]);
}

/* ---- nodes */

static bool reads_elements(const og_node *n, int input)
{
    return input > 7 || !(n->op->type_only >> input & 1);
}

/* Is the value's producer of class half, so that a parameter next to it is its bias? */
static bool is_product(const og_value *v)
{
    return v->kind == OG_VALUE_NODE && v->producer->op->precision == OG_PRECISION_HALF;
}

/* What the node computes in: the half type, float32, or as it is where nothing is float32. */
static og_dtype target_of(const precision *p, const og_node *n)
{
    og_precision kind = class_of(n);
    bool any = false, half = kind == OG_PRECISION_HALF, wide = kind == OG_PRECISION_FLOAT;
    bool parameters = false, products = true;
    for (int i = 0; i < n->n_in; i++) {
        int id = n->in[i];
        if (!is_float32(p, id) || !reads_elements(n, i))
            continue;
        any = true;
        const og_value *v = old_value(p, id);
        if (v->kind == OG_VALUE_CONST) {
            wide = wide || !fits(p, v);
        } else if (kind == OG_PRECISION_FOLLOW && p->traits[id] & PASSIVE) {
            parameters = parameters || !(p->traits[id] & CONSTANT);
        } else if (kind == OG_PRECISION_FOLLOW) {
            og_dtype now = p->rw.to->values[p->rw.map[id]]->type.dtype;
            half = half || now == p->half;
            wide = wide || now == OG_FLOAT;
            products = products && is_product(v);
        }
    }
    wide = wide || (parameters && !products);
    return !any ? OG_UNDEFINED : half && !wide ? p->half : OG_FLOAT;
}

static void mark(precision *p, const og_node *n)
{
    bool passive = class_of(n) == OG_PRECISION_FOLLOW, constant = passive, view = is_view(n);
    for (int i = 0; i < n->n_in; i++) {
        if (!is_float32(p, n->in[i]))
            continue;
        passive = passive && p->traits[n->in[i]] & PASSIVE;
        constant = constant && p->traits[n->in[i]] & CONSTANT;
    }
    for (int k = 0; k < n->n_out; k++)
        p->traits[n->out[k]] =
            (uint8_t)((passive && (view || constant) ? PASSIVE : 0) | (constant ? CONSTANT : 0));
}

static bool reads_half(const og_op *op, int input)
{
    return input < 8 && op->half_in >> input & 1;
}

/* The op that computes this one of class float in mixed precision: its wide form, if it has one
 * that the device has kernels for and no constant operand of a product is too large for the half
 * type. */
static const og_op *op_of(const precision *p, const og_node *n, og_dtype target)
{
    const og_op *wide = target == OG_FLOAT && n->op->precision == OG_PRECISION_FLOAT && n->op->wide
                            ? og_op_find(OG_DOMAIN, n->op->wide)
                            : n->op;
    if (!og_device_names(p->device, wide))
        return n->op;
    for (int i = 0; i < n->n_in; i++) {
        const og_value *v = is_float32(p, n->in[i]) ? old_value(p, n->in[i]) : NULL;
        if (v && reads_half(wide, i) && v->kind == OG_VALUE_CONST && !fits(p, v))
            return n->op;
    }
    return wide;
}

static og_tensor operand(const precision *p, int id, bool image)
{
    if (id < 0)
        return (og_tensor){0};
    og_type type = old_value(p, id)->type;
    if (image)
        type.dtype = p->half;
    og_tensor t = og_tensor_dense(&type, NULL);
    if (image)
        og_strides_channels_last(&type, t.strides);
    return t;
}

/* Does the node keep its images in half (OG_HALF_IMAGES)? */
static bool keeps_images(precision *p, const og_node *n)
{
    og_tensor x[MOST_OPERANDS], y[MOST_OPERANDS];
    og_call call = {.node = n, .device = p->device, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y};
    if (!(n->op->flags & OG_HALF_IMAGES) || n->n_in > MOST_OPERANDS || n->n_out > MOST_OPERANDS)
        return false;
    for (int i = 0; i < n->n_in; i++) {
        bool image = og_op_image(n->op->images_in, i);
        if (!is_float32(p, n->in[i]) ||
            (image && DType(og_rewrite_value(&p->rw, n->in[i])) != p->half))
            return false;
        x[i] = operand(p, n->in[i], image);
    }
    for (int k = 0; k < n->n_out; k++)
        y[k] = operand(p, n->out[k], og_op_image(n->op->images_out, k));
    return og_device_kernel(p->device, &call, false) != NULL;
}

static void write_node(precision *p, const og_node *n)
{
    og_graph *to = p->rw.to;
    og_dtype target = target_of(p, n);
    const og_op *op = op_of(p, n, target);
    bool images = keeps_images(p, n);
    bool same = target != p->half && op == n->op;
    for (int i = 0; i < n->n_in; i++)
        if (is_float32(p, n->in[i]))
            same = same && DType(og_rewrite_value(&p->rw, n->in[i])) == OG_FLOAT;
    mark(p, n);
    if (same) {
        og_rewrite_copy(&p->rw, n);
        return;
    }
    int *in = og_arena_array(to->arena, (size_t)n->n_in + 1, sizeof(int));
    if (!in) {
        og_fail_memory(&to->error, sizeof(int), "mixed precision");
        return;
    }
    to->origin = n->origin;
    for (int i = 0; i < n->n_in; i++) {
        bool cast = is_float32(p, n->in[i]) && reads_elements(n, i);
        bool half =
            target == p->half || reads_half(op, i) || (images && og_op_image(n->op->images_in, i));
        in[i] = (!cast  ? og_rewrite_value(&p->rw, n->in[i])
                 : half ? in_half(p, n->in[i])
                        : in_float(p, n->in[i]))
                    .id;
    }
    to->origin = n->origin;
    const og_node *copy =
        og_graph_add_node(to, op, n->name, in, n->n_in, n->n_out, n->attrs, n->n_attrs);
    for (int k = 0; copy && k < n->n_out; k++)
        og_rewrite_set(&p->rw, n->out[k], og_val_of(to, copy->out[k]));
}

/* Outputs and the new contents of states are float32 again. */
static void settle(precision *p, int id)
{
    if (is_float32(p, id))
        og_rewrite_set(&p->rw, id, in_float(p, id));
}

og_graph *og_pass_precision(og_graph *g, const og_device *device, og_dtype half)
{
    precision p = {.device = device, .half = half};
    size_t n = (size_t)g->n_values + 1;
    p.halves = og_arena_array(g->arena, n, sizeof(int));
    p.floats = og_arena_array(g->arena, n, sizeof(int));
    p.traits = og_arena_array(g->arena, n, sizeof(uint8_t));
    if (!p.halves || !p.floats || !p.traits || !og_rewrite_begin(&p.rw, g)) {
        og_fail_memory(&g->error, n * sizeof(int), "mixed precision");
        return g;
    }
    for (int i = 0; i < g->n_values; i++) {
        og_value_kind kind = g->values[i]->kind;
        p.halves[i] = p.floats[i] = -1;
        p.traits[i] = kind == OG_VALUE_CONST ? PASSIVE | CONSTANT : kind == OG_VALUE_STATE;
    }
    for (int i = 0; i < g->n_nodes && p.rw.to->error.status == OG_OK; i++)
        if (p.rw.live[i])
            write_node(&p, g->nodes[i]);
    for (int i = 0; i < g->n_outputs; i++)
        settle(&p, g->outputs[i].value);
    for (int i = 0; i < g->n_states; i++)
        settle(&p, g->states[i].out);
    return og_rewrite_end(&p.rw);
}
