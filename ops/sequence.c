/* Sequences and optionals. They are resolved while types are inferred: a sequence is a list of
 * values known to the infer pass alone, and the ops here take it apart, so that no later stage
 * knows of sequences. Positions and lengths must be constants. */
#include "ops/common.h"

static bool fail(og_resolve *r, const char *what)
{
    return og_node_fail(r->g, r->node, OG_UNSUPPORTED, "%s", what);
}

static bool need_sequence(og_resolve *r, int input)
{
    return (input < r->nx && r->x[input].sequence) ||
           og_node_fail(r->g, r->node, OG_INVALID_MODEL, "input %d is no sequence", input);
}

static bool has(const og_resolve *r, int input)
{
    return input < r->nx && r->x[input].v.g;
}

static bool give_sequence(og_resolve *r, int n, const og_val *items)
{
    r->y[0] = (og_item){.sequence = true, .n = n, .items = items};
    return true;
}

enum { MOST_PIECES = 65536 }; /* of one tensor */

static og_val *new_list(og_resolve *r, int n)
{
    og_val *list = og_arena_array(r->g->arena, (size_t)n + 1, sizeof *list);
    if (!list)
        og_fail_memory(&r->g->error, (size_t)n * sizeof *list, "a sequence");
    return list;
}

/* Input `input` as a position from 0 to most; `fallback` where it is absent. */
static bool position(og_resolve *r, int input, int length, int most, int fallback, int *at)
{
    int64_t p = fallback;
    if (has(r, input) && og_value_ints(og_value_of(r->x[input].v), 1, &p) != 1)
        return fail(r, "its position is computed while running; it must be a constant");
    p = p < 0 ? p + length : p;
    *at = (int)p;
    return (p >= 0 && p <= most) ||
           og_node_fail(r->g, r->node, OG_INVALID_MODEL,
                        "position %" PRId64 " is outside a sequence of %d", p, length);
}

/* ---- made and taken apart */

static bool empty(og_resolve *r)
{
    return give_sequence(r, 0, NULL);
}

static bool construct(og_resolve *r)
{
    og_val *list = new_list(r, r->nx);
    for (int i = 0; list && i < r->nx; i++) {
        if (!has(r, i))
            return fail(r, "holds sequences, expected tensors");
        list[i] = r->x[i].v;
    }
    return list && give_sequence(r, r->nx, list);
}

static bool insert(og_resolve *r)
{
    int n = r->x[0].n, at;
    if (!need_sequence(r, 0) || !position(r, 2, n, n, n, &at))
        return false;
    if (!has(r, 1))
        return fail(r, "inserts a sequence, expected a tensor");
    og_val *list = new_list(r, n + 1);
    for (int i = 0; list && i <= n; i++)
        list[i] = i == at ? r->x[1].v : r->x[0].items[i < at ? i : i - 1];
    return list && give_sequence(r, n + 1, list);
}

static bool erase(og_resolve *r)
{
    int n = r->x[0].n, at;
    if (!need_sequence(r, 0) || !position(r, 1, n, n - 1, n - 1, &at))
        return false;
    og_val *list = new_list(r, n);
    for (int i = 0; list && i < n - 1; i++)
        list[i] = r->x[0].items[i < at ? i : i + 1];
    return list && give_sequence(r, n - 1, list);
}

static bool take(og_resolve *r)
{
    int at;
    if (!need_sequence(r, 0) || !position(r, 1, r->x[0].n, r->x[0].n - 1, 0, &at))
        return false;
    r->y[0] = (og_item){.v = r->x[0].items[at]};
    return true;
}

static bool length(og_resolve *r)
{
    if (!need_sequence(r, 0))
        return false;
    r->y[0] = (og_item){.v = og_const_int(r->g, r->x[0].n)};
    return true;
}

/* ---- from and to tensors */

/* split absent: pieces of length 1, without the axis if keepdims is 0; a scalar: pieces of that
 * length, the last one shorter; else their lengths */
