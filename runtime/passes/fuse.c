/* fuse: elementwise nodes that share an iteration space become one `Fused` node with a program.
 *
 * Every node starts as a group of its own. In topological order, an elementwise node joins the
 * groups of its producers where domain and shape agree and no path leaves the joined group and
 * comes back: reach[a] is the set of groups that group a depends on, kept transitively closed. A
 * group is written where its last member stood, or earlier if another group needs it. */
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

#define MAX_INSTRUCTIONS 48
#define MAX_OPERANDS 24 /* inputs and outputs of a program */
#define MAX_NODES 40000 /* reach takes n² / 8 bytes */

typedef struct fuse {
    og_rewrite rw;
    const og_graph *g;
    int n;            /* nodes */
    int words;        /* of a bit set over groups */
    int *group;       /* by node; a group's number is its first node's */
    int *last;        /* by group: its last member */
    int *count;       /* by group: members */
    og_dtype *domain; /* by node: of its instruction; OG_UNDEFINED: not elementwise */
    uint64_t *reach;  /* by group */
    bool *emitted;    /* by group */
    bool recomputes;  /* some nodes compute forward values again */
} fuse;

static uint64_t *reach_of(const fuse *f, int group)
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

/* What brings a value that was computed in float to the type it has; NONE: it has it. */
static og_scalar rounding_of(og_dtype d)
{
    return d == OG_FLOAT16    ? OG_SCALAR_RoundFloat16
           : d == OG_BFLOAT16 ? OG_SCALAR_RoundBfloat16
                              : OG_SCALAR_NONE;
}

static int operands_of(const og_node *n)
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
    for (int i = 0; i < operands_of(n); i++) {
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
static bool passes_in_register(const fuse *f, int node)
{
    og_dtype out = f->g->values[f->g->nodes[node]->out[0]]->type.dtype;
    return out == f->domain[node] || out == OG_BOOL ||
           (rounding_of(out) != OG_SCALAR_NONE && f->domain[node] == OG_FLOAT);
}

static int producer_of(const fuse *f, int value)
{
    const og_node *p = value < 0 ? NULL : f->g->values[value]->producer;
    return p && f->rw.live[p->id] ? p->id : -1;
}

/* What is computed again for the backward pass must not become one program with what it was kept
 * from, in the forward pass. */
static bool is_forward(const og_node *n)
{
    return !n->origin || n->origin->role == OG_ROLE_FORWARD || n->origin->role == OG_ROLE_LOSS;
}

static bool same_space(const fuse *f, int a, int b)
{
    const og_type *s = &f->g->values[f->g->nodes[a]->out[0]]->type;
    const og_type *t = &f->g->values[f->g->nodes[b]->out[0]]->type;
    return og_type_same_dims(s, t);
}

/* Is there a third group between a and b, one way or the other? */
static bool path_between(const fuse *f, int a, int b)
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

static void merge_groups(fuse *f, int a, int b)
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
static int operand_count(const fuse *f, int a, int b)
{
    int values[4 * MAX_OPERANDS], n = 0;
    for (int i = 0; i <= f->last[a] || i <= f->last[b]; i++) {
        if (f->group[i] != a && f->group[i] != b)
            continue;
        const og_node *node = f->g->nodes[i];
        for (int k = 0; k < operands_of(node); k++) {
            int p = producer_of(f, node->in[k]), seen = 0;
            if (p >= 0 && (f->group[p] == a || f->group[p] == b))
                continue;
            while (seen < n && values[seen] != node->in[k])
                seen++;
            if (seen == n && n < 4 * MAX_OPERANDS)
                values[n++] = node->in[k];
        }
    }
    return n;
}

static bool try_join(fuse *f, int node, int producer)
{
    int a = f->group[node], b = f->group[producer];
    if (a == b)
        return true;
    if (f->domain[producer] != f->domain[node] ||
        (f->recomputes && is_forward(f->g->nodes[node]) != is_forward(f->g->nodes[producer])) ||
        og_node_is_hoisted(f->g->nodes[node]) != og_node_is_hoisted(f->g->nodes[producer]) ||
        !passes_in_register(f, producer) || !same_space(f, node, producer) ||
        f->count[a] + f->count[b] > MAX_INSTRUCTIONS || path_between(f, a, b) ||
        operand_count(f, a, b) > MAX_OPERANDS)
        return false;
    merge_groups(f, a < b ? a : b, a < b ? b : a);
    return true;
}

static void group_nodes(fuse *f)
{
    for (int i = 0; i < f->n; i++) {
        const og_node *n = f->g->nodes[i];
        uint64_t *r = reach_of(f, i);
        f->group[i] = f->last[i] = i;
        f->count[i] = 1;
        f->domain[i] = f->rw.live[i] ? node_domain(f->g, n) : OG_UNDEFINED;
        for (int k = 0; k < n->n_in; k++) {
            int p = producer_of(f, n->in[k]);
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
        for (int k = operands_of(n) - 1; k >= 0; k--) {
            int p = producer_of(f, n->in[k]);
            if (p >= 0 && f->domain[p] != OG_UNDEFINED)
                try_join(f, i, p);
        }
    }
}

/* ---- writing groups */

static bool leaves_group(const fuse *f, int value, int group)
{
    const og_graph *g = f->g;
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].value == value)
            return true;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out == value)
            return true;
    for (int i = 0; i < f->n; i++) {
        if (!f->rw.live[i] || f->group[i] == group)
            continue;
        for (int k = 0; k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] == value)
                return true;
    }
    return false;
}

