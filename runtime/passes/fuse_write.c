/* Writing the groups of the fuse pass as programs. */
#include "runtime/passes/fuse.h"

/* What write_program collects. */
typedef struct writer {
    const og__fuse *f;
    int group, n, n_in, n_out, n_instr;
    int members[OG__MAX_INSTRUCTIONS];    /* without the reduction */
    int16_t result[OG__MAX_INSTRUCTIONS]; /* by member: its operand number */
    int in[OG__MAX_INSTRUCTIONS * 3];
    int outs[OG__MAX_INSTRUCTIONS + 1];
    og_type types[OG__MAX_INSTRUCTIONS + 1];
} writer;

static bool leaves_group(const og__fuse *f, int value, int group)
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

static bool is_read_inside(const writer *w, int value)
{
    const og_graph *g = w->f->g;
    if (w->f->fold[w->group] >= 0 && w->f->folded[w->group] == value)
        return true;
    for (int i = 0; i < w->n; i++)
        for (int k = 0; k < og__fuse_operands(g->nodes[w->members[i]]); k++)
            if (g->nodes[w->members[i]]->in[k] == value)
                return true;
    return false;
}

/* Members, and the values they read from outside: operand numbers depend on their count. */
static void collect(writer *w)
{
    const og__fuse *f = w->f;
    for (int i = w->group; i <= f->last[w->group]; i++)
        if (f->group[i] == w->group && f->rw.live[i] && f->fold[w->group] != i)
            w->members[w->n++] = i;
    for (int i = 0; i < w->n; i++)
        for (int k = 0; k < og__fuse_operands(f->g->nodes[w->members[i]]); k++) {
            int value = f->g->nodes[w->members[i]]->in[k], q = og__fuse_producer(f, value);
            int seen = 0;
            if (q >= 0 && f->group[q] == w->group)
                continue;
            while (seen < w->n_in && w->in[seen] != value)
                seen++;
            if (seen == w->n_in)
                w->in[w->n_in++] = value;
        }
}

/* The number of an operand: a result of the group, or an input. */
static int16_t operand_of(const writer *w, int value)
{
    int q = og__fuse_producer(w->f, value), at = 0;
    if (q >= 0 && w->f->group[q] == w->group) {
        while (w->members[at] != q)
            at++;
        return w->result[at];
    }
    while (w->in[at] != value)
        at++;
    return (int16_t)at;
}

/* Member i's instruction, one that rounds if its type asks for that, and the output it may be. */
static void add_member(writer *w, int i, og_instr *instr, int16_t *out)
{
    const og_graph *g = w->f->g;
    const og_node *node = g->nodes[w->members[i]];
    int16_t operand[3] = {-1, -1, -1};
    for (int k = 0; k < og__fuse_operands(node); k++)
        operand[k] = operand_of(w, node->in[k]);
    instr[w->n_instr++] = (og_instr){.op = node->op->scalar ? node->op->scalar : OG_SCALAR_Identity,
                                     .a = operand[0],
                                     .b = operand[1],
                                     .c = operand[2]};
    w->result[i] = (int16_t)(w->n_in + w->n_instr - 1);
    og_scalar rounding = og__fuse_rounding(g->values[node->out[0]]->type.dtype);
    if (rounding != OG_SCALAR_NONE && is_read_inside(w, node->out[0])) {
        instr[w->n_instr++] = (og_instr){.op = rounding, .a = w->result[i], .b = -1, .c = -1};
        w->result[i]++;
    }
    if (leaves_group(w->f, node->out[0], w->group)) {
        w->types[w->n_out] = g->values[node->out[0]]->type;
        w->outs[w->n_out] = node->out[0];
        out[w->n_out++] = w->result[i];
    }
}

static void write_program(og__fuse *f, int group)
{
    const og_graph *g = f->g;
    og_graph *to = f->rw.to;
    writer w = {.f = f, .group = group};
    collect(&w);
    og_program *p = og_arena_alloc(to->arena, sizeof(*p));
    og_instr *instr = og_arena_array(to->arena, 2 * (size_t)w.n, sizeof(*instr));
    int16_t *out = og_arena_array(to->arena, (size_t)w.n, sizeof(*out));
    if (!p || !instr || !out) {
        og_fail_memory(&to->error, sizeof(*p), "a fused program");
        return;
    }
    for (int i = 0; i < w.n; i++)
        add_member(&w, i, instr, out);
    *p = (og_program){.domain = f->domain[w.members[0]],
                      .n_in = w.n_in,
                      .n_instr = w.n_instr,
                      .n_out = w.n_out,
                      .instr = instr,
                      .out = out};
    int n_out = w.n_out, last = w.members[w.n - 1];
    if (f->fold[group] >= 0) {
        const og_node *fold = g->nodes[f->fold[group]];
        p->fold = fold->op->fold;
        p->folded = operand_of(&w, f->folded[group]);
        p->folded_axes = f->axes[group];
        p->space = g->values[f->folded[group]]->type;
        w.types[n_out] = g->values[fold->out[0]]->type;
        w.outs[n_out++] = fold->out[0];
        last = w.n_out ? last : fold->id;
    }
    for (int i = 0; i < w.n_in; i++)
        w.in[i] = og_rewrite_value(&f->rw, w.in[i]).id;
    to->origin = g->nodes[last]->origin;
    og_node *node = og_graph_add_typed_node(to, og_op_find(OG_DOMAIN, "Fused"), "", w.in, w.n_in,
                                            w.types, n_out, NULL, 0);
    if (!node)
        return;
    node->program = p;
    for (int i = 0; i < n_out; i++)
        og_rewrite_set(&f->rw, w.outs[i], og_val_of(to, node->out[i]));
}

void og__fuse_emit(og__fuse *f, int group)
{
    if (f->emitted[group])
        return;
    f->emitted[group] = true;
    for (int i = group; i <= f->last[group]; i++) {
        if (f->group[i] != group || !f->rw.live[i] || f->fold[group] == i)
            continue;
        for (int k = 0; k < f->g->nodes[i]->n_in; k++) {
            int p = og__fuse_producer(f, f->g->nodes[i]->in[k]);
            if (p >= 0)
                og__fuse_emit(f, f->group[p]);
        }
    }
    if (f->domain[group] == OG_UNDEFINED)
        og_rewrite_copy(&f->rw, f->g->nodes[group]);
    else
        write_program(f, group);
}
