/* Parameters that an optimizing exporter merged or dropped, as they were.
 *
 * PyTorch's exporter keeps one of several equal initializers, so the biases of a fresh model, all
 * zeros, become one tensor, and so do those of layers that began as copies of one another: trained,
 * they would stay equal for ever. The file still says what each node read: its metadata holds the
 * traced call, "%linear : …(args = (%x, %p_a_weight, %p_a_bias))", and the graph's signature which
 * parameter each %p_… is. Tracing gives one parameter with several names (tied weights) a single
 * %p_…, so different ones mean different parameters. Where a call names a parameter that the file
 * no longer holds, the parameter gets its own initializer back, under its own name, in the graph
 * and in the bytes that are saved; not so where the exporter computed something from it that is not
 * the same number everywhere, since that is no longer the parameter of that name. So does the bias
 * of a Conv, ConvTranspose or Gemm, which the exporter drops where it is all zeros. A call that
 * does not match its nodes is left as it is. */
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"
#include "runtime/onnx/wire.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"
#define TRACED "pkg.torch.onnx.fx_node"

enum { MAX_ARGS = 64 }; /* tensors that one call reads */

/* Input `input` of node `node` shall read the initializer `name`, whose content is `content` now.
 */
typedef struct slot {
    int node, input;
    const og_value *content; /* the one it was merged with, or zeros that no file has (no name) */
    const char *name;
} slot;

/* One traced call: the nodes it became are neighbours in a list. */
typedef struct call {
    const char *text;
    int first, last; /* nodes; -1: none */
} call;

typedef struct restore {
    og__loader *l;
    og__scope *scope;
    const og__graph_view *g;
    og__names targets;   /* "p_a_bias" → index in target */
    og__names named;     /* names in target */
    const char **target; /* the initializer's name in the signature */
    int n_targets;
    call *calls;
    int *next; /* by node: the next one of its call; -1 */
    int n_calls;
    slot *slots; /* changes to make */
    int n_slots;
    og__names added; /* name given back → index in back */
    slot *back;      /* the first slot of each name given back */
    int n_back;
    size_t cap_targets, cap_calls, cap_slots, cap_back;
} restore;

static bool no_memory(restore *r)
{
    og_fail_memory(&r->l->g->error, sizeof(slot), "merged parameters");
    return og__loader_memory(r->l);
}

static const og_value *initializer(const restore *r, const char *name)
{
    return og__scope_constant(r->l, r->scope, name);
}

/* ---- the signature */

/* Its lines read  p_a_bias: PARAMETER target='a.bias'  and  b_m: BUFFER target='m' persistent=True.
 * Is one of them missing in the file? */
static bool read_signature(restore *r, const char *text)
{
    bool missing = false;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t length = strcspn(line, "\n");
        const char *colon = memchr(line, ':', length);
        bool parameter = colon && strncmp(colon, ": PARAMETER target='", 20) == 0;
        if (!colon || (!parameter && strncmp(colon, ": BUFFER target='", 17) != 0))
            continue;
        const char *from = strchr(colon, '\'') + 1,
                   *to = memchr(from, '\'', length - (size_t)(from - line));
        const char **list = og_arena_grow(r->l->arena, r->target, (size_t)r->n_targets,
                                          &r->cap_targets, sizeof(*list));
        char *argument = og_arena_strndup(r->l->arena, line, (size_t)(colon - line));
        char *name = to ? og_arena_strndup(r->l->arena, from, (size_t)(to - from)) : NULL;
        if (!to || to == from || colon == line)
            continue;
        if (!list || !argument || !name || !og__names_set(&r->targets, argument, r->n_targets) ||
            !og__names_set(&r->named, name, r->n_targets))
            return no_memory(r);
        r->target = list;
        r->target[r->n_targets++] = name;
        missing |= !initializer(r, name);
    }
    return missing;
}

/* The signature's names among a call's arguments, in order, each once; their count, -1 if there are
 * too many. */
static int arguments_of(const restore *r, const char *traced, const char **names)
{
    static const char *const letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    int n = 0;
    for (const char *at = strchr(traced, '%'); at; at = strchr(at, '%')) {
        char argument[512];
        size_t length = strspn(++at, letters);
        int index, known = 0;
        if (length >= sizeof(argument))
            continue;
        memcpy(argument, at, length);
        argument[length] = 0;
        if (!og__names_get(&r->targets, argument, &index))
            continue;
        while (known < n && names[known] != r->target[index])
            known++;
        if (known == MAX_ARGS)
            return -1;
        if (known == n)
            names[n++] = r->target[index];
    }
    return n;
}

