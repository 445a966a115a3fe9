/* Reductions, alone (reduce.c) or at the end of a program (elementwise.c): their planner and
 * launcher (fold.c), and the writer of their kernels (fold_text.c). */
#ifndef OG_KERNELS_CUDA_FOLD_H
#define OG_KERNELS_CUDA_FOLD_H

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/internal.h"

/* A loop whose axes are kept or reduced. Where the fastest axis is reduced, a team of threads takes
 * in the groups of `width` elements that go into one result; else a thread takes in a column of
 * groups that go into `width` results. What is reduced is cut into parts, by shapes alone, which
 * are joined in order by a second kernel. */
typedef struct og__fold_loop {
    og__loop loop;
    bool reduced[OG_MAX_RANK + 1];
    int64_t y_strides[OG_MAX_RANK + 1]; /* of kept axes in the result, in elements */
    og_dtype result;
    bool by_rows;        /* the fastest axis is reduced */
    int team;            /* threads of a row: a warp, or a block */
    int64_t kept, count; /* results; elements that go into each */
    int64_t steps;       /* groups of a row, or elements of a column */
    int64_t parts, part; /* and how many of these a part has */
} og__fold_loop;

enum { OG__FOLD_THREADS = 256, OG__FOLD_COLUMNS = 32, OG__FOLD_WARP = 32 };

#define OG__FOLD_WIDE "og_fold_wide"
#define OG__FOLD_SINGLE "og_fold_single"
#define OG__FOLD_JOIN "og_fold_join"

/* How many blocks the kernel has. */
int64_t og__fold_blocks(const og__fold_loop *f);
/* The same reduction without wide accesses. */
og__fold_loop og__fold_narrow(const og__fold_loop *f);
/* The two kernels, and where there are parts the third, behind kernel.h and arithmetic.h.
 * Arguments: addresses of inputs and outputs, of the result, and of the parts' results, kept ×
 * parts. */
void og__fold_write(const og__fold_loop *f, og_text *text);

/* A call as a reduction of what `program` computes from its inputs; reduced: by axis of `space`.
 * The call's last output is the result, those before it are the program's; all are dense. */
bool og__cuda_fold_supports(const og_call *call, const og_program *program);
og_status og__cuda_fold_prepare(og_call *call, const og_program *program, const og_type *space,
                                const bool *reduced, og_error *error);
og_status og__cuda_fold_run(const og_call *call, og_error *error);
void og__cuda_fold_release(og_call *call);

#endif
