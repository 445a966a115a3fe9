#include "tools/ongrad/random_batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* (0, 1] */
static double uniform(uint64_t *state)
{
    return ((double)(next(state) >> 11) + 1) * 0x1p-53;
}

/* Box and Muller's transform: √(−2 ln u) cos 2πv */
static double normal(uint64_t *state)
{
    double u = uniform(state), v = uniform(state);
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* limit: of whole numbers, 0 … limit − 1. zero_one: floats are 0 or 1. */
static void *make(const og_tensor_info *info, uint64_t *state, uint64_t limit, bool zero_one)
{
    int64_t n = og__shape_elements(info);
    size_t element = (size_t)og_dtype_bits(info->dtype) / 8;
    char *data = n >= 0 && element ? calloc((size_t)n + 1, element) : NULL;
    for (int64_t i = 0; data && i < n; i++) {
        if (info->dtype == OG_FLOAT || info->dtype == OG_DOUBLE) {
            double x = zero_one ? (double)(next(state) & 1) : normal(state);
            if (info->dtype == OG_FLOAT)
                ((float *)data)[i] = (float)x;
            else
                ((double *)data)[i] = x;
        } else if (info->dtype != OG_FLOAT16 && info->dtype != OG_BFLOAT16) { /* these stay 0 */
            uint64_t x = next(state) % limit;
            if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
                x <<= 64 - 8 * element;
            memcpy(data + (size_t)i * element, &x, element);
        }
    }
    return data;
}

/* How many classes the output of a loss has, by the target's shape: the dim that the target lacks.
 */
static uint64_t count_classes(const og__run *run, const og_loss_info *loss,
                              const og_tensor_info *target)
{
    og_tensor_info output;
    if (!loss || og_session_output(run->session, loss->output, &output) != OG_OK || output.rank < 2)
        return 2;
    bool last = output.rank > 2 && target->rank == output.rank - 1 &&
                target->dims[1] == output.dims[1] && target->dims[1] != output.dims[2];
    int64_t classes = output.dims[last ? output.rank - 1 : 1];
    return classes > 1 ? (uint64_t)(classes < 128 ? classes : 128) : 1;
}

int og__random_batch_new(og__random_batch *b, const og__run *run, uint64_t seed)
{
    *b = (og__random_batch){0};
    b->inputs = calloc((size_t)run->n_inputs + 1, sizeof *b->inputs);
    b->targets = calloc((size_t)run->n_targets + 1, sizeof *b->targets);
    bool ok = b->inputs && b->targets;
    if (ok) {
        b->n_inputs = run->n_inputs;
        b->n_targets = run->n_targets;
    }
    for (int i = 0; ok && i < run->n_inputs; i++)
        ok = (b->inputs[i] = make(&run->inputs[i], &seed, 2, false)) != NULL;
    for (int t = 0; ok && t < run->n_targets; t++) {
        const og_loss_info *loss = og__losses_of_target(&run->losses, t);
        bool zero_one =
            loss && (!strcmp(loss->loss, "bce_with_logits") || !strcmp(loss->loss, "kl_div"));
        uint64_t classes = count_classes(run, loss, &run->targets[t]);
        b->targets[t] = make(&run->targets[t], &seed, classes, zero_one);
        ok = b->targets[t] != NULL;
    }
    return ok ? OG__EXIT_DONE
              : og__say_error(run->command, OG__EXIT_FAILED, "out of memory for random inputs");
}

void og__random_batch_free(og__random_batch *b)
{
    for (int i = 0; i < b->n_inputs; i++)
        free(b->inputs[i]);
    for (int t = 0; t < b->n_targets; t++)
        free(b->targets[t]);
    free(b->inputs);
    free(b->targets);
    *b = (og__random_batch){0};
}
