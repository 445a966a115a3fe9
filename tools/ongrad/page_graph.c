/* The model's graph: a drawing where it is small, and a list by block that opens level by level, so
 * that thousands of nodes stay usable. A node's block is what its name says, "/layer1/conv/Conv",
 * else what the weight it reads says, "layer1.conv.weight", else that of the node before it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/nodes.h"
#include "tools/ongrad/page.h"

enum {
    MOST_DRAWN = 48, /* nodes of a drawing */
    MOST_OPEN = 40,  /* nodes of a list that is open from the start */
    MOST_LISTED = 6000,
    AT_ONCE = 50, /* entries of one block that open together */
    DEEPEST = 6
};

/* A block, or a node in one. */
typedef struct entry {
    char name[64];
    int node;        /* -1: a block */
    int next;        /* in the same block; 0: none */
    int first, last; /* of a block; 0: none */
    int64_t nodes;
    double parameters, flops;
} entry;

typedef struct tree {
    entry *entries; /* the first is the root */
    int n;
    og__json_value list; /* nodes */
    int listed;
} tree;

/* ---- the tree */

static int append(tree *t, int block, const char *name, size_t length, int node)
{
    int at = t->n++;
    entry *e = &t->entries[at], *b = &t->entries[block];
    *e = (entry){.node = node};
    snprintf(e->name, sizeof e->name, "%.*s", (int)(length < 63 ? length : 63), name);
    if (b->last)
        t->entries[b->last].next = at;
    else
        b->first = at;
    b->last = at;
    return at;
}

static int block_of(tree *t, int parent, const char *name, size_t length)
{
    length = length < 63 ? length : 63;
    for (int i = t->entries[parent].first; i; i = t->entries[i].next)
        if (t->entries[i].node < 0 && strlen(t->entries[i].name) == length &&
            !strncmp(t->entries[i].name, name, length))
            return i;
    return append(t, parent, name, length, -1);
}

/* The block of a path without its last part; where it has but one part, the root. */
static int descend(tree *t, const char *path, char separator)
{
    int block = 0;
    for (int depth = 0; depth < DEEPEST; depth++) {
        while (*path == separator)
            path++;
        const char *end = strchr(path, separator);
        if (!end)
            break;
        block = block_of(t, block, path, (size_t)(end - path));
        path = end + 1;
    }
    return block;
}

/* entries: room for a block a node and part of its path. */
static bool build(tree *t)
{
    int n = og__json_count(t->list), block = 0;
    t->entries = calloc((size_t)n * (DEEPEST + 1) + 1, sizeof *t->entries);
    if (!t->entries)
        return false;
    t->entries[0].node = -1;
    t->n = 1;
    for (int i = 0; i < n; i++) {
        og__json_value node = og__json_item(t->list, i);
        const char *name = og__json_text(og__json_at(node, "name")),
                   *weight = og__json_text(og__json_at(node, "weight"));
        if (strchr(name, '/'))
            block = descend(t, name, '/');
        else if (strchr(weight, '.') && !strstr(weight, "::"))
            block = descend(t, weight, '.');
        int at = append(t, block, name, strlen(name), i);
        t->entries[at].nodes = 1;
        t->entries[at].parameters = og__page_number(node, "parameters");
        t->entries[at].flops = og__page_number(node, "flops");
    }
    return true;
}

/* What is in a block, of all that lies in it. */
static void add_up(tree *t, int block)
{
    entry *b = &t->entries[block];
    for (int i = b->first; i; i = t->entries[i].next) {
        if (t->entries[i].node < 0)
            add_up(t, i);
        b->nodes += t->entries[i].nodes;
        b->parameters += t->entries[i].parameters;
        b->flops += t->entries[i].flops;
    }
}

/* ---- the list */

static void add_numbers(const og__page *page, const entry *e)
{
    char count[32];
    if (e->parameters > 0)
        og_text_printf(page->out, "<small>%s parameters</small>",
                       og__grouped_text(count, (int64_t)e->parameters));
    if (e->flops > 0)
        og_text_printf(page->out, "<small>%s%sFLOPs</small>", og__count_text(count, e->flops),
                       e->flops < 999.5 ? " " : "");
}

