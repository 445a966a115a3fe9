/* matmul_epilogue: products of a training step that do in the same kernel what is done before or
 * after them, where the device has kernels for that (MatMulEpilogue, ops/matmul.h):
 *
 *     forward      with a layer's bias and activation; what the latter's gradient reads is written
 *     dX = dY Wᵀ   times the slope of the activation before it, with that layer's bias gradient
 *     dW = Xᵀ dY   with the bias gradient, Σ dY
 *
 * It is decided before anything is computed again for the backward pass, and so that whatever that
 * is (recompute.c) does not change a bit: what the backward pass reads of a Gelu that a product
 * computes is always computed again, from x, by a program. Nothing is kept that is not kept anyway:
 * x is what a product writes, and of a Relu the gradient reads y only where another gradient does.
 *
 * Left alone: a bias in float32 (epilogue.c adds it), or one whose sum only a program of the
 * forward pass reads; the sum of a dY that a program computes, which adds it up on its way. */
#include "ops/matmul.h"
#include "runtime/device/device.h"
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

enum { INPUTS = 3, OUTPUTS = 2 };

/* What becomes one node. */
typedef struct part {
    og_matmul_form form;
    const og_node *product, *last; /* last: the node in whose place it is written */
    int operand;                   /* the third input; -1: none */
    int outputs[OUTPUTS];          /* the values that it gives; -1: not that one */
    bool written;
} part;

typedef struct epilogues {
    og_rewrite rw;
    const og_graph *g;
    const og_device *device;
    og_match match;
    part **part_of; /* by node: what it is a part of; NULL: it is copied */
    bool *gone;     /* by node: a view inside a part */
    bool *copied;   /* by node */
    part **gelu_of; /* by value: the part that computes this Gelu */
    int *again;     /* by value: the same for the backward pass, of the new graph; -1: not yet */
} epilogues;

static bool is_backward(const og_node *n)
{
    return n->origin &&
           (n->origin->role == OG_ROLE_GRADIENT || n->origin->role == OG_ROLE_ACCUMULATE);
}

static const og_type *type_of(const epilogues *e, int value)
{
    return &e->g->values[value]->type;
}

static const og_node *producer(const epilogues *e, int value)
{
    const og_node *n = value < 0 ? NULL : e->g->values[value]->producer;
    return n && e->rw.live[n->id] ? n : NULL;
}

/* What the value shows, all of it and in order. */
static int root_of(const epilogues *e, int value)
{
    for (const og_node *n = producer(e, value); n && og_node_keeps_order(e->g, n);
         n = producer(e, value))
        value = n->in[0];
    return value;
}

/* MatMul by one matrix, or WideMatMul, that is no part of anything yet. */
static bool is_product(const epilogues *e, const og_node *n, bool wide)
{
    const og_op *matmul = og_op_find(NULL, "MatMul");
    return n && !e->part_of[n->id] &&
           (n->op == matmul || (wide && og_op_is(n->op, OG_DOMAIN, matmul->wide))) &&
           type_of(e, n->in[0])->rank >= 2 && type_of(e, n->in[1])->rank == 2 &&
           og_type_elements(type_of(e, n->out[0])) > 0;
}

/* The product whose result the value shows, and nothing else reads. */
static const og_node *only_product(const epilogues *e, int value)
{
    const og_node *n = producer(e, value);
    while (n && e->match.uses[value] == 1 && og_node_keeps_order(e->g, n)) {
        value = n->in[0];
        n = producer(e, value);
    }
    return is_product(e, n, false) && e->match.uses[value] == 1 ? n : NULL;
}

/* ---- what the device takes */

static og_tensor operand_as_it_lies(const epilogues *e, int value)
{
    og_tensor t = og_tensor_dense(type_of(e, value), NULL);
    const og_node *n = producer(e, value);
    if (n && og_node_swaps_last(e->g, n)) {
        og_tensor from = og_tensor_dense(type_of(e, n->in[0]), NULL);
        for (int a = 0; a < t.type.rank; a++)
            t.strides[a] = from.strides[a < t.type.rank - 2 ? a : 2 * t.type.rank - 3 - a];
    }
    return t;
}

static void set_attributes(const epilogues *e, const part *p, og_attr attributes[2])
{
    bool wide = type_of(e, p->product->in[0])->dtype != type_of(e, p->product->out[0])->dtype;
    attributes[0] = S("form", og_matmul_form_names[p->form]);
    attributes[1] = I("wide", wide);
}

