/* Writing a static graph to the wire: what a model of it (save_graph.c) and the algorithm of
 * another model (algorithm.c) share. */
#ifndef OG_ONNX_GRAPH_WRITER_H
#define OG_ONNX_GRAPH_WRITER_H

#include "runtime/graph/op.h"
#include "runtime/onnx/loader.h"

enum {
    MODEL_IR = 1,
    MODEL_PRODUCER = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_METADATA = 14
};
enum {
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE_INFO = 13
};
enum {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOC = 6,
    NODE_DOMAIN = 7
};
enum {
    ATTR_NAME = 1,
    ATTR_F = 2,
    ATTR_I = 3,
    ATTR_S = 4,
    ATTR_T = 5,
    ATTR_FLOATS = 7,
    ATTR_INTS = 8,
    ATTR_STRINGS = 9,
    ATTR_TYPE = 20
};
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION = 14
};
enum {
    VALUE_NAME = 1,
    VALUE_TYPE = 2,
    TYPE_TENSOR = 1,
    TENSOR_ELEM = 1,
    TENSOR_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_PARAM = 2
};

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
    int base_opset;
    og__external *lend; /* gets the data of large initializers; NULL: it is part of the bytes */
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

/* algorithm.c: the node as it was written before the base's opset; an error where that is not
 * possible. *axes: an input that becomes attribute "axes"; -1: none. */
og_status og__algorithm_check_node(og__writer *w, const og_node *n, int *axes);

#endif
