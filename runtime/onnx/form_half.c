/* A model's graph in float16: products, convolutions and what follows them. Inputs and outputs stay
 * float32, and so does what the rows of ops compute in float32 in training, too (reductions,
 * softmax, norms, recurrent layers), and a node with a constant that float16 does not hold. Between
 * the two stand Casts, one a value.
 *
 * Names stay: a value that is made in float16 keeps its own, its other form is NAME_float32; of
 * what is made in float32 it is NAME_float16. */
#include <math.h>
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/onnx/form.h"

/* Ops that ONNX does not have for float16 in all of our opsets, or whose other inputs must be
 * float32; and those that in inference are a factor and a sum. */
static const char *const wide_ops[] = {
    "Range",     "Resize",          "Upsample",          "NonMaxSuppression", "CumSum",
    "EyeLike",   "Multinomial",     "ConstantOfShape",   "GridSample",        "RoiAlign",
    "Bernoulli", "SplitToSequence", "ConcatFromSequence"};
static const char *const following_ops[] = {"BatchNormalization"};

static bool is_listed(const og__field *op, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (og__field_is(op, list[i]))
            return true;
    return false;
}

static og_status no_memory(const og__half *h)
{
    return og_fail_memory(h->error, 0, "a model in half precision");
}

/* ---- values */

static int value_of(og__half *h, const og__field *name)
{
    int i;
    const char *text = og_arena_strndup(h->arena, (const char *)name->bytes, name->size);
    if (!text)
        return -1;
    if (og__names_get(&h->index, text, &i))
        return i;
    og__formed *grown =
        og_arena_grow(h->arena, h->values, (size_t)h->n_values, &h->capacity, sizeof(*grown));
    if (!grown || !og__names_set(&h->index, text, h->n_values) ||
        !og__names_set(&h->taken, text, 1))
        return -1;
    h->values = grown;
    int dtype = OG_UNDEFINED;
    bool known = og__names_get(&h->dtype_index, text, &dtype);
    h->values[h->n_values] = (og__formed){.is_float = known && dtype == OG_FLOAT, .in_float = text};
    return h->n_values++;
}

static bool fits(const og_const *c)
{
    const char *data = c->data;
    for (int64_t i = 0, n = og_type_elements(&c->type); i < n; i++) {
        float x;
        memcpy(&x, data + (size_t)i * sizeof x, sizeof x);
        if (fabsf(x) > 65504.0F && !isinf(x))
            return false;
    }
    return true;
}

/* ---- deciding */

static bool has_graph(og__wire node, bool *typed)
{
    enum { ATTR_G = 6, ATTR_GRAPHS = 11 };
    og__field f, name, graph;
    bool any = false;
    while (og__wire_next(&node, &f) > 0) {
        if (f.number != NODE_ATTRIBUTE || f.type != OG__WIRE_BYTES)
            continue;
        any |= og__wire_find(og__wire_inside(&f), ATTR_G, &graph) ||
               og__wire_find(og__wire_inside(&f), ATTR_GRAPHS, &graph);
        *typed |= og__wire_find(og__wire_inside(&f), ATTR_NAME, &name) &&
                  (og__field_is(&name, "to") || og__field_is(&name, "dtype"));
    }
    return any;
}

static og_precision class_of(og__half *h, const og__field *op, const og__field *domain)
{
    enum { N_WIDE = sizeof wide_ops / sizeof *wide_ops };
    enum { N_FOLLOWING = sizeof following_ops / sizeof *following_ops };
    bool other = domain->size && !og__field_is(domain, "ai.onnx");
    if (other || is_listed(op, wide_ops, N_WIDE) ||
        (op->size > 8 && (!memcmp(op->bytes, "Sequence", 8) || !memcmp(op->bytes, "Optional", 8))))
        return OG_PRECISION_FLOAT;
    if (is_listed(op, following_ops, N_FOLLOWING))
        return OG_PRECISION_FOLLOW;
    const char *text = og_arena_strndup(h->arena, (const char *)op->bytes, op->size);
    const og_op *row = text ? og_op_find(NULL, text) : NULL;
    return row ? row->precision : OG_PRECISION_FLOAT;
}

/* A Constant's element type, which its value does not have by name, and its content where that is a
 * tensor. */