/* Does the device have a kernel for it, as operands lie, and if they were copied? */
static bool device_takes(const epilogues *e, const part *p)
{
    og_attr attributes[2];
    const og_type *y = type_of(e, p->product->out[0]), *b = type_of(e, p->product->in[1]);
    const int64_t *columns = &b->dims[1];
    og_type sum = og_type_make(y->dtype, 1, p->form == OG_MATMUL_SUM_A ? &y->dims[0] : columns),
            operand = p->form < OG_MATMUL_RELU_GRAD ? sum : *y;
    og_tensor outputs[OUTPUTS] = {og_tensor_dense(y, NULL),
                                  og_tensor_dense(p->form == OG_MATMUL_GELU ? y : &sum, NULL)};
    set_attributes(e, p, attributes);
    og_node node = {.op = og_op_find(OG_DOMAIN, "MatMulEpilogue"),
                    .name = "",
                    .attrs = attributes,
                    .n_attrs = 2,
                    .n_in = p->operand < 0 ? 2 : INPUTS,
                    .n_out = p->outputs[1] < 0 ? 1 : OUTPUTS};
    for (int dense = 0; dense < 2; dense++) {
        og_tensor inputs[INPUTS] = {{.offset = 0}};
        for (int i = 0; i < 2; i++)
            inputs[i] = dense ? og_tensor_dense(type_of(e, p->product->in[i]), NULL)
                              : operand_as_it_lies(e, p->product->in[i]);
        inputs[2] = og_tensor_dense(&operand, NULL);
        og_call call = {.node = &node,
                        .device = e->device,
                        .nx = node.n_in,
                        .ny = node.n_out,
                        .x = inputs,
                        .y = outputs};
        if (!og_device_kernel(e->device, &call, false))
            return false;
    }
    return true;
}

/* Takes it if the device does. shown: the value through which nodes[0] sees the product's result.
 */
static bool take(epilogues *e, const part *found, int shown, const og_node *const *nodes, int n)
{
    if (!device_takes(e, found))
        return false;
    part *p = og_arena_alloc(e->rw.to->arena, sizeof *p);
    if (!p) {
        og_fail_memory(&e->rw.to->error, sizeof *p, "the matmul_epilogue pass");
        return false;
    }
    *p = *found;
    e->part_of[p->product->id] = p;
    for (int i = 0; i < n; i++)
        e->part_of[nodes[i]->id] = p;
    for (const og_node *v = producer(e, shown); v && v != p->product; v = producer(e, v->in[0]))
        e->gone[v->id] = true;
    if (p->form == OG_MATMUL_GELU)
        e->gelu_of[p->outputs[0]] = p;
    return true;
}

/* ---- forward: a product, Add, and an activation */

/* How a value is read. */
typedef struct readers {
    const og_node *relu, *gelu; /* that it alone, or beside gradients, goes through */
    int forward, backward;
    bool forward_programs; /* elementwise nodes of the forward pass … */
    bool forward_others;   /* … views and others; outputs of the graph, states */
} readers;

static readers readers_of(const epilogues *e, int value)
{
    const og_graph *g = e->g;
    readers r = {NULL};
    int uses = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; e->rw.live[i] && k < g->nodes[i]->n_in; k++) {
            const og_node *n = g->nodes[i];
            if (n->in[k] != value)
                continue;
            uses++;
            if (is_backward(n)) {
                r.backward++;
                continue;
            }
            r.forward++;
            r.relu = n->op->scalar == OG_SCALAR_Relu ? n : r.relu;
            r.gelu = n->op->scalar == OG_SCALAR_GeluTanh ? n : r.gelu;
            *(n->op->scalar ? &r.forward_programs : &r.forward_others) = true;
        }
    r.forward_others |= uses != e->match.uses[value];
    return r;
}

/* Are the readers in the forward pass products and the like, which read memory and have no part in
 * a program or a view? */
static bool is_read_whole(const epilogues *e, int value)
{
    const og_graph *g = e->g;
    int uses = 0;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; e->rw.live[i] && k < g->nodes[i]->n_in; k++) {
            const og_node *n = g->nodes[i];
            if (n->in[k] != value)
                continue;
            uses++;
            if (!is_backward(n) && (n->op->scalar || n->op->view))
                return false;
        }
    return uses > 0 && uses == e->match.uses[value];
}

