/* epilogue: what a product's result goes through next becomes part of the product, where the device
 * has a kernel for that: a bias or another tensor added, an activation.
 *
 * It is found at the beginning of a fused program that alone reads the result, directly or through
 * a view that keeps the order of elements: instructions that each read the one before, up to the
 * first whose result leaves the program. These become the node's own program (program.h), what they
 * read beside the result its last inputs. So a value that the program would have written is written
 * by the product; a program that has nothing left is gone. Instructions whose results stay inside
 * are left alone: nothing would be read or written less.
 *
 * Which values leave depends on what is computed again for the backward pass, and that must not
 * change a bit. So in a graph with gradients a product takes over additions (Accumulate among them)
 * in float32 or float64 alone, which give the same bits everywhere: an activation is a device's
 * own, and a half result would be rounded once less. */
#include "runtime/device/device.h"
#include "runtime/passes/passes.h"
#include "runtime/passes/rewrite.h"

enum { MOST_TURNS = 3, MOST_STEPS = 6, MOST_INPUTS = 8, MOST_OUTPUTS = 2, MOST_INSTRUCTIONS = 96 };

/* The beginning of a program that a product takes over. */
typedef struct head {
    const og_node *product, *view, *fused; /* view NULL: none between */
    int input;                             /* of the program: the product's result */
    int n;                                 /* instructions */
    int16_t steps[MOST_STEPS];             /* their numbers in the program */
    int output;                            /* of the program: what the last of them gives */
} head;

typedef struct epilogue {
    og_rewrite rw;
    const og_graph *g;
    const og_device *device;
    int *readers; /* by value: inputs of live nodes, outputs and states */
    head **heads; /* by node: for a program whose beginning is taken over */
    bool *moved;  /* by node: it is written where such a program stood */
    bool trains;  /* there are gradients */
} epilogue;

static int output_of(const og_program *p, int value)
{
    for (int o = 0; o < p->n_out; o++)
        if (p->out[o] == value)
            return o;
    return -1;
}

/* The one instruction that reads a value, once; -1: none or several, or the value is reduced. */
static int reader_of(const og_program *p, int value)
{
    int found = -1, n = 0;
    for (int k = 0; k < p->n_instr; k++) {
        const og_instr *i = &p->instr[k];
        int reads = (i->a == value) + (i->b == value) + (i->c == value);
        n += reads;
        found = reads ? k : found;
    }
    return n == 1 && !(p->fold && p->folded == value) ? found : -1;
}

static bool is_sum(og_scalar op)
{
    return op == OG_SCALAR_Add || op == OG_SCALAR_Accumulate;
}

/* From input h->input on, one instruction after the other, whose other operands are inputs. sums:
 * additions alone. */
static bool find_steps(head *h, bool sums)
{
    const og_program *p = h->fused->program;
    int value = h->input;
    while (h->n < MOST_STEPS) {
        int k = reader_of(p, value);
        if (k < 0 || output_of(p, value) >= 0 || (sums && !is_sum(p->instr[k].op)))
            return false;
        const int operands[3] = {p->instr[k].a, p->instr[k].b, p->instr[k].c};
        for (int o = 0; o < og_scalar_arity(p->instr[k].op); o++)
            if (operands[o] != value && operands[o] >= p->n_in)
                return false;
        h->steps[h->n++] = (int16_t)k;
        value = p->n_in + k;
        h->output = output_of(p, value);
        if (h->output >= 0)
            return true;
    }
    return false;
}

static const og_node *only_producer(const epilogue *e, int value)
{
    const og_node *n = e->g->values[value]->producer;
    return n && e->rw.live[n->id] && e->readers[value] == 1 && n->out[0] == value ? n : NULL;
}

/* Both forward, say; or a gradient, of which the sum is continued (by devices that want it so). */
static bool roles_go(const head *h)
{
    const og_node *n = h->product, *fused = h->fused;
    og_role a = n->origin ? n->origin->role : OG_ROLE_FORWARD;
    og_role b = fused->origin ? fused->origin->role : OG_ROLE_FORWARD;
    bool sums = fused->program->instr[h->steps[0]].op == OG_SCALAR_Accumulate;
    return a == b || (sums && a == OG_ROLE_GRADIENT && b == OG_ROLE_ACCUMULATE);
}

/* Is input `i` of a program the result of something that counts as work, of the program's shape and
 * the output's type? */
