/* fuse: elementwise nodes that share an iteration space become one `Fused` node with a program.
 *
 * Every node starts as a group of its own. In topological order, an elementwise node joins the
 * groups of its producers where domain and shape agree and no path leaves the joined group and
 * comes back: reach[a] is the set of groups that group a depends on, kept transitively closed. A
 * reduction of what a group computes then joins it (fuse_reduce.c). A group is written where its
 * last member stood, or earlier if another group needs it (fuse_write.c). */
#include "runtime/passes/fuse.h"
#include "runtime/passes/passes.h"

#define MAX_NODES 40000 /* reach takes n² / 8 bytes */

static uint64_t *reach_of(const og__fuse *f, int group)
{
    return f->reach + (size_t)group * (size_t)f->words;
}
static bool has(const uint64_t *set, int i)
{
    return set[i >> 6] >> (i & 63) & 1;
}
static void put(uint64_t *set, int i)
{
    set[i >> 6] |= (uint64_t)1 << (i & 63);
}
static void drop(uint64_t *set, int i)
{
    set[i >> 6] &= ~((uint64_t)1 << (i & 63));
}

static og_dtype domain_of(og_dtype d)
{
    if (d == OG_FLOAT || d == OG_FLOAT16 || d == OG_BFLOAT16)
        return OG_FLOAT;
    if (d == OG_DOUBLE)
        return OG_DOUBLE;
    return og_dtype_is_int(d) && og_dtype_bits(d) >= 8 ? OG_INT64 : OG_UNDEFINED;
}

static bool loadable(og_dtype d)
{
    return d == OG_BOOL || domain_of(d) != OG_UNDEFINED;
}

/* A cast to float or double is a load that converts, one from what float holds to half a store
 * that does. */
static bool is_float_cast(const og_node *n, og_dtype from, og_dtype to)
{
    bool half =
        (to == OG_FLOAT16 || to == OG_BFLOAT16) && (from == OG_BOOL || domain_of(from) == OG_FLOAT);
    return (to == OG_FLOAT || to == OG_DOUBLE || half) &&
           (og_op_is(n->op, NULL, "Cast") || og_op_is(n->op, NULL, "CastLike"));
}

og_scalar og__fuse_rounding(og_dtype d)
{
    return d == OG_FLOAT16    ? OG_SCALAR_RoundFloat16
           : d == OG_BFLOAT16 ? OG_SCALAR_RoundBfloat16
                              : OG_SCALAR_NONE;
}

int og__fuse_operands(const og_node *n)
{
    return n->op->scalar ? og_scalar_arity(n->op->scalar) : 1;
}

/* The domain a node computes in: that of its operands that are not bool. */
static og_dtype node_domain(const og_graph *g, const og_node *n)
{
    if (n->n_out != 1 || n->n_in < 1)
        return OG_UNDEFINED;
    og_dtype out = g->values[n->out[0]]->type.dtype;
    bool cast = n->in[0] >= 0 && is_float_cast(n, g->values[n->in[0]]->type.dtype, out);
    if (!cast && (!n->op->scalar || n->n_in != og_scalar_arity(n->op->scalar)))
        return OG_UNDEFINED;
    og_dtype domain = OG_UNDEFINED;
    for (int i = 0; i < og__fuse_operands(n); i++) {
        if (n->in[i] < 0)
            return OG_UNDEFINED;
        og_dtype in = g->values[n->in[i]]->type.dtype;
        if (!loadable(in))
            return OG_UNDEFINED;
        if (in == OG_BOOL)
            continue;
        if (domain != OG_UNDEFINED && domain != domain_of(in)) /* Pow of a float and an integer */
            return OG_UNDEFINED;
        domain = domain_of(in);
    }
    if (cast)
        domain = domain_of(out);
    if (domain == OG_UNDEFINED)
        domain = OG_FLOAT; /* logic on bools */
    if (domain == OG_INT64 && n->op->scalar && !og_scalar_has_int(n->op->scalar))
        return OG_UNDEFINED;
    return domain;
}

/* Inside a program only values of the domain's own type, bool, and half types, for which there is
 * an instruction that rounds, may pass from instruction to instruction. */
static bool passes_in_register(const og__fuse *f, int node)
{
    og_dtype out = f->g->values[f->g->nodes[node]->out[0]]->type.dtype;
    return out == f->domain[node] || out == OG_BOOL ||
           (og__fuse_rounding(out) != OG_SCALAR_NONE && f->domain[node] == OG_FLOAT);
}

int og__fuse_producer(const og__fuse *f, int value)
{
    const og_node *p = value < 0 ? NULL : f->g->values[value]->producer;
    return p && f->rw.live[p->id] ? p->id : -1;
}

static bool is_forward(const og_node *n)
{
    return !n->origin || n->origin->role == OG_ROLE_FORWARD || n->origin->role == OG_ROLE_LOSS;
}

bool og__fuse_same_pass(const og__fuse *f, int a, int b)
{
    const og_node *x = f->g->nodes[a], *y = f->g->nodes[b];
    return og_node_is_hoisted(x) == og_node_is_hoisted(y) &&
           (!f->recomputes || is_forward(x) == is_forward(y));
}

static bool same_space(const og__fuse *f, int a, int b)
{
    const og_type *s = &f->g->values[f->g->nodes[a]->out[0]]->type;
    const og_type *t = &f->g->values[f->g->nodes[b]->out[0]]->type;
    return og_type_same_dims(s, t);
}