/* Does the list "['a', 'b']" name it? */
static bool is_listed(const char *list, const char *name)
{
    char listed[512];
    while (og_next_quoted(&list, listed, sizeof(listed)))
        if (*listed && strcmp(listed, name) == 0)
            return true;
    return false;
}

/* ---- calls */

static bool collect_calls(restore *r)
{
    og__names index = og__names_in(r->l->arena);
    r->next = og_arena_array(r->l->arena, (size_t)r->g->n_nodes + 1, sizeof(int));
    if (!r->next)
        return no_memory(r);
    for (int i = 0; i < r->g->n_nodes && og__loader_memory(r->l); i++) {
        const char *text = og__node_metadata(r->l->arena, r->g->nodes[i], TRACED);
        int known;
        r->next[i] = -1;
        if (!text || !strchr(text, '%'))
            continue;
        if (og__names_get(&index, text, &known)) {
            r->next[r->calls[known].last] = i;
            r->calls[known].last = i;
            continue;
        }
        call *calls =
            og_arena_grow(r->l->arena, r->calls, (size_t)r->n_calls, &r->cap_calls, sizeof(*calls));
        if (!calls || !og__names_set(&index, text, r->n_calls))
            return no_memory(r);
        r->calls = calls;
        r->calls[r->n_calls++] = (call){text, i, i};
    }
    return true;
}

/* All elements the same floating-point number. */
static bool is_uniform(const og_value *v)
{
    int64_t bytes = og_type_bytes(&v->type), size = og_dtype_bits(v->type.dtype) / 8;
    return og_dtype_is_float(v->type.dtype) && size > 0 && bytes >= size &&
           memcmp(v->data, (const char *)v->data + size, (size_t)(bytes - size)) == 0;
}

/* Can the slot, which reads `v` now, have been the initializer `name`? */
static bool is_possible(const restore *r, const og_value *v, const char *name)
{
    int index;
    return !initializer(r, name) && og_dtype_is_float(v->type.dtype) &&
           (!v->folded_from || is_uniform(v)) &&
           (!og__names_get(&r->added, name, &index) || r->back[index].content == v);
}

/* Note that the slot shall read the initializer of its name. */
static bool give_back(restore *r, slot s)
{
    int index;
    slot *slots =
        og_arena_grow(r->l->arena, r->slots, (size_t)r->n_slots, &r->cap_slots, sizeof(*slots));
    slot *back =
        og_arena_grow(r->l->arena, r->back, (size_t)r->n_back, &r->cap_back, sizeof(*back));
    if (!slots || !back)
        return no_memory(r);
    r->slots = slots;
    r->back = back;
    r->slots[r->n_slots++] = s;
    if (og__names_get(&r->added, s.name, &index))
        return true;
    r->back[r->n_back] = s;
    return og__names_set(&r->added, s.name, r->n_back++) || no_memory(r);
}

/* The bias that the exporter dropped from the node, because it was zero; NULL if the node is no
 * such node. */
static const og_value *dropped_bias(restore *r, int index)
{
    og__node_view node;
    og__node_read(r->l->arena, r->g->nodes[index], &node);
    bool transposed = strcmp(node.op, "ConvTranspose") == 0, gemm = strcmp(node.op, "Gemm") == 0;
    if (*node.domain || node.n_in != 2 || (strcmp(node.op, "Conv") != 0 && !transposed && !gemm))
        return NULL;
    const og_value *w = initializer(r, node.in[1]);
    int64_t group = og__node_int(&node, "group", 1), trans_b = og__node_int(&node, "transB", 0);
    if (!w || w->type.rank < 2 || !og_dtype_is_float(w->type.dtype) || group < 1)
        return NULL;
    int64_t elements = og_type_elements(&w->type);
    int64_t length = w->type.dims[gemm && !trans_b];
    if (transposed &&
        (group > w->type.dims[0] || __builtin_mul_overflow(w->type.dims[1], group, &length)))
        return NULL;
    if (length < 1 || length > elements)
        return NULL;
    og_value *zeros = og_arena_alloc(r->l->arena, sizeof(*zeros));
    void *data = og_arena_array(r->l->arena, (size_t)length, sizeof(double));
    if (!zeros || !data) {
        no_memory(r);
        return NULL;
    }
    *zeros = (og_value){.kind = OG_VALUE_CONST,
                        .name = "",
                        .type = og_type_make(w->type.dtype, 1, &length),
                        .data = data};
    return zeros;
}

