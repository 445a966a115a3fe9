/* Writing a static graph to the wire: what a model of it (save_graph.c) and the algorithm of
 * another model (algorithm.c) share. */
#ifndef OG_ONNX_GRAPH_WRITER_H
#define OG_ONNX_GRAPH_WRITER_H

#include "runtime/graph/op.h"
#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"

typedef struct og__writer {
    const og_graph *g;
    og_arena *arena;
    og_error *error;
    og__out out;        /* of the GraphProto */
    const char **names; /* by value id */
    bool *used;         /* by value id: some node reads it, or it is an output */
    og__names taken;
    int opset, ir;
    og__names domains; /* other than ONNX's own */
    const char **domain_list;
    int n_domains;
    const og_onnx *base; /* the model whose algorithm is written (algorithm.c); NULL: none */
    bool *shared;        /* by value id: the base's own input or initializer */
    int base_opset;      /* that nodes must be of; 0: the newest */
    bool framed;         /* inputs and outputs are declared by what the graph was loaded from */
    og__external *lend;  /* gets the data of large initializers; NULL: it is part of the bytes */
} og__writer;

og_status og__writer_no_memory(og__writer *w);
/* All lists that go by value id; false when out of memory. */
bool og__writer_begin(og__writer *w);
/* The value takes the name, or it with a number behind, unless it has one. false when out of
 * memory. */
bool og__writer_name(og__writer *w, int id, const char *wish);
/* Names of what is left: the wish of each value. */
bool og__writer_name_rest(og__writer *w);
void og__writer_mark_used(og__writer *w);
void og__writer_put_value_info(og__writer *w, uint32_t number, const char *name,
                               const og_type *type);
/* The fields of a tensor but its elements. */
og__out og__writer_tensor_head(const og__writer *w, const char *name, const og_type *type);
og_status og__writer_put_constants(og__writer *w);
og_status og__writer_put_node(og__writer *w, const og_node *n);
/* The output `wish` of value `id`: the value itself where it is a node's and goes by that name,
 * else an Identity of it. A name names one output only, so `given` values always take the Identity.
 * *name: what it is called. */
og_status og__writer_put_output(og__writer *w, const char *wish, int id, bool *given,
                                const char **name);
/* All outputs of the graph. *given: by value id, for more of them (og__writer_put_output). */
og_status og__writer_put_outputs(og__writer *w, bool **given);

/* Names, constants and nodes. */
og_status og__writer_put_body(og__writer *w);
void og__writer_put_opset(og__writer *w, og__out *model, const char *domain, int version);

/* algorithm.c: the node as it was written before the base's opset; an error where that is not
 * possible. *axes: an input that becomes attribute "axes"; -1: none. */
og_status og__algorithm_check_node(og__writer *w, const og_node *n, int *axes);

#endif
