/* Graphs as text: one line a node, for people and for tests. */
#ifndef OG_GRAPH_PRINT_H
#define OG_GRAPH_PRINT_H

#include "runtime/graph/graph.h"

/* %12 = Add(%3, "fc.bias") : float32 [32, 10]   ; gradient of Gemm "fc" */
void og_graph_print(og_text *text, const og_graph *g);
/* The same line for one node, without a newline. */
void og_node_print(og_text *text, const og_graph *g, const og_node *n);
/* The instructions of a fused program: " {Mul Add Tanh}", " {Mul, Sum over 0 1}". */
void og_program_print(og_text *text, const og_program *program);
/* Graphviz. */
void og_graph_print_dot(og_text *text, const og_graph *g);

#endif
