#define _GNU_SOURCE /* qsort_r */
/* Two models side by side: frame, metadata, inputs and outputs, nodes, tensors. Both are as ongrad
 * loads them: in their newest opset, with what an exporter did undone. A node is known by its first
 * output, or else by its name. Differences are collected as lines, which text and JSON both print.
 */
#include "tools/ongrad/diff.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/nodes.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"
#include "tools/ongrad/weights.h"

enum { SAME = 0, DIFFERENT = 1, TROUBLE = 2, MOST_ROWS = 40 };

typedef struct side {
    og_model *model;
    og_model_info info;
    int n_nodes;
    const char **keys; /* of nodes, by index */
    int *by_key;       /* indices of nodes, sorted by key */
    og__weights weights;
} side;

/* A tensor of both. */
typedef struct pair {
    const og__weight *a, *b;
    og__change change;
} pair;

typedef struct diff {
    side a, b;
    og_text frame, inputs, nodes, tensors; /* a line a difference: "+ …", "- …", "~ …" */
    int equal_nodes, equal_tensors;
    pair *changed; /* tensors with other elements */
    int n_changed;
} diff;

/* ---- reading */

static int compare_keys(const void *a, const void *b, void *keys)
{
    const char *const *all = keys;
    return strcmp(all[*(const int *)a], all[*(const int *)b]);
}

static const char *key_of(const og_model *model, int i)
{
    const char *output;
    og_node_info info;
    for (int k = 0; (output = og_model_node_output(model, i, k)); k++)
        if (*output)
            return output;
    return og_model_node(model, i, &info) == OG_OK ? info.name : "";
}

static bool open_side(side *s, og_model *model)
{
    *s = (side){.model = model};
    og_model_describe(model, &s->info);
    s->n_nodes = og_model_inspect(model, NULL);
    if (s->n_nodes < 0 || !og__weights_read(&s->weights, model))
        return false;
    s->keys = calloc((size_t)s->n_nodes + 1, sizeof *s->keys);
    s->by_key = calloc((size_t)s->n_nodes + 1, sizeof *s->by_key);
    for (int i = 0; s->keys && s->by_key && i < s->n_nodes; i++) {
        s->keys[i] = key_of(model, i);
        s->by_key[i] = i;
    }
    if (s->keys && s->by_key)
        qsort_r(s->by_key, (size_t)s->n_nodes, sizeof *s->by_key, compare_keys, s->keys);
    return s->keys && s->by_key;
}

static void close_side(side *s)
{
    og__weights_free(&s->weights);
    free(s->keys);
    free(s->by_key);
}

/* ---- frame */