static bool find_head(const epilogue *e, const og_node *fused, int i, head *h)
{
    const og_graph *g = e->g;
    *h = (head){.fused = fused, .input = i, .output = -1};
    const og_node *n = only_producer(e, fused->in[i]);
    const og_type *space =
        fused->program->fold ? &fused->program->space : &g->values[fused->out[0]]->type;
    if (!n || !og_type_same_dims(&g->values[fused->in[i]]->type, space))
        return false;
    if (og_node_keeps_order(g, n)) { /* which has one output */
        h->view = n;
        n = only_producer(e, n->in[0]);
    }
    h->product = n;
    if (!n || !n->op->flops || n->n_out > MOST_OUTPUTS || n->out[n->n_out - 1] < 0 ||
        e->moved[n->id] || !find_steps(h, e->trains))
        return false;
    og_dtype result = g->values[n->out[0]]->type.dtype;
    bool exact = result == OG_FLOAT || result == OG_DOUBLE;
    return roles_go(h) && (exact || !e->trains) &&
           g->values[fused->out[h->output]]->type.dtype == result;
}

/* What the instructions read beside the product's result: inputs of the program; their number. */
static int others_of(const head *h, int16_t others[MOST_INPUTS])
{
    const og_program *p = h->fused->program;
    int n = 0;
    for (int s = 0; s < h->n; s++) {
        const og_instr *i = &p->instr[h->steps[s]];
        const int16_t operands[3] = {i->a, i->b, i->c};
        for (int o = 0; o < og_scalar_arity(i->op); o++)
            if (operands[o] < p->n_in && operands[o] != h->input) {
                if (n == MOST_INPUTS)
                    return -1;
                others[n++] = operands[o];
            }
    }
    return n;
}

/* An operand of a program that gets `more` inputs. */
static int16_t shifted(const og_program *p, int operand, int more)
{
    return (int16_t)(operand < p->n_in ? operand : operand + more);
}

/* The instructions as the product's own program, after those that it has already; in: what the node
 * then reads, n_in of them. NULL: not possible, or out of memory (the new graph's error is set). */
static og_program *product_program(const epilogue *e, const head *h, int in[MOST_INPUTS], int *n_in)
{
    static const og_program nothing = {.n_in = 1};
    const og_program *p = h->fused->program;
    const og_program *before = h->product->program ? h->product->program : &nothing;
    int16_t others[MOST_INPUTS];
    int more = others_of(h, others), n_before = before->n_instr;
    if (more < 0 || h->product->n_in + more > MOST_INPUTS ||
        (before != &nothing && before->domain != p->domain))
        return NULL;
    og_arena *arena = e->rw.to->arena;
    og_program *own = og_arena_alloc(arena, sizeof(*own));
    og_instr *instr = og_arena_array(arena, (size_t)(n_before + h->n), sizeof(*instr));
    int16_t *out = og_arena_alloc(arena, sizeof(*out));
    if (!own || !instr || !out) {
        og_fail_memory(&e->rw.to->error, sizeof(*own), "a product's program");
        return NULL;
    }
    for (int k = 0; k < n_before; k++) {
        const og_instr *i = &before->instr[k];
        instr[k] = (og_instr){i->op, shifted(before, i->a, more), shifted(before, i->b, more),
                              shifted(before, i->c, more), i->imm};
    }
    int n_own = before->n_in + more, next = before->n_in;
    int16_t value = (int16_t)(n_before ? n_own + n_before - 1 : 0);
    for (int s = 0; s < h->n; s++) {
        const og_instr *i = &p->instr[h->steps[s]];
        int16_t operands[3] = {i->a, i->b, i->c};
        for (int o = 0; o < 3; o++) {
            bool other = operands[o] < p->n_in && operands[o] != h->input;
            operands[o] = (int16_t)(o >= og_scalar_arity(i->op) ? -1 : other ? next++ : value);
        }
        value = (int16_t)(n_own + n_before + s);
        instr[n_before + s] = (og_instr){i->op, operands[0], operands[1], operands[2], i->imm};
    }
    *out = value;
    *own = (og_program){.domain = p->domain,
                        .n_in = n_own,
                        .n_instr = n_before + h->n,
                        .n_out = 1,
                        .instr = instr,
                        .out = out};
    *n_in = h->product->n_in + more;
    for (int i = 0; i < *n_in; i++)
        in[i] =
            i < h->product->n_in ? h->product->in[i] : h->fused->in[others[i - h->product->n_in]];
    return own;
}

/* Does the kernel that runs the product anyway do this program, too? (One that does it elsewhere,
 * such as on the host, is none.) */
