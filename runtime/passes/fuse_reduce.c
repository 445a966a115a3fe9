/* Reductions that end a program: one of the values that a group of the fuse pass computes is
 * reduced while it is computed, and is not written at all if nothing else reads it.
 *
 * The reduction may see the value through views that keep the order of its elements, such as the
 * Reshape that makes rows of a batch of sequences. Whatever reads its result depends on the group,
 * and so is in none that the group waits for: joining makes no cycle. */
#include "runtime/graph/build.h"
#include "runtime/passes/fuse.h"

/* A value as [before, kept, after], of which the axes in the middle are kept. */
typedef struct shape {
    int64_t before, kept, after;
} shape;

/* False if what is kept lies around something that is reduced, or the axes are not known. */
static bool read_shape(const og_graph *g, const og_node *n, shape *s)
{
    const og_type *x = &g->values[n->in[0]]->type;
    const og_value *list = n->n_in > 1 ? og_graph_value(g, n->in[1]) : NULL;
    int64_t axes[OG_MAX_RANK];
    bool reduced[OG_MAX_RANK] = {false};
    int n_axes = list ? og_value_ints(list, OG_MAX_RANK, axes) : 0;
    if (n_axes < 0 || (n_axes == 0 && og_attr_int(n, "noop_with_empty_axes", 0)))
        return false;
    for (int i = 0; i < n_axes; i++)
        reduced[axes[i] < 0 ? axes[i] + x->rank : axes[i]] = true;
    *s = (shape){1, 1, 1};
    for (int a = 0; a < x->rank; a++) {
        bool gone = reduced[a] || n_axes == 0;
        if (!gone && x->dims[a] != 1 && s->after != 1)
            return false;
        *(!gone ? &s->kept : s->kept == 1 ? &s->before : &s->after) *= x->dims[a];
    }
    return true;
}

/* The axes of a type, of the same elements in the same order, that are before and after. */
static bool find_axes(const og_type *t, const shape *s, uint32_t *axes)
{
    int64_t before = 1, kept = 1;
    *axes = 0;
    for (int a = 0; a < t->rank; a++) {
        bool gone = before < s->before || kept == s->kept;
        if (gone)
            *axes |= (uint32_t)1 << a;
        if (before < s->before)
            before *= t->dims[a];
        else if (kept < s->kept)
            kept *= t->dims[a];
    }
    return before == s->before && kept == s->kept;
}

static bool is_read(const og__fuse *f, int value)
{
    const og_graph *g = f->g;
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value == value)
            return true;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out == value)
            return true;
    for (int i = 0; i < f->n; i++)
        for (int k = 0; f->rw.live[i] && k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] == value && f->fold[f->group[i]] != i)
                return true;
    return false;
}

/* Does the device reduce a value of this type in the kernel that computes such values anyway? (One
 * that reduces elsewhere, such as on the host, is none.) */
static bool device_folds(const og__fuse *f, og_fold fold, og_dtype domain, const og_type *space,
                         uint32_t axes)
{
    static const og_instr instr = {OG_SCALAR_Identity, 0, -1, -1};
    static const int16_t result = 1;
    og_program program = {domain, 1, 1, 1, &instr, &result};
    og_type kept = {.dtype = space->dtype};
    for (int a = 0; a < space->rank; a++)
        if (!(axes >> a & 1))
            kept.dims[kept.rank++] = space->dims[a];
    og_tensor x = og_tensor_dense(space, NULL), y[2] = {x, og_tensor_dense(&kept, NULL)};
    og_node node = {.op = og_op_find(OG_DOMAIN, "Fused"), .name = "", .program = &program};
    og_call call = {.node = &node, .device = f->device, .nx = 1, .ny = 1, .x = &x, .y = y};
    const og_kernel *anyway = og_device_kernel(f->device, &call, false);
    program.fold = fold;
    program.folded = result;
    program.folded_axes = axes;
    program.space = *space;
    call.ny = 2;
    return anyway && og_device_kernel(f->device, &call, false) == anyway;
}

static void join(og__fuse *f, int node)
{
    const og_graph *g = f->g;
    const og_node *n = g->nodes[node];
    int value = n->in[0], p = og__fuse_producer(f, value);
    while (p >= 0 && og_node_keeps_order(g, g->nodes[p])) {
        value = g->nodes[p]->in[0];
        p = og__fuse_producer(f, value);
    }
    if (p < 0 || f->domain[p] == OG_UNDEFINED || f->domain[p] == OG_INT64)
        return;
    const og_type *space = &g->values[value]->type;
    int group = f->group[p];
    shape s;
    uint32_t axes;
    if (f->fold[group] >= 0 || !og_dtype_is_float(space->dtype) || og_type_elements(space) <= 0 ||
        !og__fuse_same_pass(f, node, p) || !read_shape(g, n, &s) || !find_axes(space, &s, &axes) ||
        !device_folds(f, n->op->fold, f->domain[p], space, axes))
        return;
    f->group[node] = group;
    f->fold[group] = node;
    f->folded[group] = value;
    f->axes[group] = axes;
    if (f->last[group] < node)
        f->last[group] = node;
    /* Views that nothing else reads are gone. */
    for (int v = n->in[0]; v != value && !is_read(f, v);) {
        int view = g->values[v]->producer->id;
        f->rw.live[view] = false;
        v = g->nodes[view]->in[0];
    }
}

void og__fuse_reductions(og__fuse *f)
{
    for (int i = 0; i < f->n; i++)
        if (f->rw.live[i] && f->g->nodes[i]->op->fold)
            join(f, i);
}
