/* Printing graphs (print.h). */
#include "runtime/graph/print.h"

#include <string.h>

#include "runtime/graph/op.h"

static void print_value(og_text *text, const og_graph *g, int id)
{
    const og_value *v = og_graph_value(g, id);
    if (!v)
        og_text_add(text, "_");
    else if (v->kind == OG_VALUE_NODE)
        og_text_printf(text, "%%%d", id);
    else if (*v->name)
        og_text_printf(text, "\"%s\"", v->name);
    else
        og_text_printf(text, "const%d", id);
}

static void print_attr(og_text *text, const og_attr *a)
{
    og_text_printf(text, ", %s=", a->name);
    switch (a->kind) {
    case OG_ATTR_FLOAT:
        og_text_printf(text, "%g", a->f);
        break;
    case OG_ATTR_INT:
        og_text_printf(text, "%lld", (long long)a->i);
        break;
    case OG_ATTR_STRING:
        og_text_printf(text, "\"%s\"", a->s);
        break;
    case OG_ATTR_INTS:
        for (int i = 0; i < a->n; i++)
            og_text_printf(text, "%s%lld", i ? " " : "[", (long long)a->ints[i]);
        og_text_add(text, a->n ? "]" : "[]");
        break;
    default:
        og_text_add(text, "…");
        break;
    }
}

void og_program_print(og_text *text, const og_program *p)
{
    for (int i = 0; i < p->n_instr; i++)
        og_text_printf(text, "%s%s", i ? " " : " {", og_scalar_name(p->instr[i].op));
    if (p->fold) {
        og_text_printf(text, ", %s over", og_fold_name(p->fold));
        for (int a = 0; a < p->space.rank; a++)
            if (p->folded_axes >> a & 1)
                og_text_printf(text, " %d", a);
    }
    og_text_add(text, "}");
}

void og_node_print(og_text *text, const og_graph *g, const og_node *n)
{
    char type[160], node[256];
    for (int i = 0; i < n->n_out; i++)
        og_text_printf(text, "%s%%%d", i ? ", " : "", n->out[i]);
    og_text_printf(text, " = %s(", n->op->name);
    for (int i = 0; i < n->n_in; i++) {
        og_text_add(text, i ? ", " : "");
        print_value(text, g, n->in[i]);
    }
    for (int i = 0; i < n->n_attrs; i++)
        print_attr(text, &n->attrs[i]);
    og_text_add(text, ")");
    if (n->program)
        og_program_print(text, n->program);
    og_text_printf(text, " : %s", og_type_text(type, g, &g->values[n->out[0]]->type));
    if (n->origin)
        og_text_printf(text, "   ; %s", og_node_text(node, n));
}

void og_graph_print(og_text *text, const og_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++) {
        og_node_print(text, g, g->nodes[i]);
        og_text_add(text, "\n");
    }
}

void og_graph_print_dot(og_text *text, const og_graph *g)
{
    og_text_printf(text, "digraph \"%s\" {\n  node [shape=box, fontname=\"sans-serif\"];\n",
                   g->name);
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        og_text_printf(text, "  n%d [label=\"%s\\n%s\"];\n", n->id, n->op->name, n->name);
        for (int k = 0; k < n->n_in; k++) {
            char type[160];
            const og_value *v = og_graph_value(g, n->in[k]);
            if (v && v->kind == OG_VALUE_NODE)
                og_text_printf(text, "  n%d -> n%d [label=\"%s\"];\n", v->producer->id, n->id,
                               og_type_text(type, g, &v->type));
        }
    }
    og_text_add(text, "}\n");
}