/* Is there a third group between a and b, one way or the other? */
static bool path_between(const og__fuse *f, int a, int b)
{
    const uint64_t *ra = reach_of(f, a), *rb = reach_of(f, b);
    for (int w = 0; w < f->words; w++)
        for (uint64_t bits = ra[w] | rb[w]; bits; bits &= bits - 1) {
            int h = w * 64 + __builtin_ctzll(bits);
            if (h == a || h == b)
                continue;
            const uint64_t *rh = reach_of(f, h);
            if ((has(ra, h) && has(rh, b)) || (has(rb, h) && has(rh, a)))
                return true;
        }
    return false;
}

static void merge_groups(og__fuse *f, int a, int b)
{
    uint64_t *ra = reach_of(f, a), *rb = reach_of(f, b);
    for (int w = 0; w < f->words; w++)
        ra[w] |= rb[w];
    drop(ra, a);
    drop(ra, b);
    for (int i = 0; i < f->n; i++)
        if (f->group[i] == b)
            f->group[i] = a;
    f->count[a] += f->count[b];
    if (f->last[b] > f->last[a])
        f->last[a] = f->last[b];
    for (int i = 0; i < f->n; i++) { /* whoever depended on either depends on what both depend on */
        uint64_t *r = reach_of(f, i);
        if (f->group[i] != i || i == a || (!has(r, a) && !has(r, b)))
            continue;
        drop(r, b);
        put(r, a);
        for (int w = 0; w < f->words; w++)
            r[w] |= ra[w];
    }
}

/* Distinct values a group reads from outside and those it must hand out. */
static int operand_count(const og__fuse *f, int a, int b)
{
    int values[4 * OG__MAX_OPERANDS], n = 0;
    for (int i = 0; i <= f->last[a] || i <= f->last[b]; i++) {
        if (f->group[i] != a && f->group[i] != b)
            continue;
        const og_node *node = f->g->nodes[i];
        for (int k = 0; k < og__fuse_operands(node); k++) {
            int p = og__fuse_producer(f, node->in[k]), seen = 0;
            if (p >= 0 && (f->group[p] == a || f->group[p] == b))
                continue;
            while (seen < n && values[seen] != node->in[k])
                seen++;
            if (seen == n && n < 4 * OG__MAX_OPERANDS)
                values[n++] = node->in[k];
        }
    }
    return n;
}

static bool try_join(og__fuse *f, int node, int producer)
{
    int a = f->group[node], b = f->group[producer];
    if (a == b)
        return true;
    if (f->domain[producer] != f->domain[node] || !og__fuse_same_pass(f, node, producer) ||
        !passes_in_register(f, producer) || !same_space(f, node, producer) ||
        f->count[a] + f->count[b] > OG__MAX_INSTRUCTIONS || path_between(f, a, b) ||
        operand_count(f, a, b) > OG__MAX_OPERANDS)
        return false;
    merge_groups(f, a < b ? a : b, a < b ? b : a);
    return true;
}

static void group_nodes(og__fuse *f)
{
    for (int i = 0; i < f->n; i++) {
        const og_node *n = f->g->nodes[i];
        uint64_t *r = reach_of(f, i);
        f->group[i] = f->last[i] = i;
        f->count[i] = 1;
        f->fold[i] = -1;
        f->domain[i] = f->rw.live[i] ? node_domain(f->g, n) : OG_UNDEFINED;
        for (int k = 0; k < n->n_in; k++) {
            int p = og__fuse_producer(f, n->in[k]);
            if (p < 0)
                continue;
            int h = f->group[p];
            const uint64_t *rh = reach_of(f, h);
            for (int w = 0; w < f->words; w++)
                r[w] |= rh[w];
            put(r, h);
        }
        if (f->domain[i] == OG_UNDEFINED)
            continue;
        for (int k = og__fuse_operands(n) - 1; k >= 0; k--) {
            int p = og__fuse_producer(f, n->in[k]);
            if (p >= 0 && f->domain[p] != OG_UNDEFINED)
                try_join(f, i, p);
        }
    }
}

og_graph *og_pass_fuse(og_graph *g, const og_device *device)
{
    og__fuse f = {.g = g, .device = device, .n = g->n_nodes, .words = (g->n_nodes + 63) / 64 + 1};
    size_t n = (size_t)f.n + 1;
    if (f.n > MAX_NODES)
        return g;
    og_arena *scratch = og_arena_new();
    if (!scratch || !og_rewrite_begin(&f.rw, g)) {
        og_arena_free(scratch);
        return NULL;
    }
    f.group = og_arena_array(scratch, n, sizeof(int));
    f.last = og_arena_array(scratch, n, sizeof(int));
    f.count = og_arena_array(scratch, n, sizeof(int));
    f.domain = og_arena_array(scratch, n, sizeof(og_dtype));
    f.fold = og_arena_array(scratch, n, sizeof(int));
    f.folded = og_arena_array(scratch, n, sizeof(int));
    f.axes = og_arena_array(scratch, n, sizeof(uint32_t));
    f.emitted = og_arena_array(scratch, n, sizeof(bool));
    f.reach = og_arena_array(scratch, n * (size_t)f.words, sizeof(uint64_t));
    og_graph *to = f.rw.to;
    if (!f.group || !f.last || !f.count || !f.fold || !f.folded || !f.axes || !f.domain ||
        !f.emitted || !f.reach) {
        og_fail_memory(&to->error, n * (size_t)f.words * 8, "the fuse pass");
    } else {
        for (int i = 0; i < f.n; i++)
            f.recomputes |= g->nodes[i]->origin && g->nodes[i]->origin->role == OG_ROLE_RECOMPUTE;
        group_nodes(&f);
        og__fuse_reductions(&f);
        for (int i = 0; i < f.n && to->error.status == OG_OK; i++)
            if (f.rw.live[i] && f.last[f.group[i]] == i)
                og__fuse_emit(&f, f.group[i]);
        og_rewrite_end(&f.rw);
    }
    og_arena_free(scratch);
    return to;
}