static void add_leaf(const og__page *page, tree *t, const entry *e)
{
    og__json_value node = og__json_item(t->list, e->node);
    if (t->listed++ >= MOST_LISTED)
        return;
    og_text_add(page->out, "<div class=\"node\"><b>");
    og__html_text(page->out, og__json_text(og__json_at(node, "op")));
    og_text_add(page->out, "</b> ");
    og__html_text(page->out, og__json_text(og__json_at(node, "name")));
    og_text_add(page->out, "<small>");
    og__html_text(page->out, og__json_text(og__json_at(node, "shape")));
    og_text_add(page->out, "</small>");
    add_numbers(page, e);
    og_text_add(page->out, "</div>\n");
}

static void add_block(const og__page *page, tree *t, int block);

/* Long blocks open part by part. */
static void begin_part(const og__page *page, const tree *t, int from, int at, int n)
{
    int to = from, last = at + AT_ONCE < n ? at + AT_ONCE : n;
    for (int i = at + 1; i < last; i++)
        to = t->entries[to].next;
    og_text_printf(page->out, "<details><summary>%d to %d of %d<small>", at + 1, last, n);
    og__html_text(page->out, t->entries[from].name);
    og_text_add(page->out, " … ");
    og__html_text(page->out, t->entries[to].name);
    og_text_add(page->out, "</small></summary>\n");
}

static void add_entries(const og__page *page, tree *t, int block)
{
    int n = 0, at = 0;
    for (int i = t->entries[block].first; i; i = t->entries[i].next)
        n++;
    bool parts = n > AT_ONCE + AT_ONCE / 2;
    for (int i = t->entries[block].first; i; i = t->entries[i].next, at++) {
        if (parts && at % AT_ONCE == 0)
            begin_part(page, t, i, at, n);
        if (t->entries[i].node < 0)
            add_block(page, t, i);
        else
            add_leaf(page, t, &t->entries[i]);
        if (parts && (at % AT_ONCE == AT_ONCE - 1 || at == n - 1))
            og_text_add(page->out, "</details>\n");
    }
}

static void add_block(const og__page *page, tree *t, int block)
{
    const entry *e = &t->entries[block];
    og_text_printf(page->out, "<details%s><summary><span class=\"op\">",
                   t->entries[0].nodes <= MOST_OPEN ? " open" : "");
    og__html_text(page->out, e->name);
    og_text_printf(page->out, "</span><small>%lld node%s</small>", (long long)e->nodes,
                   e->nodes == 1 ? "" : "s");
    add_numbers(page, e);
    og_text_add(page->out, "</summary>\n");
    add_entries(page, t, block);
    og_text_add(page->out, "</details>\n");
}

static void add_list(const og__page *page, tree *t)
{
    og_text_add(page->out,
                "<figure class=\"wide\"><figcaption><b>Nodes by block</b></figcaption>\n");
    add_entries(page, t, 0);
    if (t->listed > MOST_LISTED)
        og_text_printf(page->out,
                       "<p class=\"note\">%d more nodes are counted, and not listed; "
                       "ongrad inspect lists all.</p>\n",
                       t->listed - MOST_LISTED);
    og_text_add(page->out, "</figure>\n");
}

/* ---- the drawing: layers from top to bottom, a node below all that it reads */

enum { BOX = 148, BOX_HEIGHT = 38, GAP = 22, ROW = 66 };

typedef struct place {
    int layer;
    double x; /* of its middle; before it is placed, where it wants to be */
    bool placed;
} place;

typedef struct drawing {
    og__json_value list, inputs, outputs;
    int n_nodes, n_inputs, n; /* n: with the inputs before the nodes, and the outputs after them */
    place *places;
    int layers;
    double width;
} drawing;

/* Index of what `from` says: nodes count from 0, the inputs from -1 down. */
static int index_of(const drawing *d, double from)
{
    int i = from >= 0 ? d->n_inputs + (int)from : -(int)from - 1;
    return i >= 0 && i < d->n_inputs + d->n_nodes ? i : -1;
}

