/* A tensor read only by Gathers of one index each that together take all of an axis, as PyTorch's
 * exporter writes the packed projection of attention: one Split, whose gradient is one Concat
 * instead of as many tensors of zeros, filled in part and added. */
#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

/* The place along its axis that a Gather with a constant scalar index takes; -1: it is none. */
static int64_t place_of(const og_match *m, const og_node *n, int *axis)
{
    const og_value *index = n->n_in == 2 && n->in[1] >= 0 ? m->g->values[n->in[1]] : NULL;
    int64_t i;
    if (!og_op_is(n->op, NULL, "Gather") || !index || index->type.rank != 0 ||
        og_value_ints(index, 1, &i) != 1)
        return -1;
    const og_type *x = &m->g->values[n->in[0]]->type;
    *axis = (int)og_attr_int(n, "axis", 0);
    *axis += *axis < 0 ? x->rank : 0;
    i += i < 0 ? x->dims[*axis] : 0;
    return i >= 0 && i < x->dims[*axis] ? i : -1;
}

bool og__pattern_split(const og_match *m, og_rewrite *rw, const og_node *n)
{
    int axis, other, found = 0;
    const og_node *readers[OG_MATCH_MAX] = {0};
    if (place_of(m, n, &axis) < 0)
        return false;
    if (rw->map[n->out[0]] >= 0) /* found with an earlier one */
        return true;
    int64_t parts = m->g->values[n->in[0]]->type.dims[axis];
    if (parts < 2 || parts > OG_MATCH_MAX || m->uses[n->in[0]] != parts)
        return false;
    for (int i = n->id; i < m->g->n_nodes && found < parts; i++) {
        const og_node *r = m->g->nodes[i];
        if (!rw->live[i] || r->n_in < 1 || r->in[0] != n->in[0])
            continue;
        int64_t place = place_of(m, r, &other);
        if (place < 0 || other != axis || readers[place])
            return false;
        readers[place] = r;
        found++;
    }
    if (found < parts)
        return false;
    og_val x = og_rewrite_value(rw, n->in[0]);
    og_outs split = Ops("Split", (int)parts, In(x), I("axis", axis), I("num_outputs", parts));
    og_val axes = og_const_ints(rw->to, 1, (int64_t[]){axis});
    for (int i = 0; i < parts; i++)
        og_rewrite_set(rw, readers[i]->out[0], Op("Squeeze", In(split.y[i], axes)));
    return true;
}
