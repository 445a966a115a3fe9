/* What mixed precision does after autodiff (precision.c): gradients of parameters that were never
 * rounded to half on their way, products that gradient rules of float32 ops are made of, and half
 * copies of parameters that outlive a micro-batch. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

static bool is_cast(const og_node *n)
{
    return og_op_is(n->op, NULL, "Cast");
}

/* ---- gradients */

static og_val again(og_graph *g, const og_node *n, const og_op *op, og_val x)
{
    int in[8];
    for (int i = 0; i < n->n_in; i++)
        in[i] = i == 0 && x.g ? x.id : n->in[i];
    g->origin = n->origin;
    const og_node *copy = og_graph_add_node(g, op, n->name, in, n->n_in, 1, n->attrs, n->n_attrs);
    return copy ? og_val_of(g, copy->out[0]) : OG_NONE;
}

static og_val widened(og_val v)
{
    og_graph *g = v.g;
    const og_node *n = og_value_of(v)->producer;
    if (DType(v) == OG_FLOAT)
        return v;
    if (!n || n->n_out != 1 || n->n_in < 1 || n->n_in > 8 || n->origin->role != OG_ROLE_GRADIENT)
        return Cast(v, OG_FLOAT);
    og_val x = og_val_of(g, n->in[0]);
    if (is_cast(n) && DType(x) == OG_FLOAT)
        return x;
    if (n->op->wide)
        return again(g, n, og_op_find(OG_DOMAIN, n->op->wide), OG_NONE);
    if (n->op->precision == OG_PRECISION_FLOAT && n->n_in <= 2) /* a sum over broadcast axes */
        return again(g, n, n->op, Cast(x, OG_FLOAT));
    if (n->op->view && !is_cast(n) && DType(x) == DType(v))
        return again(g, n, n->op, widened(x));
    if (n->op->scalar == OG_SCALAR_Add)
        return Add(widened(x), widened(og_val_of(g, n->in[1])));
    return Cast(v, OG_FLOAT);
}

og_val og_widen_gradient(og_val dx)
{
    const og_node *n = og_value_of(dx)->producer;
    if (!n || !is_cast(n) || DType(dx) != OG_FLOAT)
        return dx;
    og_val half = og_val_of(dx.g, n->in[0]);
    return og_dtype_is_half(DType(half)) ? widened(half) : dx;
}

/* ---- products and copies */

static bool is_float_product(const og_graph *g, const og_node *n)
{
    bool is = n->op->wide && n->n_in == 2 && n->origin && n->origin->role == OG_ROLE_GRADIENT;
    for (int i = 0; is && i < n->n_in; i++)
        is = g->values[n->in[i]]->type.dtype == OG_FLOAT;
    return is;
}

/* Views of the cast rather than a cast of views, which may lie in any order. */
static og_val narrowed(og_val v, og_dtype half)
{
    og_graph *g = v.g;
    const og_node *n = og_value_of(v)->producer;
    bool view = n && n->op->view && !is_cast(n) && n->n_out == 1 && n->n_in <= 8 &&
                DType(og_val_of(g, n->in[0])) == OG_FLOAT;
    return view ? again(g, n, n->op, narrowed(og_val_of(g, n->in[0]), half)) : Cast(v, half);
}

/* The product with a float32 result, of `in`. */
static og_val wide_product(og_graph *to, const og_node *product, const int in[2])
{
    to->origin = product->origin;
    const og_node *wide =
        og_graph_add_node(to, og_op_find(OG_DOMAIN, product->op->wide), product->name, in, 2, 1,
                          product->attrs, product->n_attrs);
    return wide ? og_val_of(to, wide->out[0]) : OG_NONE;
}

static void narrow_product(og_rewrite *rw, const og_node *n, og_dtype half)
{
    og_graph *to = rw->to;
    to->origin = n->origin;
    int in[2];
    for (int i = 0; i < 2; i++)
        in[i] = narrowed(og_rewrite_value(rw, n->in[i]), half).id;
    og_rewrite_set(rw, n->out[0], wide_product(to, n, in));
}