/* Is it in the signature, or computed from what is? */
static bool is_known(const restore *r, const og_value *v)
{
    int known;
    if (og__names_get(&r->named, v->name, &known))
        return true;
    char name[512];
    const char *at = v->folded_from;
    while (og_next_quoted(&at, name, sizeof(name)))
        if (*name && og__names_get(&r->named, name, &known))
            return true;
    return false;
}

/* The initializers of the signature that a call's nodes read, in order, in `found`; their count, -1
 * if there are too many. claimed[a]: names[a] was computed into one of another
 * name. */
static int slots_of(restore *r, const call *c, const char *const *names, int n, slot *found,
                    bool *claimed)
{
    int n_found = 0;
    for (int i = c->first; i >= 0; i = r->next[i]) {
        og__node_view node;
        og__node_read(r->l->arena, r->g->nodes[i], &node);
        for (int k = 0; k < node.n_in; k++) {
            const og_value *v = initializer(r, node.in[k]);
            bool folded = false;
            for (int a = 0; v && a < n; a++)
                if (is_listed(v->folded_from, names[a]))
                    folded = claimed[a] = true;
            if (!v || folded || !is_known(r, v))
                continue;
            if (n_found == MAX_ARGS)
                return -1;
            found[n_found++] = (slot){.node = i, .input = k, .content = v};
        }
    }
    return n_found;
}

/* Match what the call names with what its nodes read: first equal names, then the rest in order. */
static bool match_call(restore *r, const call *c)
{
    const char *names[MAX_ARGS], *left[MAX_ARGS];
    slot found[MAX_ARGS], open[MAX_ARGS];
    bool claimed[MAX_ARGS] = {false};
    int index, n_open = 0, n_left = 0, n = arguments_of(r, c->text, names);
    int n_found = n > 0 ? slots_of(r, c, names, n, found, claimed) : 0;
    for (int i = 0; i < n_found; i++) {
        int a = 0;
        while (a < n && (claimed[a] || strcmp(names[a], found[i].content->name) != 0))
            a++;
        if (a < n)
            claimed[a] = true;
        else
            open[n_open++] = found[i];
    }
    for (int a = 0; a < n; a++)
        if (!claimed[a])
            left[n_left++] = names[a];
    if (n_open == 0 && n_left == 1 && n >= 2 && c->first == c->last && !initializer(r, left[0]) &&
        !og__names_get(&r->added, left[0], &index)) {
        const og_value *zeros = dropped_bias(r, c->first);
        if (zeros)
            open[n_open++] = (slot){.node = c->first, .input = 2, .content = zeros};
    }
    if (n_left != n_open)
        return true;
    for (int a = 0; a < n_left; a++)
        if (!is_possible(r, open[a].content, left[a]))
            return true;
    for (int a = 0; a < n_left; a++) {
        open[a].name = left[a];
        if (!give_back(r, open[a]))
            return false;
    }
    return true;
}

/* ---- the graph and the bytes */

static bool change_graph(restore *r)
{
    og_onnx *onnx = r->l->onnx;
    int n = r->g->n_initializers;
    og_const *all = og_arena_array(r->l->arena, (size_t)n + (size_t)r->n_back, sizeof(*all));
    if (!all)
        return no_memory(r);
    memcpy(all, onnx->initializers, sizeof(*all) * (size_t)n);
    onnx->initializers = all;
    onnx->n_initializers = n + r->n_back;
    for (int i = 0; i < r->n_back; i++) {
        const slot *s = &r->back[i];
        og_onnx_repair *done =
            &onnx->repairs[*s->content->name ? OG_REPAIR_PARTED : OG_REPAIR_BIAS];
        if (done->n++ == 0)
            done->first = s->name;
        all[n + i] = (og_const){.type = s->content->type, .data = s->content->data};
        int id = og_graph_add_const(r->l->g, s->name, &s->content->type, s->content->data).id;
        if (!og__names_set(&r->scope->values, s->name, id) ||
            !og__names_set(&onnx->initializer_index, s->name, n + i))
            return no_memory(r);
    }
    for (int i = 0; i < r->n_slots; i++)
        if (!og__node_set_input(r->l->arena, r->g->nodes[r->slots[i].node], r->slots[i].input,
                                r->slots[i].name))
            return no_memory(r);
    return og__loader_memory(r->l);
}