static void find_layer(epilogues *e, const og_node *add)
{
    const og_type *h = type_of(e, add->out[0]);
    for (int k = 0; k < 2; k++) {
        const og_node *product = producer(e, add->in[k]);
        const og_type *bias = type_of(e, add->in[1 - k]);
        if (!is_product(e, product, false) || e->match.uses[add->in[k]] != 1 ||
            !og_type_equal(type_of(e, add->in[k]), h) || bias->dtype != h->dtype ||
            bias->rank < 1 || bias->dims[bias->rank - 1] != h->dims[h->rank - 1] ||
            og_type_elements(bias) != h->dims[h->rank - 1])
            continue;
        readers r = readers_of(e, add->out[0]);
        part p = {.product = product,
                  .last = add,
                  .operand = add->in[1 - k],
                  .outputs = {add->out[0], -1}};
        const og_node *nodes[] = {add, r.relu ? r.relu : r.gelu};
        if (r.relu && e->match.uses[add->out[0]] == 1) {
            p.form = OG_MATMUL_RELU;
            p.outputs[0] = r.relu->out[0];
            if (take(e, &p, add->in[k], nodes, 2))
                return;
        }
        if (r.gelu && r.forward == 1 && r.backward && !r.forward_others &&
            is_read_whole(e, r.gelu->out[0])) {
            p.form = OG_MATMUL_GELU;
            p.outputs[0] = r.gelu->out[0];
            p.outputs[1] = add->out[0];
            if (take(e, &p, add->in[k], nodes, 2))
                return;
        }
        p.form = OG_MATMUL_BIAS;
        p.outputs[0] = add->out[0];
        p.outputs[1] = -1;
        if (og_dtype_is_half(h->dtype) && (r.forward_others || r.backward))
            take(e, &p, add->in[k], nodes, 1);
        return;
    }
}

/* ---- dX = dY Wᵀ, and the slope of what is before */

/* Is the value written by a product, with its bias or without? Nothing else is kept instead then.
 */
static bool is_layer(const epilogues *e, int value)
{
    const og_node *n = producer(e, root_of(e, value));
    if (n && n->op->scalar == OG_SCALAR_Add)
        for (int k = 0; k < 2; k++) {
            const og_node *m = producer(e, n->in[k]);
            if (m && m->op->flops)
                return true;
        }
    return n && n->op->flops;
}

/* Does a product of the backward pass read the value, through views? */
static bool is_kept_for_product(const epilogues *e, int value, int depth)
{
    const og_graph *g = e->g;
    for (int i = 0; i < g->n_nodes && depth > 0; i++)
        for (int k = 0; e->rw.live[i] && k < g->nodes[i]->n_in; k++) {
            const og_node *n = g->nodes[i];
            if (n->in[k] != value)
                continue;
            if (n->op->view ? k == 0 && is_kept_for_product(e, n->out[0], depth - 1)
                            : n->op->flops && is_backward(n))
                return true;
        }
    return false;
}

/* Where(y > 0, dy, 0): y; -1: it is something else. */
static int relu_gradient(const epilogues *e, const og_node *n)
{
    double zero;
    if (n->op->scalar != OG_SCALAR_Where)
        return -1;
    const og_node *test = producer(e, n->in[0]);
    if (!test || test->op->scalar != OG_SCALAR_Greater ||
        !og_match_constant(&e->match, n->in[2], &zero) || zero != 0 ||
        !og_match_constant(&e->match, test->in[1], &zero) || zero != 0)
        return -1;
    return test->in[0];
}

/* Does the node sum up a value over all axes but the last? */
static bool sums_rows(const epilogues *e, const og_node *n)
{
    const og_type *x = type_of(e, n->in[0]), *y = type_of(e, n->out[0]);
    int64_t axes[OG_MAX_RANK];
    const og_value *list = n->n_in > 1 ? og_graph_value(e->g, n->in[1]) : NULL;
    int n_axes = list ? og_value_ints(list, OG_MAX_RANK, axes) : 0;
    if (n->op->fold != OG_FOLD_SUM || !og_op_is(n->op, NULL, "ReduceSum") || x->rank < 2 ||
        n_axes < 1 || og_type_elements(y) != x->dims[x->rank - 1])
        return false;
    for (int i = 0; i < n_axes; i++)
        if (axes[i] == -1 || axes[i] == x->rank - 1)
            return false;
    return true;
}

/* The one that adds up the rows of a value of n columns, in its own type; NULL: none. */
static const og_node *row_sum(const epilogues *e, int value)
{
    const og_type *x = type_of(e, value);
    for (int i = 0; i < e->g->n_nodes; i++) {
        const og_node *n = e->g->nodes[i];
        if (!e->rw.live[i] || !n->op->fold || !sums_rows(e, n) || root_of(e, n->in[0]) != value ||
            e->part_of[i])
            continue;
        const og_type *from = type_of(e, n->in[0]);
        if (from->dims[from->rank - 1] == x->dims[x->rank - 1] && from->dtype == x->dtype)
            return n;
    }
    return NULL;
}

