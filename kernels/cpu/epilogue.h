/* Epilogues: the program that a product carries, which its result goes through before it is
 * written, as steps of oneDNN's primitives (onednn.h). Operand 0 of the program is the result
 * itself, the others are the node's last inputs. */
#ifndef OG_KERNELS_CPU_EPILOGUE_H
#define OG_KERNELS_CPU_EPILOGUE_H

#include "kernels/cpu/onednn.h"

/* y = product, then step after step: y = y + an input, or an activation of y. */
typedef struct og__epilogue {
    int n;
    struct {
        int input; /* of the call, that is added; -1: an activation */
        bool row;  /* the input is one row for all rows of y, a bias; else it is as large as y */
        og_scalar scalar; /* the activation */
        bool copied;      /* the input goes through the workspace, for it has gaps */
        size_t copy_offset;
    } steps[OG__POST_STEPS];
} og__epilogue;

/* The call's epilogue, of no steps if it has none; rows of the result have `columns` elements.
 * False where oneDNN does not do it, or would do it less exactly than a program. */
bool og__epilogue_of(const og_call *call, int64_t columns, og__epilogue *e);
/* Books copies in the call's workspace. */
void og__epilogue_book(og__epilogue *e, og_call *call);
/* The steps for a primitive whose results have these dims and strides; the caller frees them with
 * og__post_free, on failure too. */
bool og__epilogue_post(const og__epilogue *e, const og_call *call, int rank, const int64_t *dims,
                       const int64_t *strides, og__post *post);
/* What is added lies at data[step], after copies are made. */
void og__epilogue_gather(const og__epilogue *e, const og_call *call, char *data[OG__POST_STEPS]);
/* Arguments of a run whose results begin `offset` elements into y; appended to args and data, n of
 * which are there. Returns how many there are then. */
int og__epilogue_args(const og__epilogue *e, const og_call *call,
                      char *const gathered[OG__POST_STEPS], int64_t offset, int n, int *args,
                      void **data);

#endif
