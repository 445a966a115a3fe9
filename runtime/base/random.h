/* The generator of all random numbers: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw,
 * Parallel random numbers: as easy as 1, 2, 3, 2011), a pure function of key and counter. In
 * headers, so that loops over it become vectors. */
#ifndef OG_BASE_RANDOM_H
#define OG_BASE_RANDOM_H

#ifndef OG_RANDOM_FUNCTION /* what stands in front of these functions: kernels of cards have words \
                              of their own */
#include <stdint.h>
#define OG_RANDOM_FUNCTION static inline
#endif

OG_RANDOM_FUNCTION uint32_t og_random_rotate(uint32_t a, int by)
{
    return a << by | a >> (32 - by);
}

/* word[0], word[1] = the block of counter a, b under `key` */
OG_RANDOM_FUNCTION void og_threefry(const uint32_t key[2], uint32_t a, uint32_t b, uint32_t word[2])
{
    const uint32_t k0 = key[0], k1 = key[1], k2 = k0 ^ k1 ^ 0x1BD11BDAu;
#define ROUNDS(r0, r1, r2, r3, ka, kb) \
    a += b;                            \
    b = og_random_rotate(b, r0) ^ a;   \
    a += b;                            \
    b = og_random_rotate(b, r1) ^ a;   \
    a += b;                            \
    b = og_random_rotate(b, r2) ^ a;   \
    a += b;                            \
    b = og_random_rotate(b, r3) ^ a;   \
    a += ka;                           \
    b += kb;
    a += k0;
    b += k1;
    ROUNDS(13, 15, 26, 6, k1, k2 + 1)
    ROUNDS(17, 29, 16, 24, k2, k0 + 2)
    ROUNDS(13, 15, 26, 6, k0, k1 + 3)
    ROUNDS(17, 29, 16, 24, k1, k2 + 4)
    ROUNDS(13, 15, 26, 6, k2, k0 + 5)
#undef ROUNDS
    word[0] = a;
    word[1] = b;
}

/* The key of what draws number `user` in a micro-batch of an update; update -1: of weights before
 * training. */
OG_RANDOM_FUNCTION void og_random_key(int64_t seed, int64_t update, int64_t micro, int64_t user,
                                      uint32_t key[2])
{
    const uint64_t s = (uint64_t)seed, u = (uint64_t)update;
    uint32_t first[2] = {(uint32_t)s, (uint32_t)(s >> 32)};
    og_threefry(first, (uint32_t)u, (uint32_t)(u >> 32), first);
    og_threefry(first, (uint32_t)micro, (uint32_t)user, key);
}

#endif
