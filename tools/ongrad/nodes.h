/* The graph with its inputs bound, as inspect, check and the drawings read it: nodes and what each
 * holds. */
#ifndef OG_COMMAND_NODES_H
#define OG_COMMAND_NODES_H

#include "tools/ongrad/run.h"

typedef struct og__nodes {
    const og_model *model;
    int n;
    og_node_info *infos;
    int64_t *parameters; /* elements of trained tensors a node reads; a tensor counts at its first
                            reader */
    int n_parameters;
    og_parameter_info *tensors; /* by og_model_parameter's order */
    int *by_name;               /* indices of tensors, sorted by name */
    int trained_tensors;
    int64_t trained_elements;
    double flops;
    int no_gradient, unsupported; /* nodes */
} og__nodes;

/* inputs: without symbols. An exit status; og__nodes_free in any case. */
int og__nodes_read(og__nodes *nodes, og__run *run, const og_tensor_info *inputs);
void og__nodes_free(og__nodes *nodes);
/* An output of the model: its shape as the model says, else as the bound inputs make it. */
og_tensor_info og__nodes_output(const og__nodes *nodes, int index);
/* Index into tensors; -1: no float initializer of this name. */
int og__nodes_find(const og__nodes *nodes, const char *name);
/* What makes each value, by name. */
typedef struct og__producers {
    struct og__producer *items; /* sorted */
    size_t n;
} og__producers;
/* false: out of memory. The names stay the model's. */
bool og__producers_read(og__producers *producers, const og__nodes *nodes);
void og__producers_free(og__producers *producers);
/* *node: the node, or -1 - i for input i of the model. false: nothing makes it (a weight). */
bool og__producers_find(const og__producers *producers, const char *value, int *node);

/* "640", "1.20 M", "37.0 G": a unit follows without a space where there is a prefix. */
const char *og__count_text(char buffer[32], double count);
/* "1,234,567" */
const char *og__grouped_text(char buffer[32], int64_t count);

/* graphviz.c: the graph as DOT. */
void og__nodes_dot(const og__nodes *nodes, og_text *out);
/* graphviz.c: `dot` drawn as SVG to a file, which appears whole or not at all. */
int og__draw_svg(const char *command, const og_text *dot, const char *path);

#endif
