/* The first content of weights. Element i of weight w is a function of (seed, w, i) alone, by the
 * generator of runtime/base/random.h, so that a seed gives the same file on any number of threads.
 */
#include <inttypes.h>
#include <math.h>

#include "models/model.h"
#include "runtime/base/random.h"

enum { BLOCK = 256 }; /* elements drawn together */

/* Words of elements 2 × first … 2 × (first + BLOCK / 2) − 1 */
static void make_words(const uint32_t key[2], int64_t first, uint32_t words[BLOCK])
{
    for (int i = 0; i < BLOCK / 2; i++) {
        uint64_t counter = (uint64_t)first + (uint64_t)i;
        og_threefry(key, (uint32_t)counter, (uint32_t)(counter >> 32), &words[2 * i]);
    }
}

/* From −1 to 1, both left out: (2 ⌊word / 2⁸⌋ + 1) 2⁻²⁴ − 1 */
static double uniform_of(uint32_t word)
{
    return (double)(2 * (word >> 8) + 1) * 0x1p-24 - 1;
}

/* Two normal numbers of two words (Box and Muller, A note on the generation of random normal
 * deviates, 1958). */
static void normal_pair(const uint32_t word[2], double deviation, double pair[2])
{
    double radius = deviation * sqrt(-2 * log(((double)word[0] + 0.5) * 0x1p-32));
    double angle = 2 * M_PI * ((double)word[1] + 0.5) * 0x1p-32;
    pair[0] = radius * cos(angle);
    pair[1] = radius * sin(angle);
}

static void draw_block(const uint32_t key[2], og__init init, int64_t at, int64_t n, float *w)
{
    uint32_t words[BLOCK];
    double values[BLOCK];
    make_words(key, at / 2, words);
    for (int i = 0; i < BLOCK; i += 2) {
        if (init.kind == OG__INIT_NORMAL) {
            normal_pair(&words[i], init.a, &values[i]);
        } else {
            values[i] = init.a * uniform_of(words[i]);
            values[i + 1] = init.a * uniform_of(words[i + 1]);
        }
    }
    for (int64_t i = 0; i < n; i++)
        w[at + i] = (float)values[i];
}

/* w: n elements */
static void draw(const uint32_t key[2], og__init init, int64_t n, int threads, float *w)
{
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static) if (blocks > 64)
    for (int64_t k = 0; k < blocks; k++) {
        int64_t at = k * BLOCK, count = n - at < BLOCK ? n - at : BLOCK;
        if (init.kind != OG__INIT_CONSTANT)
            draw_block(key, init, at, count, w);
        for (int64_t i = at; init.kind == OG__INIT_CONSTANT && i < at + count; i++)
            w[i] = (float)init.a;
    }
}

/* Does it fit the memory? Asked before any is taken. */
static og_status check_size(og__building *b, og_device *device)
{
    uint64_t bytes = 0, total, free;
    char size[32], room[32];
    for (int i = 0; i < b->n_weights; i++)
        if (__builtin_add_overflow(
                bytes, (uint64_t)og_type_bytes(&b->g->values[b->weights[i].value]->type), &bytes))
            bytes = UINT64_MAX;
    device->memory(device, &total, &free);
    if (bytes <= free)
        return OG_OK;
    return og_fail(&b->g->error, OG_OUT_OF_MEMORY,
                   "%s has %" PRIu64 " parameters, %s, and %s of memory are free", b->type->name,
                   bytes / sizeof(float), og_format_bytes(size, bytes),
                   og_format_bytes(room, free));
}

og_status og__weights_draw(og__building *b, int64_t seed, og_device *device)
{
    OG_TRY(check_size(b, device));
    for (int i = 0; i < b->n_weights; i++) {
        og_value *v = b->g->values[b->weights[i].value];
        size_t bytes = (size_t)og_type_bytes(&v->type);
        float *w = og_arena_alloc(b->g->arena, bytes + 1);
        uint32_t key[2];
        if (!w)
            return og_fail_memory(&b->g->error, bytes, v->name);
        og_random_key(seed, -1, 0, i, key);
        draw(key, b->weights[i].init, og_type_elements(&v->type), device->threads, w);
        v->data = w;
    }
    return OG_OK;
}
