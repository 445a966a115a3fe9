/* A transpose of a tensor whose axes are merged for it and split again after, as PyTorch's exporter
 * writes attention, becomes one Transpose, which costs no copy where the merged form is not a view:
 *     keys:  [a, b, m, n] → [a b, m, n] → [a b, n, m] → [a, b, n, m]
 *     heads: [s, b, h d] → [s, b h, d] → [b h, s, d] → [b, h, s, d] */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* The dims of what is merged, of the whole, and of what it is split into. */
typedef struct merged {
    const int64_t *x, *middle, *y;
    int x_rank, y_rank;
} merged;

static bool is_keys(const merged *d)
{
    int lead = d->x_rank - 2;
    return lead >= 1 && d->y_rank == d->x_rank &&
           memcmp(d->x, d->y, sizeof(int64_t) * (size_t)lead) == 0 && d->middle[1] == d->x[lead] &&
           d->middle[2] == d->x[lead + 1] && d->y[lead] == d->x[lead + 1] &&
           d->y[lead + 1] == d->x[lead];
}

static bool is_heads(const merged *d)
{
    return d->x_rank == 3 && d->y_rank == 4 && d->y[0] == d->x[1] && d->y[2] == d->x[0] &&
           d->y[1] * d->y[3] == d->x[2] && d->middle[0] == d->x[0] && d->middle[2] == d->y[3];
}

bool og__pattern_transpose(const og_match *m, og_rewrite *rw, const og_node *n)
{
    if (!og_op_is(n->op, NULL, "Reshape"))
        return false;
    const og_node *transpose = og_match_inner(m, n->in[0], "Transpose");
    const og_node *merge = transpose ? og_match_inner(m, transpose->in[0], "Reshape") : NULL;
    const int64_t *perm;
    if (!merge || og_attr_ints(transpose, "perm", &perm) != 3)
        return false;
    const og_type *x = &m->g->values[merge->in[0]]->type, *y = &m->g->values[n->out[0]]->type;
    const merged d = {x->dims, m->g->values[merge->out[0]]->type.dims, y->dims, x->rank, y->rank};
    bool keys = perm[0] == 0 && perm[1] == 2 && is_keys(&d);
    if (!keys && !(perm[0] == 1 && perm[1] == 0 && is_heads(&d)))
        return false;
    og_val from = og_rewrite_value(rw, merge->in[0]);
    if (!keys) {
        const int64_t split[] = {y->dims[2], y->dims[0], y->dims[1], y->dims[3]};
        from = Transpose(Reshape(from, 4, split), ((int[]){1, 2, 0, 3}));
    }
    og_rewrite_set(rw, n->out[0], keys ? SwapLast(from) : from);
    return true;
}
