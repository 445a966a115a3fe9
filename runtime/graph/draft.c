/* Drafts: see draft.h. The inputs and attributes of a draft lie in the caller's scratch arrays and
 * are edited in place; what steps make anew (constants, names) lives in the graph's arena. The 16
 * spare places are a promise of the caller, so that a step needs no allocation; one that needs more
 * is a bug of that step. */
#include "runtime/graph/draft.h"

#include <string.h>

#include "runtime/graph/build.h"

/* Of the draft as read: what steps may add on top. */
enum { SPARE = 16, MAX_RENAMES = 8 };

bool og_draft_fail(og_draft *d, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (d->g->error.status == OG_OK) {
        const og_origin *o = d->g->origin;
        og_failv(&d->g->error, OG_INVALID_MODEL, format, arguments);
        og_error_prefix(&d->g->error, "%s \"%s\" (opset %d)", o ? o->op : d->op, d->name, d->opset);
    }
    va_end(arguments);
    return false;
}

const og_attr *og_draft_take(og_draft *d, const char *name)
{
    for (int i = 0; i < d->n_attrs; i++) {
        if (strcmp(d->attrs[i].name, name) != 0)
            continue;
        og_attr *taken = og_arena_copy(d->g->arena, &d->attrs[i], sizeof(*taken));
        if (!taken) {
            og_fail_memory(&d->g->error, sizeof(*taken), "an attribute");
            return NULL;
        }
        d->n_attrs--;
        memmove(&d->attrs[i], &d->attrs[i + 1], sizeof(*d->attrs) * (size_t)(d->n_attrs - i));
        return taken;
    }
    return NULL;
}

bool og_draft_set_input(og_draft *d, int index, og_val value)
{
    if (index < 0 || index >= d->n_in + SPARE)
        return og_draft_fail(d, "an upgrade step sets input %d of %d", index, d->n_in);
    while (d->n_in <= index)
        d->in[d->n_in++] = -1;
    d->in[index] = value.g ? value.id : -1;
    return d->g->error.status == OG_OK;
}

bool og_draft_add_attr(og_draft *d, og_attr attr)
{
    og_attr *slot = &d->attrs[d->n_attrs];
    for (int i = 0; i < d->n_attrs; i++)
        if (strcmp(d->attrs[i].name, attr.name) == 0)
            slot = &d->attrs[i];
    if (slot == &d->attrs[d->n_attrs])
        d->n_attrs++;
    *slot = attr;
    if (attr.kind == OG_ATTR_INTS)
        slot->ints = og_arena_copy(d->g->arena, attr.ints, sizeof(*attr.ints) * (size_t)attr.n);
    if (attr.kind == OG_ATTR_FLOATS)
        slot->floats =
            og_arena_copy(d->g->arena, attr.floats, sizeof(*attr.floats) * (size_t)attr.n);
    if ((attr.kind == OG_ATTR_INTS && !slot->ints) ||
        (attr.kind == OG_ATTR_FLOATS && !slot->floats)) {
        og_fail_memory(&d->g->error, sizeof(*attr.ints) * (size_t)attr.n, "an attribute");
        return false;
    }
    return true;
}

bool og_draft_ints_to_input(og_draft *d, const char *name, int index)
{
    const og_attr *a = og_draft_take(d, name);
    if (!a)
        return d->g->error.status == OG_OK;
    if (a->kind == OG_ATTR_INT)
        return og_draft_set_input(d, index, og_const_ints(d->g, 1, &a->i));
    if (a->kind != OG_ATTR_INTS)
        return og_draft_fail(d, "attribute \"%s\" is not a list of integers", name);
    return og_draft_set_input(d, index, og_const_ints(d->g, a->n, a->ints));
}

bool og_draft_float_to_input(og_draft *d, const char *name, int index)
{
    const og_attr *a = og_draft_take(d, name);
    if (!a)
        return d->g->error.status == OG_OK;
    if (a->kind != OG_ATTR_FLOAT)
        return og_draft_fail(d, "attribute \"%s\" is not a float", name);
    return og_draft_set_input(d, index, og_const_double(d->g, OG_FLOAT, a->f));
}

/* ---- adding */

static const og_op *find_row(og_draft *d)
{
    const og_op *row = og_op_find(d->domain, d->op);
    if (!row)
        og_fail(&d->g->error, OG_UNSUPPORTED, "%s \"%s\" (opset %d): the operator is not supported",
                d->op, d->name, d->opset);
    return row;
}

/* The row of the op in its newest form, or NULL. A step that renames the op goes on with the steps
 * of the new row, from the opset reached. */
static const og_op *upgrade(og_draft *d)
{
    const og_op *row = find_row(d);
    int reached = d->opset, renames = 0;
    for (size_t i = 0; row && i < sizeof(row->upgrade) / sizeof(*row->upgrade);) {
        const og_upgrade *step = &row->upgrade[i++];
        if (!step->run)
            break;
        if (step->to <= reached)
            continue;
        const char *op = d->op, *domain = d->domain;
        if (!step->run(d)) {
            og_draft_fail(d, "could not be brought to opset %d", step->to);
            return NULL;
        }
        if (d->g->error.status != OG_OK)
            return NULL;
        reached = step->to;
        if (strcmp(op, d->op) != 0 || strcmp(domain, d->domain) != 0) {
            if (++renames > MAX_RENAMES)
                return og_draft_fail(d, "is renamed in a circle"), NULL;
            row = find_row(d);
            i = 0;
        }
    }
    return row;
}

og_node *og_draft_add(og_draft *d)
{
    og_graph *g = d->g;
    if (g->error.status != OG_OK)
        return NULL;
    og_graph_set_origin(
        g, &(og_origin){.role = OG_ROLE_FORWARD, .node = d->name, .op = d->op, .opset = d->opset});
    const og_op *row = upgrade(d);
    if (!row)
        return NULL;
    while (d->n_out > 0 && d->out[d->n_out - 1] < 0)
        d->n_out--;
    /* an absent output before a present one becomes a value that nothing reads */
    return og_graph_add_node(g, row, d->name, d->in, d->n_in, d->n_out, d->attrs, d->n_attrs);
}
