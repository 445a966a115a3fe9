/* Random and KeepMask: numbers that are a pure function of position, node and index (ops/random.c).
 * A block of the generator makes two words, for two neighbouring elements. */
#include "runtime/base/random.h"
#include "kernels/cpu/internal.h"

enum { BLOCKS = 64 }; /* computed together, in vectors */

/* The key of this node in this micro-batch. */
static void key_of(const og_call *call, uint32_t key[2])
{
    const int64_t *position = call->x[0].data;
    og_random_key(position[0], position[1], position[2], og_attr_int(call->node, "key", 0), key);
}

/* Words of elements 2 × first … 2 × (first + BLOCKS) − 1 */
static void make_words(const uint32_t key[2], int64_t first, uint32_t words[2 * BLOCKS])
{
    uint32_t a[BLOCKS], b[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        uint64_t block = (uint64_t)first + (uint64_t)i;
        uint32_t word[2];
        og_threefry(key, (uint32_t)block, (uint32_t)(block >> 32), word);
        a[i] = word[0];
        b[i] = word[1];
    }
    for (int i = 0; i < BLOCKS; i++) {
        words[2 * i] = a[i];
        words[2 * i + 1] = b[i];
    }
}

/* Random: position int64 [3] → y float, from 0 to below 1 */
static og_status run_uniform(const og_call *call, og_error *error)
{
    (void)error;
    float *y = call->y[0].data;
    int64_t n = og__elements(&call->y[0]), tasks = (n + 2 * BLOCKS - 1) / (2 * BLOCKS);
    uint32_t key[2];
    key_of(call, key);
#pragma omp parallel for num_threads(og__threads(call, n * 4)) schedule(static)
    for (int64_t t = 0; t < tasks; t++) {
        uint32_t words[2 * BLOCKS];
        int64_t at = t * 2 * BLOCKS, count = og__min(2 * BLOCKS, n - at);
        make_words(key, t * BLOCKS, words);
        for (int64_t i = 0; i < count; i++)
            y[at + i] = (float)(words[i] >> 8) * 0x1p-24f;
    }
    return OG_OK;
}

static bool supports_keep(const og_call *call)
{
    return og__is_real(call->x[1].type.dtype);
}

/* KeepMask: position, ratio scalar → y bool: ⌊word / 2⁸⌋ 2⁻²⁴ ≥ ratio */
static og_status run_keep(const og_call *call, og_error *error)
{
    (void)error;
    uint8_t *y = call->y[0].data;
    int64_t n = og__elements(&call->y[0]), tasks = (n + 2 * BLOCKS - 1) / (2 * BLOCKS);
    double ratio = og__load_double(call->x[1].data, call->x[1].type.dtype, 0);
    uint32_t least = (uint32_t)fmin(fmax(ceil(ratio * 0x1p24), 0), 0x1p24), key[2];
    key_of(call, key);
#pragma omp parallel for num_threads(og__threads(call, n * 4)) schedule(static)
    for (int64_t t = 0; t < tasks; t++) {
        uint32_t words[2 * BLOCKS];
        int64_t at = t * 2 * BLOCKS, count = og__min(2 * BLOCKS, n - at);
        make_words(key, t * BLOCKS, words);
        for (int64_t i = 0; i < count; i++)
            y[at + i] = words[i] >> 8 >= least;
    }
    return OG_OK;
}

const og_kernel og_kernels_cpu_random[] = {
    {"ai.ongrad::Random", "plain", OG_KERNEL_REFERENCE, NULL, NULL, run_uniform, NULL},
    {"ai.ongrad::KeepMask", "plain", OG_KERNEL_REFERENCE, supports_keep, NULL, run_keep, NULL},
    {0},
};