static og__json_value item(const drawing *d, int i)
{
    return i < d->n_inputs                ? og__json_item(d->inputs, i)
           : i < d->n_inputs + d->n_nodes ? og__json_item(d->list, i - d->n_inputs)
                                          : og__json_item(d->outputs, i - d->n_inputs - d->n_nodes);
}

/* The k-th of what i reads; -2 past the end, -1: nothing that is drawn. */
static int source(const drawing *d, int i, int k)
{
    og__json_value from = og__json_at(item(d, i), "from");
    if (i < d->n_inputs)
        return -2;
    if (i >= d->n_inputs + d->n_nodes) {
        double one = og__json_number(from);
        return k > 0 ? -2 : isnan(one) ? -1 : index_of(d, one);
    }
    if (k >= og__json_count(from))
        return -2;
    double one = og__json_number(og__json_item(from, k));
    int at = isnan(one) || fabs(one) > 1e6 ? -1 : index_of(d, one);
    return at < i ? at : -1; /* nodes are in order */
}

/* Where the middle of what i reads lies, of what is placed already; `otherwise` where nothing is.
 */
static double wanted_x(const drawing *d, int i, double otherwise)
{
    double sum = 0;
    int n = 0;
    for (int k = 0, from; (from = source(d, i, k)) != -2; k++)
        if (from >= 0) {
            sum += d->places[from].x;
            n++;
        }
    return n ? sum / n : otherwise;
}

/* The nodes of a layer side by side, in the order of what they read. */
static void place_layer(drawing *d, int layer)
{
    int count = 0;
    for (int i = 0; i < d->n; i++)
        if (d->places[i].layer == layer) {
            count++;
            d->places[i].x = wanted_x(d, i, d->width);
        }
    double x = d->width / 2 - (count - 1) / 2.0 * (BOX + GAP);
    for (int placed = 0; placed < count; placed++, x += BOX + GAP) {
        int next = -1;
        for (int i = 0; i < d->n; i++)
            if (d->places[i].layer == layer && !d->places[i].placed &&
                (next < 0 || d->places[i].x < d->places[next].x))
                next = i;
        d->places[next].placed = true;
        d->places[next].x = x;
    }
}

static void place_all(drawing *d)
{
    for (int i = 0; i < d->n; i++) {
        for (int k = 0, from; (from = source(d, i, k)) != -2; k++)
            if (from >= 0 && d->places[from].layer >= d->places[i].layer)
                d->places[i].layer = d->places[from].layer + 1;
        if (d->places[i].layer + 1 > d->layers)
            d->layers = d->places[i].layer + 1;
    }
    int widest = 3;
    for (int layer = 0; layer < d->layers; layer++) {
        int count = 0;
        for (int i = 0; i < d->n; i++)
            count += d->places[i].layer == layer;
        widest = count > widest ? count : widest;
    }
    d->width = widest * (BOX + GAP) + GAP;
    for (int layer = 0; layer < d->layers; layer++)
        place_layer(d, layer);
}

static void add_edges(const og__page *page, const drawing *d)
{
    for (int i = 0; i < d->n; i++)
        for (int k = 0, from; (from = source(d, i, k)) != -2; k++) {
            if (from < 0)
                continue;
            const place *a = &d->places[from], *b = &d->places[i];
            double top = a->layer * ROW + BOX_HEIGHT + 4, bottom = b->layer * ROW + 4;
            double x1 = a->x, x2 = b->x, side = 0, bow = 14;
            if (b->layer > a->layer + 1) { /* around what lies between */
                bow = ROW / 2.0;
                double outside = a->x < b->x ? -1 : 1;
                side = outside * BOX * 0.75;
                x1 += outside * (BOX / 2.0 - 12);
                x2 += outside * (BOX / 2.0 - 12);
            }
            og_text_printf(
                page->out,
                "<path class=\"edge\" d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\"/>\n", x1, top,
                x1 + side, top + bow, x2 + side, bottom - bow, x2, bottom);
        }
}

/* The end of a text that is too long for a box, in characters. */
static void add_short(og_text *out, const char *text)
{
    enum { MOST = 21 };
    const char *s = text;
    int n = 0;
    while (*s && n < MOST) {
        s++;
        while (((unsigned char)*s & 0xc0) == 0x80)
            s++;
        n++;
    }
    char kept[4 * MOST + 4];
    snprintf(kept, sizeof kept, "%.*s%s", (int)(s - text), text, *s ? "…" : "");
    og__html_text(out, kept);
}