static bool supported(const epilogue *e, const head *h, const og_program *own, int *in, int n_in)
{
    og_tensor x[MOST_INPUTS] = {0}, y[MOST_OUTPUTS] = {0};
    og_node node = *h->product;
    node.in = in;
    for (int i = 0; i < n_in; i++) {
        const og_value *v = og_graph_value(e->g, in[i]);
        if (v)
            x[i] = og_tensor_dense(&v->type,
                                   v->kind == OG_VALUE_CONST ? (void *)(uintptr_t)v->data : NULL);
    }
    for (int k = 0; k < node.n_out; k++)
        if (node.out[k] >= 0)
            y[k] = og_tensor_dense(&e->g->values[node.out[k]]->type, NULL);
    og_call call = {
        .node = &node, .device = e->device, .nx = node.n_in, .ny = node.n_out, .x = x, .y = y};
    const og_kernel *anyway = og_device_kernel(e->device, &call, false);
    node.program = own;
    node.n_in = call.nx = n_in;
    return anyway && og_device_kernel(e->device, &call, false) == anyway;
}

/* ---- writing */

/* What is left of the program, which now reads what the product gives. */
static void write_rest(epilogue *e, const head *h)
{
    const og_program *p = h->fused->program;
    og_graph *to = e->rw.to;
    const og_node *fused = h->fused;
    int left = p->n_instr - h->n, n_in = 0, n_out = 0, n_types = 0;
    size_t values = (size_t)(p->n_in + p->n_instr), outs = (size_t)fused->n_out;
    og_program *rest = og_arena_alloc(to->arena, sizeof(*rest));
    og_instr *instr = og_arena_array(to->arena, (size_t)left + 1, sizeof(*instr));
    int16_t *out = og_arena_array(to->arena, outs + 1, sizeof(*out));
    int16_t *number = og_arena_array(to->arena, values + 1, sizeof(*number)); /* -1: gone */
    int *in = og_arena_array(to->arena, (size_t)p->n_in + 1, sizeof(*in));
    int *outputs = og_arena_array(to->arena, outs + 1, sizeof(*outputs));
    og_type *types = og_arena_array(to->arena, outs + 1, sizeof(*types));
    if (!rest || !instr || !out || !number || !in || !outputs || !types) {
        og_fail_memory(&to->error, sizeof(*rest), "a fused program");
        return;
    }
    int result = p->n_in + h->steps[h->n - 1];
    bool gone[MOST_INSTRUCTIONS] = {false};
    for (int s = 0; s < h->n; s++)
        gone[h->steps[s]] = true;
    for (int i = 0; i < p->n_in; i++) { /* inputs that something still reads */
        bool read = i == h->input;
        for (int k = 0; k < p->n_instr; k++)
            read |= !gone[k] && (p->instr[k].a == i || p->instr[k].b == i || p->instr[k].c == i);
        for (int o = 0; o < p->n_out; o++)
            read |= p->out[o] == i;
        number[i] = (int16_t)(read ? n_in : -1);
        if (read)
            in[n_in++] =
                og_rewrite_value(&e->rw, i == h->input ? fused->out[h->output] : fused->in[i]).id;
    }
    int made = 0;
    for (int k = 0; k < p->n_instr; k++)
        number[p->n_in + k] = (int16_t)(gone[k] ? -1 : n_in + made++);
    number[result] = number[h->input];
    for (int k = 0, at = 0; k < p->n_instr; k++) {
        if (gone[k])
            continue;
        og_instr i = p->instr[k];
        i.a = (int16_t)(i.a < 0 ? -1 : number[i.a]);
        i.b = (int16_t)(i.b < 0 ? -1 : number[i.b]);
        i.c = (int16_t)(i.c < 0 ? -1 : number[i.c]);
        instr[at++] = i;
    }
    for (int o = 0; o < fused->n_out; o++) {
        if (o == h->output)
            continue;
        if (o < p->n_out)
            out[n_out++] = number[p->out[o]];
        outputs[n_types] = fused->out[o];
        types[n_types++] = e->g->values[fused->out[o]]->type;
    }
    *rest = *p;
    rest->n_in = n_in;
    rest->n_instr = left;
    rest->n_out = n_out;
    rest->instr = instr;
    rest->out = out;
    rest->folded = p->fold ? number[p->folded] : 0;
    to->origin = fused->origin;
    og_node *node =
        og_graph_add_typed_node(to, fused->op, fused->name, in, n_in, types, n_types, NULL, 0);
    if (!node)
        return;
    node->program = rest;
    for (int o = 0; o < n_types; o++)
        og_rewrite_set(&e->rw, outputs[o], og_val_of(to, node->out[o]));
}

