/* channels: which images lie channels-last (channels.h).
 *
 * A node can join a region if the device has a kernel that reads and writes all of its images
 * channels-last. The images of such a node belong together, and so, step by step, do all images
 * that are connected through such nodes: convolutions, what normalizes, activates, adds and pools
 * between them, and the gradients of all these. A region lies channels-last if one of its kernels
 * is faster so; where it ends, the layout pass copies. */
#include "runtime/passes/channels.h"

static bool is_elementwise(const og_node *n)
{
    return n->op->scalar || og_op_is(n->op, OG_DOMAIN, "Fused");
}

static bool is_image(const og_type *t)
{
    return t->rank >= 3 && t->dtype != OG_UNDEFINED;
}

bool og__image_in(const og_graph *g, const og_node *n, int k)
{
    const og_value *v = og_graph_value(g, n->in[k]);
    if (!v || !is_image(&v->type))
        return false;
    const og_type *space =
        n->program && n->program->fold ? &n->program->space : &g->values[n->out[0]]->type;
    return is_elementwise(n) ? og_type_same_dims(&v->type, space)
                             : og_op_image(n->op->images_in, k);
}

bool og__image_out(const og_graph *g, const og_node *n, int k)
{
    return is_image(&g->values[n->out[k]]->type) &&
           (is_elementwise(n) ? !n->program || k < n->program->n_out
                              : og_op_image(n->op->images_out, k));
}

typedef struct finder {
    const og_graph *g;
    const og_device *device;
    og_tensor *tensors; /* room for a call */
    int *parent;        /* by value: union and find; the root of a region has itself */
} finder;

static int region_of(const finder *f, int value)
{
    while (f->parent[value] != value)
        value = f->parent[value] = f->parent[f->parent[value]];
    return value;
}

static og_tensor tensor_of(const og_value *v, bool image)
{
    og_tensor t =
        og_tensor_dense(&v->type, v->kind == OG_VALUE_CONST ? (void *)(uintptr_t)v->data : NULL);
    if (image)
        og_strides_channels_last(&v->type, t.strides);
    return t;
}

/* The kernel that takes the node's images channels-last; NULL if there is none, or no image. */
static const og_kernel *kernel_of(finder *f, const og_node *n)
{
    og_call call = {.node = n,
                    .device = f->device,
                    .nx = n->n_in,
                    .ny = n->n_out,
                    .x = f->tensors,
                    .y = f->tensors + n->n_in};
    bool any = false;
    for (int k = 0; k < n->n_in; k++) {
        const og_value *v = og_graph_value(f->g, n->in[k]);
        bool image = og__image_in(f->g, n, k);
        call.x[k] = v ? tensor_of(v, image) : (og_tensor){0};
        any |= image;
    }
    for (int k = 0; k < n->n_out; k++) {
        bool image = og__image_out(f->g, n, k);
        call.y[k] = tensor_of(f->g->values[n->out[k]], image);
        any |= image;
    }
    return any ? og_device_kernel(f->device, &call, false) : NULL;
}

/* Does it matter how the image lies? Not if it has one channel, or one place. */
static bool matters(const og_graph *g, int value)
{
    og_tensor t = tensor_of(g->values[value], true);
    return !og_tensor_is_dense(&t);
}

/* All images of a node into one region; a value of it, -1 if none. */
static int join_images(finder *f, const og_node *n)
{
    int first = -1;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        bool out = k >= n->n_in;
        int value = out ? n->out[k - n->n_in] : n->in[k];
        if (!(out ? og__image_out(f->g, n, k - n->n_in) : og__image_in(f->g, n, k)) ||
            !matters(f->g, value))
            continue;
        if (first < 0)
            first = value;
        else
            f->parent[region_of(f, value)] = region_of(f, first);
    }
    return first;
}

bool og__channels_find(const og_graph *g, const bool *live, const og_device *device,
                       og_arena *arena, og__channels *channels)
{
    size_t values = (size_t)g->n_values + 1, nodes = (size_t)g->n_nodes + 1, operands = 1;
    for (int i = 0; i < g->n_nodes; i++)
        if ((size_t)g->nodes[i]->n_in + (size_t)g->nodes[i]->n_out > operands)
            operands = (size_t)g->nodes[i]->n_in + (size_t)g->nodes[i]->n_out;
    finder f = {.g = g, .device = device};
    f.tensors = og_arena_array(arena, operands, sizeof(og_tensor));
    f.parent = og_arena_array(arena, values, sizeof(int));
    int *image = og_arena_array(arena, nodes, sizeof(int)); /* by node: one of its images, or -1 */
    bool *faster = og_arena_array(arena, values, sizeof(bool)); /* by region */
    const og_kernel **kernels = og_arena_array(arena, nodes, sizeof(*kernels));
    channels->values = og_arena_array(arena, values, sizeof(bool));
    channels->nodes = og_arena_array(arena, nodes, sizeof(bool));
    if (!f.tensors || !f.parent || !image || !faster || !kernels || !channels->values ||
        !channels->nodes)
        return false;
    for (int v = 0; v < g->n_values; v++)
        f.parent[v] = v;
    for (int i = 0; i < g->n_nodes; i++) {
        kernels[i] = live[i] ? kernel_of(&f, g->nodes[i]) : NULL;
        image[i] = kernels[i] ? join_images(&f, g->nodes[i]) : -1;
    }
    for (int i = 0; i < g->n_nodes; i++)
        if (image[i] >= 0 && kernels[i]->flags & OG_KERNEL_PREFERS_CHANNELS_LAST)
            faster[region_of(&f, image[i])] = true;
    for (int i = 0; i < g->n_nodes; i++)
        channels->nodes[i] = image[i] >= 0 && faster[region_of(&f, image[i])];
    for (int v = 0; v < g->n_values; v++)
        channels->values[v] = faster[region_of(&f, v)];
    return true;
}