static void add_box(const og__page *page, const drawing *d, int i)
{
    og__json_value value = item(d, i);
    bool node = i >= d->n_inputs && i < d->n_inputs + d->n_nodes;
    const char *op = og__json_text(og__json_at(value, node ? "op" : "name"));
    double x = d->places[i].x, y = d->places[i].layer * ROW + 4;
    og_text_printf(page->out, "<g class=\"box%s\"><title>%s",
                   node ? og__page_number(value, "parameters") > 0 ? " weighted" : "" : " end",
                   node              ? ""
                   : i < d->n_inputs ? "input "
                                     : "output ");
    og__html_text(page->out, og__json_text(og__json_at(value, "name")));
    og_text_printf(page->out,
                   "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" rx=\"7\"/>"
                   "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                   x - BOX / 2.0, y, BOX, BOX_HEIGHT, x, y + 16);
    add_short(page->out, op);
    og_text_printf(page->out,
                   "</text><text class=\"shape\" x=\"%.1f\" y=\"%.1f\" "
                   "text-anchor=\"middle\">",
                   x, y + 31);
    add_short(page->out, og__json_text(og__json_at(value, "shape")));
    og_text_add(page->out, "</text></g>\n");
}

static void add_drawing(const og__page *page, og__json_value graph)
{
    drawing d = {.list = og__json_at(graph, "list"),
                 .inputs = og__json_at(graph, "inputs"),
                 .outputs = og__json_at(graph, "outputs")};
    d.n_nodes = og__json_count(d.list);
    d.n_inputs = og__json_count(d.inputs);
    d.n = d.n_inputs + d.n_nodes + og__json_count(d.outputs);
    if (d.n > MOST_DRAWN + 16 || d.n_nodes < 1)
        return;
    d.places = calloc((size_t)d.n, sizeof *d.places);
    if (!d.places) {
        page->out->failed = true;
        return;
    }
    place_all(&d);
    og_text_printf(page->out,
                   "<figure class=\"wide\"><figcaption><b>Drawing</b> <small>a blue edge: it has "
                   "parameters</small></figcaption>\n<svg id=\"draw\" viewBox=\"0 0 %.0f %d\" "
                   "role=\"img\" aria-label=\"the graph\">\n",
                   d.width, d.layers * ROW - (ROW - BOX_HEIGHT) + 10);
    add_edges(page, &d);
    for (int i = 0; i < d.n; i++)
        add_box(page, &d, i);
    og_text_add(page->out, "</svg></figure>\n");
    free(d.places);
}

/* ---- both */

void og__page_graph(const og__page *page)
{
    og__json_value graph = og__json_at(page->run, "graph");
    tree t = {.list = og__json_at(graph, "list")};
    char count[32];
    og__page_begin(page, "graph", "Graph");
    if (!graph.node) {
        og_text_add(page->out, "<p class=\"note\">The log does not hold the graph.</p>\n");
    } else {
        og_text_printf(page->out, "<p class=\"note\">%s nodes, ",
                       og__grouped_text(count, (int64_t)og__page_number(graph, "nodes")));
        og_text_printf(
            page->out, "%s trained parameters, ",
            og__grouped_text(count, (int64_t)og__page_number(graph, "trained_elements")));
        og_text_printf(page->out, "%sFLOPs forward a batch</p>\n<div class=\"charts\">\n",
                       og__count_text(count, og__page_number(graph, "flops")));
        if (!build(&t)) {
            page->out->failed = true;
        } else {
            add_up(&t, 0);
            if (og__json_count(t.list) <= MOST_DRAWN)
                add_drawing(page, graph);
            if (og__json_count(t.list))
                add_list(page, &t);
            else
                og_text_add(page->out, "<p class=\"note\">It is too large for a log; ongrad "
                                       "inspect lists it.</p>\n");
        }
        og_text_add(page->out, "</div>\n");
    }
    free(t.entries);
    og__page_end(page);
}
