/* products: matrix products in the form that is computed with the least memory traffic.
 *
 * A product that is only read transposed is computed transposed, (A B)ᵀ = Bᵀ Aᵀ: operands may have
 * any strides, results are dense, so the transpose of a result costs a copy and those of operands
 * nothing. Gradients of weights that the file keeps transposed are of this form. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"
#include "runtime/passes/passes.h"

typedef struct products {
    og_rewrite rw;
    const og_graph *g;
    og_match match;
    int *transposed; /* by node, a product: the Transpose that is its only reader; else -1 */
} products;

static bool is_product(const og_op *op)
{
    const og_op *matmul = og_op_find(NULL, "MatMul");
    return op == matmul || op == og_op_find(OG_DOMAIN, matmul->wide);
}

/* The node that made `value`, if it is a live product of matrices (no vectors) that is read once.
 */
static const og_node *single_product(const products *p, int value)
{
    const og_node *m = value < 0 ? NULL : p->g->values[value]->producer;
    if (!m || !p->rw.live[m->id] || p->match.uses[value] != 1 || !is_product(m->op))
        return NULL;
    for (int k = 0; k < 2; k++)
        if (p->g->values[m->in[k]]->type.rank < 2)
            return NULL;
    return m;
}

static void find_transposed(products *p)
{
    for (int i = 0; i < p->g->n_nodes; i++) {
        const og_node *n = p->g->nodes[i];
        if (!p->rw.live[i] || !og_node_swaps_last(p->g, n))
            continue;
        const og_node *m = single_product(p, n->in[0]);
        if (m)
            p->transposed[m->id] = i;
    }
}

static void write_transposed(products *p, const og_node *product, const og_node *transpose)
{
    og_val a = og_rewrite_value(&p->rw, product->in[0]),
           b = og_rewrite_value(&p->rw, product->in[1]);
    p->rw.to->origin = product->origin;
    const int in[2] = {SwapLast(b).id, SwapLast(a).id};
    const og_node *n = og_graph_add_node(p->rw.to, product->op, "", in, 2, 1, NULL, 0);
    if (n)
        og_rewrite_set(&p->rw, transpose->out[0], og_val_of(p->rw.to, n->out[0]));
}

og_graph *og_pass_products(og_graph *g)
{
    products p = {.g = g};
    if (!og_rewrite_begin(&p.rw, g) || !og_match_begin(&p.match, g, p.rw.live))
        return NULL;
    p.transposed = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(int));
    bool *done = og_arena_array(g->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    if (!p.transposed || !done) {
        og_fail_memory(&p.rw.to->error, sizeof(int) * (size_t)g->n_nodes, "the products pass");
        return p.rw.to;
    }
    for (int i = 0; i < g->n_nodes; i++)
        p.transposed[i] = -1;
    find_transposed(&p);
    for (int i = 0; i < g->n_nodes && p.rw.to->error.status == OG_OK; i++) {
        if (!p.rw.live[i] || done[i])
            continue;
        if (p.transposed[i] >= 0) {
            write_transposed(&p, g->nodes[i], g->nodes[p.transposed[i]]);
            done[p.transposed[i]] = true;
        } else {
            og_rewrite_copy(&p.rw, g->nodes[i]);
        }
    }
    return og_rewrite_end(&p.rw);
}
