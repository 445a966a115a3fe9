/* Between the optimizers' steps (optimizer.c) and their loops (optimizer_simd.c), which exist once
 * for each instruction set. */
#ifndef OG_KERNELS_CPU_OPTIMIZER_H
#define OG_KERNELS_CPU_OPTIMIZER_H

#include "kernels/cpu/iterate.h"

/* As AdamStep of ops/optimizer.c names them. */
typedef struct og__adam {
    double beta1, beta2, epsilon, l2, factor, decay, rate, root;
} og__adam;

/* n elements, all float or all double. w, g, m, v are read, w1, m1, v1 written; each of these may
 * be the same memory as the input of its name. */
OG__BUILDS(void, og__adam_step,
           (const og__adam *a, bool is_double, int64_t n, const void *w, const void *g,
            const void *m, const void *v, void *w1, void *m1, void *v1));

#endif
