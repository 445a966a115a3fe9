/* --reference FILE.npz: another trainer's first steps of a model, as tools/export_torch.py saves
 * them, to be held against ours. Members:
 *
 *     options              text, a line an option, name=value; "@" at the start of a path is the
 * file input.NAME, target.NAME    the batch, which `options` names as --data and --target loss,
 * grad_norm      [steps] float64, of the module in float64; loss32, grad_norm32 in float32
 *     parameter.NAME       [steps + 1, 4] float64: norm, sum, distance from the start, and distance
 *                          between float32 and float64, before the first step and after each
 *
 * Norms, sums and distances are the same for a weight and its transpose. What float32 and float64
 * differ by says what rounding does: the tolerance is max(1e-4 of the figure, 4 × that).
 */
#ifndef OG_COMMAND_REFERENCE_H
#define OG_COMMAND_REFERENCE_H

#include "tools/ongrad/run.h"

typedef struct og__reference {
    int64_t steps;        /* in the file */
    int64_t same;         /* of them are as here */
    int compared, absent; /* tensors; those that the file does not have */
    og_text difference;   /* what differs in the next step; empty: nothing */
} og__reference;

/* Its options, behind those of the command line. An exit status. */
int og__reference_options(og__arguments *a, const char *path);
/* Steps of the session on the batch, until one differs. An exit status: a difference is none. The
 * difference is the caller's to free. */
int og__reference_replay(og__reference *r, const og__run *run, const char *path,
                         const void *const *inputs, const void *const *targets, int64_t samples);

#endif