static void find_slope(epilogues *e, const og_node *n)
{
    bool gelu = og_op_is(n->op, OG_DOMAIN, "GeluTanhGrad");
    int x = gelu ? n->in[1] : relu_gradient(e, n), dy = gelu          ? n->in[0]
                                                        : n->n_in > 1 ? n->in[1]
                                                                      : -1;
    if (x < 0 || !is_backward(n))
        return;
    const og_node *product = only_product(e, dy);
    const og_type *type = type_of(e, n->out[0]);
    if (!product || !og_type_equal(type_of(e, x), type) || !og_type_equal(type_of(e, dy), type) ||
        type->dims[type->rank - 1] != type_of(e, product->in[1])->dims[1] ||
        (gelu ? !is_layer(e, x) : !is_kept_for_product(e, x, 3)))
        return;
    const og_node *sum = row_sum(e, n->out[0]);
    const og_node *nodes[] = {n, sum};
    part p = {.form = gelu ? OG_MATMUL_GELU_GRAD : OG_MATMUL_RELU_GRAD,
              .product = product,
              .last = n,
              .operand = x,
              .outputs = {n->out[0], sum ? sum->out[0] : -1}};
    if (sum && take(e, &p, dy, nodes, 2))
        return;
    p.outputs[1] = -1;
    take(e, &p, dy, nodes, 1);
}

/* ---- dW = Xᵀ dY, and Σ dY */

/* Would a program add up the value while it computes it? */
static bool is_folded(const epilogues *e, int value)
{
    const og_node *n = producer(e, value);
    return n && (n->op->scalar || og_op_is(n->op, NULL, "Cast")) && !e->part_of[n->id];
}

/* Its rows are what the sum is over: a [m, k] is dYᵀ, b [k, n] is dY. */
static bool is_operand(const epilogues *e, const og_node *product, int k, int dy, int64_t columns)
{
    int value = product->in[k];
    const og_node *n = producer(e, value);
    if (k == 0) {
        if (!n || !og_node_swaps_last(e->g, n) || type_of(e, value)->rank != 2)
            return false;
        value = n->in[0];
    }
    const og_type *t = type_of(e, value);
    return t->rank == 2 && t->dims[1] == columns && root_of(e, value) == dy;
}

static void find_sum(epilogues *e, const og_node *sum)
{
    if (!sums_rows(e, sum) || !is_backward(sum))
        return;
    const og_type *from = type_of(e, sum->in[0]);
    int64_t columns = from->dims[from->rank - 1];
    int dy = root_of(e, sum->in[0]);
    const og_node *cast = producer(e, dy);
    if (cast && og_op_is(cast->op, NULL, "Cast") &&
        og_dtype_is_half(type_of(e, cast->in[0])->dtype))
        dy = root_of(e, cast->in[0]);
    if (is_folded(e, dy))
        return;
    for (int i = 0; i < e->g->n_nodes; i++) {
        const og_node *n = e->g->nodes[i];
        if (!e->rw.live[i] || !is_product(e, n, true) || !is_backward(n) ||
            type_of(e, n->out[0])->dtype != from->dtype)
            continue;
        for (int k = 0; k < 2; k++) {
            const og_node *other = producer(e, root_of(e, n->in[1 - k]));
            part p = {.form = k ? OG_MATMUL_SUM_B : OG_MATMUL_SUM_A,
                      .product = n,
                      .last = n,
                      .operand = -1,
                      .outputs = {n->out[0], sum->out[0]}};
            if (other && og_node_swaps_last(e->g, other))
                other = producer(e, root_of(e, other->in[0]));
            if (is_operand(e, n, k, dy, columns) && (!other || other->id < sum->id) &&
                take(e, &p, n->out[0], &sum, 1))
                return;
        }
    }
}

/* ---- writing */

static void write(epilogues *e, const og_node *n);

static void write_producers(epilogues *e, const int *in, int n)
{
    for (int i = 0; i < n; i++)
        if (producer(e, in[i]))
            write(e, producer(e, in[i]));
}

/* The value as node n reads it: the backward pass has Gelus of its own. */
static og_val read_by(epilogues *e, const og_node *n, int value)
{
    const part *gelu = value < 0 ? NULL : e->gelu_of[value];
    if (!gelu || !is_backward(n))
        return og_rewrite_value(&e->rw, value);
    if (e->again[value] < 0) {
        e->rw.to->origin = n->origin;
        e->again[value] =
            Op(OG_DOMAIN "::GeluTanh", In(og_rewrite_value(&e->rw, gelu->outputs[1]))).id;
    }
    return og_val_of(e->rw.to, e->again[value]);
}