static og_status note_constant(og__half *h, og__wire node)
{
    og__field f, name, tensor, output;
    if (!og__wire_find(node, NODE_OUTPUT, &output))
        return OG_OK;
    int i = value_of(h, &output);
    if (i < 0)
        return no_memory(h);
    while (og__wire_next(&node, &f) > 0) {
        if (f.number != NODE_ATTRIBUTE || !og__wire_find(og__wire_inside(&f), ATTR_NAME, &name))
            continue;
        if (og__field_is(&name, "value_float") || og__field_is(&name, "value_floats"))
            h->values[i].is_float = true;
        if (!og__field_is(&name, "value") || !og__wire_find(og__wire_inside(&f), ATTR_T, &tensor))
            continue;
        const og__tensor_proto *t = og__proto_unpack_tensor(h->arena, tensor.bytes, tensor.size);
        og_const *c = og_arena_alloc(h->arena, sizeof(*c));
        if (!t || !c)
            return no_memory(h);
        OG_TRY(og__tensor_load(h->arena, h->base->external, t, true, c, h->error));
        h->values[i].c = c;
        h->values[i].is_float = c->type.dtype == OG_FLOAT;
    }
    return OG_OK;
}

/* Does the node compute in float16? Notes in which type it reads initializers. */
static og_status decide_node(og__half *h, og__wire node, bool *half)
{
    og__field op = {0}, domain = {0}, f;
    bool typed = false;
    og__wire_find(node, NODE_OP, &op);
    og__wire_find(node, NODE_DOMAIN, &domain);
    if (has_graph(node, &typed))
        return og_fail(h->error, OG_UNSUPPORTED,
                       "%.*s: a node with graphs inside cannot be written in float16", (int)op.size,
                       op.bytes);
    og_precision kind = typed ? OG_PRECISION_FLOAT : class_of(h, &op, &domain);
    bool any = false, computed = false, all = true, good = kind != OG_PRECISION_FLOAT;
    for (og__wire in = node; og__wire_next(&in, &f) > 0;) {
        int i = f.number == NODE_INPUT && f.size ? value_of(h, &f) : 0;
        if (i < 0)
            return no_memory(h);
        const og__formed *v = &h->values[i];
        if (f.number != NODE_INPUT || !f.size || !v->is_float)
            continue;
        any = true;
        computed |= !v->c;
        all = all && (v->c || v->is_half);
        good = good && (!v->c || fits(v->c));
    }
    *half = any && good && (kind == OG_PRECISION_HALF || (computed && all));
    for (og__wire in = node; og__wire_next(&in, &f) > 0;) {
        if ((f.number != NODE_INPUT && f.number != NODE_OUTPUT) || !f.size)
            continue;
        int i = value_of(h, &f);
        if (i < 0)
            return no_memory(h);
        h->values[i].wide |= f.number == NODE_INPUT && !*half;
        h->values[i].narrow |= f.number == NODE_INPUT && *half;
        if (f.number == NODE_OUTPUT)
            h->values[i].is_half = *half && h->values[i].is_float;
    }
    return og__field_is(&op, "Constant") ? note_constant(h, node) : OG_OK;
}

static og_status note_frame(og__half *h, const og__field *f)
{
    og__field name;
    bool initializer = f->number == GRAPH_INITIALIZER;
    if (!og__wire_find(og__wire_inside(f), initializer ? TENSOR_NAME : VALUE_NAME, &name))
        return OG_OK;
    int i = value_of(h, &name), known;
    if (i < 0)
        return no_memory(h);
    h->values[i].output |= f->number == GRAPH_OUTPUT;
    h->values[i].input |= f->number == GRAPH_INPUT;
    if (initializer && og__names_get(&h->base->initializer_index, h->values[i].in_float, &known)) {
        h->values[i].c = &h->base->initializers[known];
        h->values[i].is_float = h->values[i].c->type.dtype == OG_FLOAT;
    }
    return OG_OK;
}

