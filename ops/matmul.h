/* Forms of MatMulEpilogue, a matrix product with more in the same kernel: a […, m, k], b [k, n],
 * y […, m, n]; bias [n]; x as y. Attribute `wide`: y is float32, a and b are half.
 *
 *     form       inputs       outputs, of which the second may be left out
 *     bias       a, b, bias   y = a b + bias
 *     relu       a, b, bias   y = Relu(a b + bias)
 *     gelu       a, b, bias   y = GeluTanh(x), x = a b + bias
 *     relu_grad  a, b, x      y = a b where x > 0, else 0;  s [n] = Σ y
 *     gelu_grad  a, b, x      y = GeluTanhGrad(a b, x);     s [n] = Σ y
 *     sum_a      a, b         y = a b;                      s [m] = Σ over k of a
 *     sum_b      a, b         y = a b;                      s [n] = Σ over k of b
 */
#ifndef OG_OPS_MATMUL_H
#define OG_OPS_MATMUL_H

#include "runtime/graph/op.h"

typedef enum og_matmul_form {
    OG_MATMUL_BIAS,
    OG_MATMUL_RELU,
    OG_MATMUL_GELU,
    OG_MATMUL_RELU_GRAD,
    OG_MATMUL_GELU_GRAD,
    OG_MATMUL_SUM_A,
    OG_MATMUL_SUM_B,
    OG_MATMUL_FORMS /* none of them */
} og_matmul_form;

static const char *const og_matmul_form_names[OG_MATMUL_FORMS] = {
    "bias", "relu", "gelu", "relu_grad", "gelu_grad", "sum_a", "sum_b"};

og_matmul_form og_matmul_form_of(const og_node *n);

#endif