/* The product of halves that a Cast to float32 alone reads; NULL if the node is something else. */
static const og_node *cast_product(const og_match *m, const og_node *n)
{
    const og_value *x = is_cast(n) ? m->g->values[n->in[0]] : NULL;
    bool is = x && m->g->values[n->out[0]]->type.dtype == OG_FLOAT && x->producer &&
              x->producer->op->wide && x->producer->n_in == 2 && m->uses[x->id] == 1 &&
              og_dtype_is_half(x->type.dtype);
    return is ? x->producer : NULL;
}

static og_val widened_product(og_rewrite *rw, const og_node *product)
{
    const int in[2] = {og_rewrite_value(rw, product->in[0]).id,
                       og_rewrite_value(rw, product->in[1]).id};
    return wide_product(rw->to, product, in);
}

/* A product and its bias that a Cast to float32 alone reads: where the bias is among the sum's
 * inputs; -1 if the node is something else. The bias is a cast of float32 itself. */
static int cast_bias(const og_match *m, const og_node *n)
{
    const og_value *x = is_cast(n) ? m->g->values[n->in[0]] : NULL;
    const og_node *sum = x ? x->producer : NULL;
    if (!sum || sum->op->scalar != OG_SCALAR_Add || sum->n_in != 2 || m->uses[x->id] != 1 ||
        m->g->values[n->out[0]]->type.dtype != OG_FLOAT ||
        (x->type.dtype != OG_FLOAT16 && x->type.dtype != OG_BFLOAT16))
        return -1;
    for (int i = 0; i < 2; i++) {
        const og_value *product = m->g->values[sum->in[1 - i]], *bias = m->g->values[sum->in[i]];
        const og_node *p = product->producer;
        if (p && p->op->wide && p->n_in == 2 && m->uses[product->id] == 1 && bias->producer &&
            is_cast(bias->producer) && m->g->values[bias->producer->in[0]]->type.dtype == OG_FLOAT)
            return i;
    }
    return -1;
}

static void widen_sum(og_rewrite *rw, const og_match *m, const og_node *cast, int bias)
{
    const og_node *sum = m->g->values[cast->in[0]]->producer;
    const og_node *narrow = m->g->values[sum->in[bias]]->producer;
    og_val in[2];
    in[bias] = og_rewrite_value(rw, narrow->in[0]);
    in[1 - bias] = widened_product(rw, m->g->values[sum->in[1 - bias]]->producer);
    rw->to->origin = sum->origin;
    og_rewrite_set(rw, cast->out[0], Add(in[0], in[1]));
}

og_graph *og_pass_half_products(og_graph *g, og_dtype half)
{
    og_rewrite rw;
    og_match match;
    if (!og_rewrite_begin(&rw, g) || !og_match_begin(&match, g, rw.live))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        if (!rw.live[i])
            continue;
        const og_node *n = g->nodes[i], *product = cast_product(&match, n);
        int bias = cast_bias(&match, n);
        if (product)
            og_rewrite_set(&rw, n->out[0], widened_product(&rw, product));
        else if (bias >= 0)
            widen_sum(&rw, &match, n, bias);
        else if (is_float_product(g, n))
            narrow_product(&rw, n, half);
        else
            og_rewrite_copy(&rw, n);
    }
    return og_rewrite_end(&rw);
}

og_graph *og_pass_half_copies(og_graph *g, og_storages *storages, og_dtype half)
{
    og_rewrite rw;
    if (!og_rewrite_begin(&rw, g))
        return NULL;
    for (int i = 0; i < g->n_nodes && rw.to->error.status == OG_OK; i++) {
        const og_node *n = g->nodes[i];
        if (!rw.live[i])
            continue;
        const og_value *x = n->n_in ? og_graph_value(g, n->in[0]) : NULL;
        if (x && is_cast(n) && x->kind == OG_VALUE_STATE &&
            g->values[n->out[0]]->type.dtype == half &&
            storages->items[x->storage].kind == OG_STORAGE_PARAMETER)
            og_rewrite_set(&rw, n->out[0], og_storage_half_copy(rw.to, storages, x->storage, half));
        else
            og_rewrite_copy(&rw, n);
    }
    return og_rewrite_end(&rw);
}