static bool split(og_resolve *r)
{
    og_val x = r->x[0].v;
    int64_t axis = og_attr_int(r->node, "axis", 0), each = 1, dim, *lengths;
    bool given = has(r, 1), keep = given || og_attr_int(r->node, "keepdims", 1);
    if (!x.g || axis < -Rank(x) || axis >= Rank(x))
        return og_node_fail(r->g, r->node, OG_INVALID_MODEL, "the input has no axis %" PRId64,
                            axis);
    const og_value *v = given ? og_value_of(r->x[1].v) : NULL;
    bool list = given && v->type.rank == 1;
    dim = Dim(x, (int)axis);
    int64_t n = list ? v->type.dims[0] : 0;
    if (n > MOST_PIECES)
        return fail(r, "is too long");
    lengths = og_arena_array(r->g->arena, (size_t)n + 1, sizeof *lengths);
    if (!lengths)
        return fail(r, "is too long");
    if (given && og_value_ints(v, list ? (int)n : 1, list ? lengths : &each) < 0)
        return fail(r, "its lengths are computed while running; they must be constants");
    if (!list && each < 1)
        return og_node_fail(r->g, r->node, OG_INVALID_MODEL, "pieces of length %" PRId64, each);
    n = list ? n : dim / each + (dim % each != 0);
    if (n > MOST_PIECES)
        return og_node_fail(r->g, r->node, OG_UNSUPPORTED,
                            "makes %" PRId64 " pieces, at most %d are supported", n, MOST_PIECES);
    og_val *pieces = new_list(r, (int)n);
    int64_t start = 0;
    for (int64_t i = 0; pieces && i < n; i++) {
        if (list && (lengths[i] < 0 || lengths[i] > dim - start))
            return og_node_fail(r->g, r->node, OG_INVALID_MODEL,
                                "piece %" PRId64 " has length %" PRId64 ", expected 0 to %" PRId64,
                                i, lengths[i], dim - start);
        int64_t piece = list ? lengths[i] : each < dim - start ? each : dim - start;
        pieces[i] = keep ? Slice(x, (int)axis, start, piece)
                         : Op("Gather", In(x, og_const_int(r->g, start)), I("axis", axis));
        start += piece;
    }
    if (pieces && start != dim)
        return og_node_fail(r->g, r->node, OG_INVALID_MODEL,
                            "the pieces have %" PRId64 " elements along axis %" PRId64
                            ", expected %" PRId64,
                            start, axis, dim);
    return pieces && give_sequence(r, (int)n, pieces);
}

static bool concat(og_resolve *r)
{
    int64_t axis = og_attr_int(r->node, "axis", 0);
    bool fresh = og_attr_int(r->node, "new_axis", 0) != 0;
    if (!need_sequence(r, 0))
        return false;
    int n = r->x[0].n;
    og_val *v = new_list(r, n);
    if (n == 0)
        return fail(r, "joins an empty sequence");
    for (int i = 0; v && i < n; i++)
        v[i] = fresh ? Op("Unsqueeze", In(r->x[0].items[i], og_const_ints(r->g, 1, &axis)))
                     : r->x[0].items[i];
    r->y[0] = (og_item){.v = v ? concat_all(n, v, axis) : OG_NONE};
    return v != NULL;
}

/* The body for each element of input 0 (and of the other sequences); its results are sequences. */
static bool map(og_resolve *r)
{
    const og_attr *body = og_node_attr(r->node, "body");
    if (!body || !body->graph || !need_sequence(r, 0))
        return false;
    int n = r->x[0].n;
    og_item *in = og_arena_array(r->g->arena, (size_t)r->nx + 1, sizeof *in);
    og_item *out = og_arena_array(r->g->arena, (size_t)r->ny + 1, sizeof *out);
    og_val *lists = new_list(r, n * r->ny);
    for (int i = 0; in && out && lists && i < n; i++) {
        for (int k = 0; k < r->nx; k++) {
            in[k] = r->x[k];
            if (in[k].sequence && in[k].n != n)
                return fail(r, "reads sequences of different lengths");
            if (in[k].sequence)
                in[k] = (og_item){.v = r->x[k].items[i]};
        }
        if (!r->run(r, body->graph, r->nx, in, r->ny, out))
            return false;
        for (int k = 0; k < r->ny; k++)
            lists[k * n + i] = out[k].v;
    }
    for (int k = 0; lists && k < r->ny; k++)
        r->y[k] = (og_item){.sequence = true, .n = n, .items = lists + k * n};
    return in && out && lists;
}

/* ---- optionals */

/* Optional holds what it is given; without input it is empty. */
static bool optional(og_resolve *r)
{
    r->y[0] = r->nx ? r->x[0] : (og_item){0};
    return true;
}

static bool has_element(og_resolve *r)
{
    og_type flag = {.dtype = OG_BOOL};
    uint8_t full = r->nx && (r->x[0].v.g || r->x[0].sequence);
    r->y[0] = (og_item){.v = og_const_copy(r->g, &flag, &full)};
    return true;
}

static bool get_element(og_resolve *r)
{
    r->y[0] = r->x[0];
    return r->x[0].v.g || r->x[0].sequence ||
           og_node_fail(r->g, r->node, OG_INVALID_MODEL, "the optional is empty");
}

#define RESOLVED(name, least, most, rule)                               \
    {                                                                   \
        name, NULL, least, most, 1, 1, resolved_before, .resolve = rule \
    }

const og_op og_ops_sequence[] = {
    RESOLVED("SequenceEmpty", 0, 0, empty),
    RESOLVED("SequenceConstruct", 1, OG_VARIADIC, construct),
    RESOLVED("SequenceInsert", 2, 3, insert),
    RESOLVED("SequenceErase", 1, 2, erase),
    RESOLVED("SequenceAt", 2, 2, take),
    RESOLVED("SequenceLength", 1, 1, length),
    RESOLVED("SplitToSequence", 1, 2, split),
    RESOLVED("ConcatFromSequence", 1, 1, concat),
    {"SequenceMap", NULL, 1, OG_VARIADIC, 1, OG_VARIADIC, resolved_before, .resolve = map},
    RESOLVED("Optional", 0, 1, optional),
    RESOLVED("OptionalHasElement", 0, 1, has_element),
    RESOLVED("OptionalGetElement", 1, 1, get_element),
    {0},
};