static og_val shaped(og_val v, const og_type *as)
{
    return !v.g || og_type_same_dims(og_type_of(v), as) ? v : Reshape(v, as->rank, as->dims);
}

static void write_part(epilogues *e, part *p)
{
    og_graph *to = e->rw.to;
    const int reads[INPUTS] = {p->product->in[0], p->product->in[1], p->operand};
    const og_type *y = type_of(e, p->product->out[0]);
    int in[INPUTS];
    p->written = true;
    write_producers(e, reads, INPUTS);
    for (int i = 0; i < INPUTS; i++)
        in[i] = read_by(e, p->last, reads[i]).id;
    to->origin = p->last->origin;
    if (p->operand >= 0) {
        og_type bias = og_type_make(y->dtype, 1, &y->dims[y->rank - 1]);
        in[2] = shaped(og_val_of(to, in[2]), p->form < OG_MATMUL_RELU_GRAD ? &bias : y).id;
    }
    og_attr *attributes = og_arena_array(to->arena, 2, sizeof *attributes);
    if (!attributes) {
        og_fail_memory(&to->error, 2 * sizeof *attributes, "the matmul_epilogue pass");
        return;
    }
    set_attributes(e, p, attributes);
    const og_node *n = og_graph_add_node(to, og_op_find(OG_DOMAIN, "MatMulEpilogue"),
                                         p->product->name, in, p->operand < 0 ? 2 : INPUTS,
                                         p->outputs[1] < 0 ? 1 : OUTPUTS, attributes, 2);
    for (int k = 0; n && k < n->n_out; k++)
        og_rewrite_set(&e->rw, p->outputs[k],
                       shaped(og_val_of(to, n->out[k]), type_of(e, p->outputs[k])));
}

static void write(epilogues *e, const og_node *n)
{
    part *p = e->part_of[n->id];
    if (p) {
        if (!p->written)
            write_part(e, p);
        return;
    }
    if (e->copied[n->id] || e->gone[n->id] || e->rw.to->error.status != OG_OK)
        return;
    e->copied[n->id] = true;
    write_producers(e, n->in, n->n_in);
    for (int k = 0; k < n->n_in; k++)
        read_by(e, n, n->in[k]);
    og_node *copy = og_rewrite_copy(&e->rw, n);
    for (int k = 0; copy && k < n->n_in; k++)
        copy->in[k] = read_by(e, n, n->in[k]).id;
}

/* ---- the pass */

static bool allocate(epilogues *e)
{
    size_t nodes = (size_t)e->g->n_nodes + 1, values = (size_t)e->g->n_values + 1;
    og_arena *arena = e->rw.to->arena;
    e->part_of = og_arena_array(arena, nodes, sizeof(part *));
    e->gone = og_arena_array(arena, nodes, sizeof(bool));
    e->copied = og_arena_array(arena, nodes, sizeof(bool));
    e->gelu_of = og_arena_array(arena, values, sizeof(part *));
    e->again = og_arena_array(arena, values, sizeof(int));
    for (int v = 0; e->again && v < e->g->n_values; v++)
        e->again[v] = -1;
    return e->part_of && e->gone && e->copied && e->gelu_of && e->again;
}

static bool trains(const og_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->origin && g->nodes[i]->origin->role == OG_ROLE_GRADIENT)
            return true;
    return false;
}

og_graph *og_pass_matmul_epilogue(og_graph *g, const og_device *device)
{
    epilogues e = {.g = g, .device = device};
    if (!trains(g) || !og_device_names(device, og_op_find(OG_DOMAIN, "MatMulEpilogue")))
        return g;
    if (!og_rewrite_begin(&e.rw, g) || !og_match_begin(&e.match, g, e.rw.live))
        return NULL;
    if (!allocate(&e)) {
        og_fail_memory(&e.rw.to->error, (size_t)g->n_values, "the matmul_epilogue pass");
        return e.rw.to;
    }
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (e.rw.live[i] && !e.part_of[i] && n->op->scalar == OG_SCALAR_Add && !is_backward(n))
            find_layer(&e, n);
        else if (e.rw.live[i] && !e.part_of[i] && n->op->scalar)
            find_slope(&e, n);
    }
    for (int i = 0; i < g->n_nodes; i++)
        if (e.rw.live[i] && !e.part_of[i] && g->nodes[i]->op->fold)
            find_sum(&e, g->nodes[i]);
    for (int i = 0; i < g->n_nodes && e.rw.to->error.status == OG_OK; i++) {
        const part *p = e.part_of[i];
        if (e.rw.live[i] && (!p || p->last == g->nodes[i]))
            write(&e, g->nodes[i]);
    }
    return og_rewrite_end(&e.rw);
}
