/* Small graphs, in double unless told otherwise, what is in them, and what they give on plain
 * kernels. */
#ifndef OG_TESTS_PASSES_GRAPHS_H
#define OG_TESTS_PASSES_GRAPHS_H

#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/passes/rewrite.h"
#include "tests/test.h"

__attribute__((unused)) static og_dtype input_dtype = OG_DOUBLE;

__attribute__((unused)) static og_val input(og_graph *g, const char *name, int rank,
                                            const int64_t *dims)
{
    og_type t = og_type_make(input_dtype, rank, dims);
    return og_graph_add_input(g, name, &t);
}
#define Input(g, name, ...)                                                   \
    input(g, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
          (int64_t[]){__VA_ARGS__})

__attribute__((unused)) static int count(og_graph *g, const char *op)
{
    int n = 0;
    bool *live = og_graph_live(g);
    for (int i = 0; live && i < g->n_nodes; i++)
        n += live[i] && strcmp(g->nodes[i]->op->name, op) == 0;
    return n;
}

/* Element k of input i: irregular, between -2 and 2. */
__attribute__((unused)) static double input_element(int i, int64_t k)
{
    return 2 * sin(1.7 * (double)(k + 1) * (double)(i + 1));
}

/* An output, in double, with these inputs; the caller frees. */
__attribute__((unused)) static double *evaluate(og_graph *g, int output, int64_t *n)
{
    og_device *device = og_cpu_device_new(1);
    og_evaluator evaluator = og_eager_evaluator(device);
    for (int i = 0; i < g->n_inputs; i++) {
        og_value *v = g->values[g->inputs[i]];
        int64_t elements = og_type_elements(&v->type);
        double *data = og_arena_array(g->arena, (size_t)elements + 1, sizeof *data);
        for (int64_t k = 0; data && k < elements; k++)
            data[k] = input_element(i, k);
        v->kind = OG_VALUE_CONST;
        v->data = data;
    }
    bool *live = og_graph_live(g);
    for (int i = 0; live && i < g->n_nodes; i++)
        if (live[i])
            CHECK(evaluator.run(evaluator.user, g, g->nodes[i]));
    CHECK_STR(og_error_text(&g->error), "");
    const og_value *y = g->values[g->outputs[output].value];
    *n = og_type_elements(&y->type);
    double *copy = malloc(sizeof *copy * (size_t)(*n + 1));
    for (int64_t i = 0; copy && i < *n; i++)
        copy[i] = og_value_double(y, i);
    device->destroy(device);
    return copy;
}

/* Everything is computed in double, so forms that differ in rounding alone agree to this. */
#define PASS_TOLERANCE 1e-12

typedef void build_fn(og_graph *g);

/* The graph after `pass` gives what it gave before; how many nodes `op` it then has. */
__attribute__((unused)) static int compare(build_fn *build, og_graph *(*pass)(og_graph *),
                                           const char *op)
{
    og_graph *plain = og_graph_new(), *source = og_graph_new();
    if (!CHECK(plain && source))
        return -1;
    build(plain);
    build(source);
    og_graph *after = pass(source);
    int found = after ? count(after, op) : -1;
    int64_t n = 0, m = 0;
    double *a = evaluate(plain, 0, &n), *b = after ? evaluate(after, 0, &m) : NULL;
    CHECK_INT(m, n);
    for (int64_t i = 0; a && b && i < n && i < m; i++)
        CHECK_CLOSE(b[i], a[i], PASS_TOLERANCE);
    free(a);
    free(b);
    og_graph_free(plain);
    og_graph_free(source);
    return found;
}

#endif