static void add_line(og_text *out, const char *format, ...) OG_PRINTF(2, 3);
static void add_line(og_text *out, const char *format, ...)
{
    og_text line = {0};
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(&line, format, arguments);
    va_end(arguments);
    for (char *c = line.s; c && *c; c++) /* a line stays a line, and nothing drives the terminal */
        *c = (unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c;
    if (line.s)
        og_text_printf(out, "%s\n", line.s);
    og_text_free(&line);
}

static const char *or_none(const char *text)
{
    return text && *text ? text : "none";
}

/* A value that is long is cut. */
static void add_value_change(og_text *out, const char *key, const char *a, const char *b)
{
    enum { LONG = 60 };
    bool long_a = a && strlen(a) > LONG, long_b = b && strlen(b) > LONG;
    if (a && b && strcmp(a, b) != 0)
        add_line(out, "~ metadata %s: \"%.60s%s\" -> \"%.60s%s\"", key, a, long_a ? "…" : "", b,
                 long_b ? "…" : "");
    else if (!a || !b)
        add_line(out, "%c metadata %s: \"%.60s%s\"", a ? '-' : '+', key, a ? a : b,
                 long_a || long_b ? "…" : "");
}

static void compare_metadata(diff *d)
{
    const char *key, *value;
    for (int i = 0; og_model_metadata_at(d->a.model, i, &key, &value); i++)
        add_value_change(&d->frame, key, value, og_model_metadata(d->b.model, key));
    for (int i = 0; og_model_metadata_at(d->b.model, i, &key, &value); i++)
        if (!og_model_metadata(d->a.model, key))
            add_value_change(&d->frame, key, NULL, value);
}

static void compare_frames(diff *d)
{
    const og_model_info *a = &d->a.info, *b = &d->b.info;
    if (a->opset != b->opset)
        add_line(&d->frame, "~ opset %d -> %d", a->opset, b->opset);
    if (a->ir_version != b->ir_version)
        add_line(&d->frame, "~ IR version %" PRId64 " -> %" PRId64, a->ir_version, b->ir_version);
    if (strcmp(a->producer ? a->producer : "", b->producer ? b->producer : "") != 0)
        add_line(&d->frame, "~ producer %s -> %s", or_none(a->producer), or_none(b->producer));
    compare_metadata(d);
}

/* ---- inputs and outputs */

typedef og_status ask_fn(const og_model *, int, og_tensor_info *);

static void add_type(og_text *out, const og_tensor_info *info)
{
    og_text_printf(out, "%s ", og_dtype_name(info->dtype));
    og__shape_text(out, info);
}

static int find_tensor(const og_model *model, int n, ask_fn *ask, const char *name,
                       og_tensor_info *info)
{
    for (int i = 0; i < n; i++)
        if (ask(model, i, info) == OG_OK && info->name && !strcmp(info->name, name))
            return i;
    return -1;
}

/* Those of `from` against `to`; once each way, so that a change is told once. */
static void compare_tensors(diff *d, const side *from, const side *to, const char *what, int n,
                            int n_to, ask_fn *ask, bool back)
{
    for (int i = 0; i < n; i++) {
        og_tensor_info one, other;
        og_text a = {0}, b = {0};
        if (ask(from->model, i, &one) != OG_OK)
            continue;
        int at = find_tensor(to->model, n_to, ask, one.name, &other);
        add_type(&a, &one);
        if (at < 0)
            add_line(&d->inputs, "%c %s %s %s", back ? '+' : '-', what, one.name, a.s ? a.s : "");
        else if (!back)
            add_type(&b, &other);
        if (a.s && b.s && strcmp(a.s, b.s) != 0)
            add_line(&d->inputs, "~ %s %s: %s -> %s", what, one.name, a.s, b.s);
        else if (at >= 0 && !back && at != i)
            add_line(&d->inputs, "~ %s %s: number %d -> %d", what, one.name, i, at);
        og_text_free(&a);
        og_text_free(&b);
    }
}

static void compare_faces(diff *d)
{
    int in_a = og_model_input_count(d->a.model), in_b = og_model_input_count(d->b.model),
        out_a = og_model_output_count(d->a.model), out_b = og_model_output_count(d->b.model);
    compare_tensors(d, &d->a, &d->b, "input", in_a, in_b, og_model_input, false);
    compare_tensors(d, &d->b, &d->a, "input", in_b, in_a, og_model_input, true);
    compare_tensors(d, &d->a, &d->b, "output", out_a, out_b, og_model_output, false);
    compare_tensors(d, &d->b, &d->a, "output", out_b, out_a, og_model_output, true);
}

/* ---- nodes */

static void add_node(og_text *out, char sign, const og_model *model, int i, const char *key)
{
    og_node_info info;
    if (og_model_node(model, i, &info) == OG_OK)
        add_line(out, "%c %s \"%s\"", sign, info.op, *info.name ? info.name : key);
}

static const char *line_of(const char *lines, const char *name, size_t n)
{
    for (const char *line = lines; line && *line;) {
        if (!strncmp(line, name, n) && line[n] == '=')
            return line;
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return NULL;
}

static int length_of(const char *line)
{
    return (int)strcspn(line, "\n");
}

/* "; axis 0 -> 1" */
static void compare_attributes(const char *a, const char *b, og_text *out)
{
    for (const char *line = a; *line; line += length_of(line) + 1) {
        size_t name = strcspn(line, "=");
        const char *other = line_of(b, line, name);
        if (!other)
            og_text_printf(out, "; %.*s was %.*s", (int)name, line, length_of(line) - (int)name - 1,
                           line + name + 1);
        else if (length_of(line) != length_of(other) ||
                 strncmp(line, other, (size_t)length_of(line)) != 0)
            og_text_printf(out, "; %.*s %.*s -> %.*s", (int)name, line,
                           length_of(line) - (int)name - 1, line + name + 1,
                           length_of(other) - (int)name - 1, other + name + 1);
    }
    for (const char *line = b; *line; line += length_of(line) + 1)
        if (!line_of(a, line, strcspn(line, "=")))
            og_text_printf(out, "; %.*s, new", length_of(line), line);
}

static void compare_names(const diff *d, int i, int k, const char *what,
                          const char *(*name)(const og_model *, int, int), og_text *out)
{
    for (int n = 0;; n++) {
        const char *a = name(d->a.model, i, n), *b = name(d->b.model, k, n);
        if (!a && !b)
            return;
        if (!a || !b || strcmp(a, b) != 0)
            og_text_printf(out, "; %s %d %s -> %s", what, n, a ? or_none(a) : "absent",
                           b ? or_none(b) : "absent");
    }
}

static bool compare_nodes_at(diff *d, int i, int k)
{
    og_node_info a, b;
    og_text out = {0};
    const char *attributes;
    if (og_model_node(d->a.model, i, &a) != OG_OK || og_model_node(d->b.model, k, &b) != OG_OK)
        return false;
    if (strcmp(a.op, b.op) != 0)
        og_text_printf(&out, "; op %s -> %s", a.op, b.op);
    if (strcmp(a.name, b.name) != 0)
        og_text_printf(&out, "; name \"%s\" -> \"%s\"", a.name, b.name);
    attributes = og_model_node_attributes(d->a.model, i);
    const char *others = og_model_node_attributes(d->b.model, k);
    bool whole = attributes && others;
    if (whole)
        compare_attributes(attributes, others, &out);
    compare_names(d, i, k, "input", og_model_node_input, &out);
    compare_names(d, i, k, "output", og_model_node_output, &out);
    if (out.length)
        add_line(&d->nodes, "~ %s \"%s\": %s", a.op, *a.name ? a.name : d->a.keys[i], out.s + 2);
    else
        d->equal_nodes++;
    og_text_free(&out);
    return whole;
}

/* Both sorted by key; in the order of the keys. */
static bool compare_nodes(diff *d)
{
    int i = 0, k = 0;
    bool whole = true;
    while (whole && (i < d->a.n_nodes || k < d->b.n_nodes)) {
        int a = i < d->a.n_nodes ? d->a.by_key[i] : -1, b = k < d->b.n_nodes ? d->b.by_key[k] : -1;
        int order = a < 0 ? 1 : b < 0 ? -1 : strcmp(d->a.keys[a], d->b.keys[b]);
        if (order < 0)
            add_node(&d->nodes, '-', d->a.model, a, d->a.keys[a]);
        else if (order > 0)
            add_node(&d->nodes, '+', d->b.model, b, d->b.keys[b]);
        else
            whole = compare_nodes_at(d, a, b);
        i += order <= 0;
        k += order >= 0;
    }
    return whole;
}

/* ---- tensors */

static bool same_type(const og_tensor_info *a, const og_tensor_info *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims);
}

static void add_weight(og_text *out, char sign, const og__weight *w)
{
    og_text type = {0};
    add_type(&type, &w->info);
    add_line(out, "%c %s %s", sign, w->info.name, type.s ? type.s : "");
    og_text_free(&type);
}

static void compare_pair(diff *d, const og__weight *a, const og__weight *b)
{
    og_text before = {0}, after = {0};
    if (same_type(&a->info, &b->info)) {
        og__change change = og__weight_change(a, b);
        if (change.equal == a->n)
            d->equal_tensors++;
        else
            d->changed[d->n_changed++] = (pair){a, b, change};
        return;
    }
    add_type(&before, &a->info);
    add_type(&after, &b->info);
    add_line(&d->tensors, "~ %s: %s -> %s", a->info.name, before.s ? before.s : "",
             after.s ? after.s : "");
    og_text_free(&before);
    og_text_free(&after);
}

static int compare_changes(const void *a, const void *b)
{
    const pair *p = a, *q = b;
    double x = p->change.relative, y = q->change.relative;
    return x < y ? 1 : x > y ? -1 : strcmp(p->a->info.name, q->a->info.name);
}

static bool compare_weights(diff *d)
{
    const og__weights *a = &d->a.weights, *b = &d->b.weights;
    d->changed = calloc((size_t)a->n + 1, sizeof *d->changed);
    for (int i = 0, k = 0; d->changed && (i < a->n || k < b->n);) {
        int order = i == a->n   ? 1
                    : k == b->n ? -1
                                : strcmp(a->items[i].info.name, b->items[k].info.name);
        if (order < 0)
            add_weight(&d->tensors, '-', &a->items[i]);
        else if (order > 0)
            add_weight(&d->tensors, '+', &b->items[k]);
        else
            compare_pair(d, &a->items[i], &b->items[k]);
        i += order <= 0;
        k += order >= 0;
    }
    if (d->changed)
        qsort(d->changed, (size_t)d->n_changed, sizeof *d->changed, compare_changes);
    return d->changed != NULL;
}

/* ---- output */

static void number_cell(og__table *table, const og__change *c, double value)
{
    if (c->known)
        og__table_cell(table, "%.4g", value);
    else
        og__table_cell(table, "-");
}

static void add_table(const diff *d, og_text *out)
{
    static const char *const headings[] = {"  tensor", "type", ">max |change|", ">relative",
                                           ">equal elements"};
    og__table table;
    int shown = d->n_changed < MOST_ROWS ? d->n_changed : MOST_ROWS;
    og__table_start(&table, 5, headings);
    for (int i = 0; i < shown; i++) {
        const pair *p = &d->changed[i];
        og_text type = {0};
        add_type(&type, &p->a->info);
        og__table_cell(&table, "~ %s", p->a->info.name);
        og__table_cell(&table, "%s", type.s ? type.s : "");
        number_cell(&table, &p->change, p->change.most);
        if (p->change.known && isinf(p->change.relative) && isfinite(p->change.most))
            og__table_cell(&table, "was 0");
        else
            number_cell(&table, &p->change, p->change.relative);
        og__table_cell(&table, "%" PRId64 " of %" PRId64, p->change.equal, p->a->n);
        og_text_free(&type);
    }
    og__table_finish(&table, out, 2);
    if (d->n_changed > shown)
        og_text_printf(out, "  and %d more, which changed less; --json lists all\n",
                       d->n_changed - shown);
}

static void add_lines(const char *heading, const og_text *lines, og_text *out)
{
    og_text_printf(out, "%s\n", heading);
    for (const char *line = lines->s; line && *line; line += length_of(line) + 1)
        og_text_printf(out, "  %.*s\n", length_of(line), line);
}

static void print_text(const diff *d, const char *from, const char *to, og_text *out)
{
    char heading[96];
    og_text_printf(out, "- %s\n+ %s\n", from, to);
    if (d->frame.length)
        add_lines("model", &d->frame, out);
    if (d->inputs.length)
        add_lines("inputs and outputs", &d->inputs, out);
    snprintf(heading, sizeof heading, "nodes: %d equal", d->equal_nodes);
    add_lines(heading, &d->nodes, out);
    snprintf(heading, sizeof heading, "tensors: %d equal", d->equal_tensors);
    add_lines(heading, &d->tensors, out);
    if (d->n_changed)
        add_table(d, out);
}

static void add_array(og_json *j, const char *key, const og_text *lines)
{
    og_json_open(j, key, '[');
    for (char *line = lines->s; line && *line;) {
        char *end = strchr(line, '\n');
        *end = '\0';
        og_json_string(j, NULL, line);
        line = end + 1;
    }
    og_json_close(j, ']');
}

static void print_json(const diff *d, const char *from, const char *to, bool same, og_text *out)
{
    og_json json = {out}, *j = &json;
    og_json_open(j, NULL, '{');
    og_json_string(j, "from", from);
    og_json_string(j, "to", to);
    og_json_bool(j, "same", same);
    add_array(j, "model", &d->frame);
    add_array(j, "inputs_outputs", &d->inputs);
    add_array(j, "nodes", &d->nodes);
    og_json_int(j, "equal_nodes", d->equal_nodes);
    add_array(j, "tensors", &d->tensors);
    og_json_int(j, "equal_tensors", d->equal_tensors);
    og_json_open(j, "changed", '[');
    for (int i = 0; i < d->n_changed; i++) {
        const pair *p = &d->changed[i];
        og_json_open(j, NULL, '{');
        og_json_string(j, "name", p->a->info.name);
        og_json_int(j, "elements", p->a->n);
        og_json_int(j, "equal", p->change.equal);
        og_json_double(j, "max_change", p->change.known ? p->change.most : NAN);
        og_json_double(j, "relative_change", p->change.known ? p->change.relative : NAN);
        og_json_close(j, '}');
    }
    og_json_close(j, ']');
    og_json_close(j, '}');
    og_text_add(out, "\n");
}

static int compare_both(diff *d, const og__run *run, const char *path, og_model *model, bool json)
{
    og_text out = {0};
    if (!open_side(&d->a, model) || !open_side(&d->b, run->model)) {
        (void)og__run_failed(run);
        return TROUBLE;
    }
    compare_frames(d);
    compare_faces(d);
    if (!compare_nodes(d) || !compare_weights(d) || d->frame.failed || d->inputs.failed ||
        d->nodes.failed || d->tensors.failed)
        return og__say_error(run->command, TROUBLE, "out of memory for the differences");
    bool same = !d->frame.length && !d->inputs.length && !d->nodes.length && !d->tensors.length &&
                !d->n_changed;
    if (json)
        print_json(d, path, run->model_name, same, &out);
    else if (!same)
        print_text(d, path, run->model_name, &out);
    if (og__write_stdout(run->command, &out) != OG__EXIT_DONE)
        return TROUBLE;
    if (same && !json && !run->quiet)
        og__say("%s and %s are the same: %d nodes, %d tensors", path, run->model_name,
                d->equal_nodes, d->equal_tensors);
    return same ? SAME : DIFFERENT;
}

int og__diff(og__run *run, const char *path, bool json)
{
    diff d = {0};
    og_model *model = og_model_load(run->context, path);
    if (!model) {
        (void)og__run_failed(run);
        return TROUBLE;
    }
    int status = compare_both(&d, run, path, model, json);
    close_side(&d.a);
    close_side(&d.b);
    free(d.changed);
    og_text_free(&d.frame);
    og_text_free(&d.inputs);
    og_text_free(&d.nodes);
    og_text_free(&d.tensors);
    og_model_free(model);
    return status;
}