og_status og__half_decide(og__half *h, og__wire graph)
{
    const og_graph *g = h->base->graph;
    h->index = h->taken = h->dtype_index = og__names_in(h->arena);
    for (int i = 0; i < g->n_values; i++)
        if (*g->values[i]->name &&
            !og__names_set(&h->dtype_index, g->values[i]->name, (int)h->dtypes[i]))
            return no_memory(h);
    if (value_of(h, &(og__field){.bytes = (const uint8_t *)"", .size = 0}) < 0)
        return no_memory(h);
    og__field f;
    for (og__wire in = graph; og__wire_next(&in, &f) > 0;)
        if (f.type == OG__WIRE_BYTES &&
            (f.number == GRAPH_INITIALIZER || f.number == GRAPH_INPUT || f.number == GRAPH_OUTPUT))
            OG_TRY(note_frame(h, &f));
    for (og__wire in = graph; og__wire_next(&in, &f) > 0;) {
        if (f.number != GRAPH_NODE || f.type != OG__WIRE_BYTES)
            continue;
        bool *grown = og_arena_grow(h->arena, h->halves, (size_t)h->n_nodes, &h->node_capacity,
                                    sizeof(*grown));
        if (!grown)
            return no_memory(h);
        h->halves = grown;
        OG_TRY(decide_node(h, og__wire_inside(&f), &h->halves[h->n_nodes]));
        h->n_nodes++;
    }
    /* Initializers that are read in float16 alone become that. */
    for (int i = 0; i < h->n_values; i++) {
        og__formed *v = &h->values[i];
        int known;
        if (v->c && og__names_get(&h->base->initializer_index, v->in_float, &known))
            v->is_half = v->is_float && v->narrow && !v->wide && !v->input && !v->output;
        if (v->is_half && !v->output) {
            v->in_half = v->in_float;
            v->in_float = NULL;
        }
    }
    return OG_OK;
}

bool og__half_is_half(const og__half *h, const og__field *name)
{
    int i;
    const char *text = og_arena_strndup(h->arena, (const char *)name->bytes, name->size);
    return text && og__names_get(&h->index, text, &i) && h->values[i].is_half &&
           !h->values[i].output;
}

/* ---- writing */

static void put_cast(og__half *h, const char *from, const char *to, og_dtype dtype, og__out *out)
{
    og__out node = og__out_in(h->arena), attribute = node;
    og__out_text(&attribute, ATTR_NAME, "to");
    og__out_varint(&attribute, ATTR_I, (uint64_t)dtype);
    og__out_varint(&attribute, ATTR_TYPE, OG_ATTR_INT);
    og__out_text(&node, NODE_INPUT, from);
    og__out_text(&node, NODE_OUTPUT, to);
    og__out_text(&node, NODE_OP, "Cast");
    og__out_message(&node, NODE_ATTRIBUTE, &attribute);
    og__out_message(out, GRAPH_NODE, &node);
}

static const char *other_name(og__half *h, const char *name, bool half)
{
    const char *wish = og_arena_printf(h->arena, "%s_%s", name, half ? "float16" : "float32");
    return wish ? og__names_take(&h->taken, wish) : NULL;
}

/* The value's name in that type, cast where it is not there yet. */
static const char *name_in(og__half *h, og__formed *v, bool half, og__out *out)
{
    const char **wanted = half ? &v->in_half : &v->in_float,
               *there = half ? v->in_float : v->in_half;
    if (!*wanted) {
        *wanted = other_name(h, there, half);
        if (*wanted)
            put_cast(h, there, *wanted, half ? OG_FLOAT16 : OG_FLOAT, out);
    }
    return *wanted;
}

og_status og__half_node(og__half *h, int number, og__wire in, og__out *out)
{
    bool half = h->halves[number];
    og__out node = og__out_in(h->arena), behind = node;
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        bool named = (f.number == NODE_INPUT || f.number == NODE_OUTPUT) && f.size;
        int i = named ? value_of(h, &f) : 0;
        if (i < 0)
            return no_memory(h);
        og__formed *v = &h->values[i];
        if (!named || !v->is_float) {
            og__out_raw(&node, f.start, f.total);
            continue;
        }
        const char *name;
        if (f.number == NODE_INPUT) {
            name = name_in(h, v, half, out);
        } else if (half && v->output) { /* the name is the graph's, which is float32 */
            name = v->in_half = other_name(h, v->in_float, true);
            if (name)
                put_cast(h, name, v->in_float, OG_FLOAT, &behind);
        } else {
            name = half ? v->in_half : v->in_float;
        }
        if (!name)
            return no_memory(h);
        og__out_text(&node, f.number, name);
    }
    og__out_message(out, GRAPH_NODE, &node);
    for (size_t i = 0; i < behind.n; i++)
        og__out_raw(out, behind.pieces[i].bytes, behind.pieces[i].size);
    return OG_OK;
}
