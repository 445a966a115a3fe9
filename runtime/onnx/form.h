/* What the files share that write a loaded model in another form (og_onnx_formed): form.c walks the
 * model, form_half.c knows which values are in half precision. */
#ifndef OG_ONNX_FORM_H
#define OG_ONNX_FORM_H

#include "runtime/onnx/fields.h"
#include "runtime/onnx/loader.h"

/* A value of the model's graph by its name. */
typedef struct og__formed {
    bool is_float;      /* float32: the others stay as they are */
    bool is_half;       /* it is made in float16 */
    bool output, input; /* of the graph */
    const og_const *c;  /* content of an initializer or Constant; NULL: it is computed */
    bool wide, narrow;  /* an initializer that is read in float32; in float16 */
    const char *in_float, *in_half; /* its names in either type; NULL: not made yet */
} og__formed;

typedef struct og__half {
    const og_onnx *base;
    const og_dtype *dtypes; /* by value of its graph */
    og_arena *arena;
    og_error *error;
    og__names index, taken, dtype_index;
    og__formed *values;
    int n_values, n_nodes;
    size_t capacity, node_capacity;
    bool *halves; /* by node, in order: computes in half precision */
} og__half;

/* Which nodes compute in float16, of the graph's wire. */
og_status og__half_decide(og__half *h, og__wire graph);
/* Node number `node` of the graph, and the casts that it needs. */
og_status og__half_node(og__half *h, int node, og__wire in, og__out *out);
/* Is the initializer, or what a ValueInfoProto describes, float16 under its own name? */
bool og__half_is_half(const og__half *h, const og__field *name);

#endif