/* The node's bytes with its inputs renamed, or one more at the end; its slots are r->slots[*at …].
 */
static void write_node(restore *r, og__wire in, int node, int *at, og__out *out)
{
    int input = 0;
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        const slot *s = *at < r->n_slots ? &r->slots[*at] : NULL;
        bool changed = f.number == NODE_INPUT && s && s->node == node && s->input == input;
        input += f.number == NODE_INPUT;
        *at += changed;
        if (changed)
            og__out_text(out, NODE_INPUT, s->name);
        else
            og__out_raw(out, f.start, f.total);
    }
    for (; *at < r->n_slots && r->slots[*at].node == node; ++*at)
        og__out_text(out, NODE_INPUT, r->slots[*at].name);
}

/* The tensor again, under the names of all that was merged into it. */
static void write_copies(restore *r, const og__field *tensor, og__out *out)
{
    og__field f, name = {0};
    og__wire in = og__wire_inside(tensor);
    while (og__wire_next(&in, &f) > 0)
        if (f.number == TENSOR_NAME)
            name = f;
    for (int i = 0; i < r->n_back; i++) {
        if (!og__field_is(&name, r->back[i].content->name))
            continue;
        og__out copy = og__out_in(r->l->arena);
        for (in = og__wire_inside(tensor); og__wire_next(&in, &f) > 0;)
            if (f.number != TENSOR_NAME)
                og__out_raw(&copy, f.start, f.total);
        og__out_text(&copy, TENSOR_NAME, r->back[i].name);
        og__out_message(out, GRAPH_INITIALIZER, &copy);
    }
}

static void write_zeros(restore *r, og__out *out)
{
    for (int i = 0; i < r->n_back; i++) {
        const og_value *v = r->back[i].content;
        if (*v->name)
            continue;
        og__out tensor = og__out_in(r->l->arena);
        og__out_varint(&tensor, TENSOR_DIMS, (uint64_t)v->type.dims[0]);
        og__out_varint(&tensor, TENSOR_TYPE, v->type.dtype);
        og__out_text(&tensor, TENSOR_NAME, r->back[i].name);
        og__out_bytes(&tensor, TENSOR_RAW, v->data, (size_t)og_type_bytes(&v->type));
        og__out_message(out, GRAPH_INITIALIZER, &tensor);
    }
}

static void write_graph(void *user, og__wire in, og__out *out)
{
    restore *r = user;
    int node = 0, at = 0;
    og__field f;
    while (og__wire_next(&in, &f) > 0) {
        const slot *s = at < r->n_slots ? &r->slots[at] : NULL;
        if (f.number == GRAPH_NODE && s && s->node == node) {
            og__out inner = og__out_in(r->l->arena);
            write_node(r, og__wire_inside(&f), node, &at, &inner);
            og__out_message(out, GRAPH_NODE, &inner);
        } else {
            og__out_raw(out, f.start, f.total);
        }
        node += f.number == GRAPH_NODE;
        if (f.number == GRAPH_INITIALIZER)
            write_copies(r, &f, out);
    }
    write_zeros(r, out);
}

static int by_place(const void *a, const void *b)
{
    const slot *x = a, *y = b;
    return x->node != y->node ? (x->node > y->node) - (x->node < y->node)
                              : (x->input > y->input) - (x->input < y->input);
}

void og__restore_parameters(og__loader *l, og__scope *scope, const og__graph_view *g)
{
    const char *signature = og_graph_metadata(l->g, SIGNATURE);
    restore r = {.l = l,
                 .scope = scope,
                 .g = g,
                 .targets = og__names_in(l->arena),
                 .named = og__names_in(l->arena),
                 .added = og__names_in(l->arena)};
    if (!signature || l->fatal || !read_signature(&r, signature) || !collect_calls(&r))
        return;
    for (int i = 0; i < r.n_calls && !l->fatal; i++)
        match_call(&r, &r.calls[i]);
    if (r.n_slots == 0 || l->fatal)
        return;
    qsort(r.slots, (size_t)r.n_slots, sizeof(slot), by_place);
    if (change_graph(&r))
        og__graph_rewrite(l, write_graph, &r);
}