static bool is_read_inside(const fuse *f, int value, const int *members, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < operands_of(f->g->nodes[members[i]]); k++)
            if (f->g->nodes[members[i]]->in[k] == value)
                return true;
    return false;
}

static void write_program(fuse *f, int group)
{
    const og_graph *g = f->g;
    og_graph *to = f->rw.to;
    int members[MAX_INSTRUCTIONS] = {0}, n = 0, n_in = 0, n_out = 0;
    int in[MAX_INSTRUCTIONS * 3] = {0}, outs[MAX_INSTRUCTIONS], n_instr = 0;
    int16_t result[MAX_INSTRUCTIONS] = {0}; /* by member: its operand number */
    og_type types[MAX_INSTRUCTIONS];
    for (int i = group; i <= f->last[group]; i++)
        if (f->group[i] == group && f->rw.live[i])
            members[n++] = i;
    og_program *p = og_arena_alloc(to->arena, sizeof(*p));
    og_instr *instr = og_arena_array(to->arena, 2 * (size_t)n, sizeof(*instr));
    int16_t *out = og_arena_array(to->arena, (size_t)n, sizeof(*out));
    if (!p || !instr || !out) {
        og_fail_memory(&to->error, sizeof(*p), "a fused program");
        return;
    }
    for (int i = 0; i < n; i++) /* inputs first: operand numbers depend on their count */
        for (int k = 0; k < operands_of(g->nodes[members[i]]); k++) {
            int value = g->nodes[members[i]]->in[k], q = producer_of(f, value), seen = 0;
            if (q >= 0 && f->group[q] == group)
                continue;
            while (seen < n_in && in[seen] != value)
                seen++;
            if (seen == n_in)
                in[n_in++] = value;
        }
    for (int i = 0; i < n; i++) {
        const og_node *node = g->nodes[members[i]];
        int16_t operand[3] = {-1, -1, -1};
        for (int k = 0; k < operands_of(node); k++) {
            int q = producer_of(f, node->in[k]), at = 0;
            if (q >= 0 && f->group[q] == group) {
                while (members[at] != q)
                    at++;
                operand[k] = result[at];
            } else {
                while (in[at] != node->in[k])
                    at++;
                operand[k] = (int16_t)at;
            }
        }
        instr[n_instr++] =
            (og_instr){.op = node->op->scalar ? node->op->scalar : OG_SCALAR_Identity,
                       .a = operand[0],
                       .b = operand[1],
                       .c = operand[2]};
        result[i] = (int16_t)(n_in + n_instr - 1);
        og_scalar rounding = rounding_of(g->values[node->out[0]]->type.dtype);
        if (rounding != OG_SCALAR_NONE && is_read_inside(f, node->out[0], members, n)) {
            instr[n_instr++] = (og_instr){.op = rounding, .a = result[i], .b = -1, .c = -1};
            result[i]++;
        }
        if (leaves_group(f, node->out[0], group)) {
            types[n_out] = g->values[node->out[0]]->type;
            outs[n_out] = node->out[0];
            out[n_out++] = result[i];
        }
    }
    *p = (og_program){.domain = f->domain[members[0]],
                      .n_in = n_in,
                      .n_instr = n_instr,
                      .n_out = n_out,
                      .instr = instr,
                      .out = out};
    for (int i = 0; i < n_in; i++)
        in[i] = og_rewrite_value(&f->rw, in[i]).id;
    to->origin = g->nodes[members[n - 1]]->origin;
    og_node *node = og_graph_add_typed_node(to, og_op_find(OG_DOMAIN, "Fused"), "", in, n_in, types,
                                            n_out, NULL, 0);
    if (!node)
        return;
    node->program = p;
    for (int i = 0; i < n_out; i++)
        og_rewrite_set(&f->rw, outs[i], og_val_of(to, node->out[i]));
}

static void emit(fuse *f, int group)
{
    if (f->emitted[group])
        return;
    f->emitted[group] = true;
    for (int i = group; i <= f->last[group]; i++) {
        if (f->group[i] != group || !f->rw.live[i])
            continue;
        for (int k = 0; k < f->g->nodes[i]->n_in; k++) {
            int p = producer_of(f, f->g->nodes[i]->in[k]);
            if (p >= 0)
                emit(f, f->group[p]);
        }
    }
    if (f->domain[group] == OG_UNDEFINED)
        og_rewrite_copy(&f->rw, f->g->nodes[group]);
    else
        write_program(f, group);
}

og_graph *og_pass_fuse(og_graph *g)
{
    fuse f = {.g = g, .n = g->n_nodes, .words = (g->n_nodes + 63) / 64 + 1};
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
    f.emitted = og_arena_array(scratch, n, sizeof(bool));
    f.reach = og_arena_array(scratch, n * (size_t)f.words, sizeof(uint64_t));
    og_graph *to = f.rw.to;
    if (!f.group || !f.last || !f.count || !f.domain || !f.emitted || !f.reach) {
        og_fail_memory(&to->error, n * (size_t)f.words * 8, "the fuse pass");
    } else {
        for (int i = 0; i < f.n; i++)
            f.recomputes |= g->nodes[i]->origin && g->nodes[i]->origin->role == OG_ROLE_RECOMPUTE;
        group_nodes(&f);
        for (int i = 0; i < f.n && to->error.status == OG_OK; i++)
            if (f.rw.live[i] && f.last[f.group[i]] == i)
                emit(&f, f.group[i]);
        og_rewrite_end(&f.rw);
    }
    og_arena_free(scratch);
    return to;
}