static void write_product(epilogue *e, const head *h)
{
    og_graph *to = e->rw.to;
    int in[MOST_INPUTS], n_in;
    const og_program *own = product_program(e, h, in, &n_in);
    if (!own)
        return;
    for (int i = 0; i < n_in; i++)
        in[i] = og_rewrite_value(&e->rw, in[i]).id;
    const og_node *n = h->product;
    og_type types[MOST_OUTPUTS];
    for (int k = 0; k < n->n_out; k++)
        types[k] = e->g->values[n->out[k]]->type;
    to->origin = n->origin;
    og_node *node = og_graph_add_typed_node(to, n->op, n->name, in, n_in, types, n->n_out, n->attrs,
                                            n->n_attrs);
    if (!node)
        return;
    node->program = own;
    int y = node->out[0];
    for (int k = 0; k < n->n_out; k++)
        og_rewrite_set(&e->rw, n->out[k], og_val_of(to, node->out[k]));
    if (h->view) {
        const og_node *view = og_rewrite_copy(&e->rw, h->view);
        y = view ? view->out[0] : y;
    }
    og_rewrite_set(&e->rw, h->fused->out[h->output], og_val_of(to, y));
    if (h->fused->n_out > 1)
        write_rest(e, h);
}

/* ---- the pass */

static void count_readers(epilogue *e)
{
    const og_graph *g = e->g;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_origin *origin = g->nodes[i]->origin;
        e->trains |= e->rw.live[i] && origin && origin->role == OG_ROLE_GRADIENT;
        for (int k = 0; e->rw.live[i] && k < g->nodes[i]->n_in; k++)
            if (g->nodes[i]->in[k] >= 0)
                e->readers[g->nodes[i]->in[k]]++;
    }
    for (int i = 0; i < g->n_outputs; i++)
        e->readers[g->outputs[i].value]++;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out >= 0)
            e->readers[g->states[i].out]++;
}

/* Which programs lose their beginning to a product: all is decided before anything is written, for
 * products stand in front of what they take over. */
static void decide(epilogue *e)
{
    for (int i = 0; i < e->g->n_nodes && e->rw.to->error.status == OG_OK; i++) {
        const og_node *n = e->g->nodes[i];
        if (!e->rw.live[i] || !og_op_is(n->op, OG_DOMAIN, "Fused") ||
            n->program->n_instr > MOST_INSTRUCTIONS)
            continue;
        for (int k = 0; k < n->n_in && !e->heads[i]; k++) {
            head h;
            int in[MOST_INPUTS], n_in;
            if (!find_head(e, n, k, &h))
                continue;
            const og_program *own = product_program(e, &h, in, &n_in);
            if (!own || !supported(e, &h, own, in, n_in))
                continue;
            e->heads[i] = og_arena_alloc(e->rw.to->arena, sizeof(head));
            if (!e->heads[i]) {
                og_fail_memory(&e->rw.to->error, sizeof(head), "the epilogue pass");
                return;
            }
            *e->heads[i] = h;
            e->moved[h.product->id] = true;
            if (h.view)
                e->moved[h.view->id] = true;
        }
    }
}

/* One turn; *changed: something was taken over. */
static og_graph *take_over(og_graph *g, const og_device *device, bool *changed)
{
    epilogue e = {.g = g, .device = device};
    *changed = false;
    if (!og_rewrite_begin(&e.rw, g))
        return NULL;
    og_graph *to = e.rw.to;
    size_t nodes = (size_t)g->n_nodes + 1, values = (size_t)g->n_values + 1;
    e.readers = og_arena_array(to->arena, values, sizeof(int));
    e.heads = og_arena_array(to->arena, nodes, sizeof(head *));
    e.moved = og_arena_array(to->arena, nodes, sizeof(bool));
    if (!e.readers || !e.heads || !e.moved) {
        og_fail_memory(&to->error, values * sizeof(int), "the epilogue pass");
        return to;
    }
    count_readers(&e);
    decide(&e);
    for (int i = 0; i < g->n_nodes && to->error.status == OG_OK; i++)
        if (e.heads[i]) {
            write_product(&e, e.heads[i]);
            *changed = true;
        } else if (e.rw.live[i] && !e.moved[i]) {
            og_rewrite_copy(&e.rw, g->nodes[i]);
        }
    return og_rewrite_end(&e.rw);
}

og_graph *og_pass_epilogue(og_graph *g, const og_device *device)
{
    bool changed = true; /* a bias, and then, of another shape, a residual */
    for (int turn = 0; turn < MOST_TURNS && changed && g && g->error.status == OG_OK; turn++)
        g = take_over(g, device, &changed);
    return g;
}
