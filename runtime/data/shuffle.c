/* The swap-or-not shuffle (Hoang, Morris, Rogaway: An Enciphering Scheme Based on a Card Shuffle,
 * CRYPTO 2012). A round pairs x with k - x mod n, k its key, and swaps the pair on a hashed bit of
 * the pair's larger member. The bit comes from multiply-add-shift, which is pairwise independent
 * (Dietzfelbinger: Universal Hashing and k-wise Independent Random Variables via Integer Arithmetic
 * without Primes, STACS 1996), under fresh multipliers each round. Rounds grow with log n, as the
 * paper has it, so that the result nears a uniform permutation. */
#include "runtime/data/shuffle.h"

enum { GROUP = 64 };

/* splitmix64's finalizer (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
 * 2014). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t random_at(uint64_t key, uint64_t counter)
{
    return mix(key + (counter + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

static int rounds_for(uint64_t n)
{
    int bits = 1;
    while (bits < 63 && UINT64_C(1) << bits < n)
        bits++;
    return 16 + 6 * bits;
}

static void shuffle_group(uint64_t key, uint64_t n, int rounds, int count, uint64_t *x)
{
    for (int r = 0; r < rounds; r++) {
        uint64_t pairing = random_at(key, 3 * (uint64_t)r) % n;
        uint64_t a = random_at(key, 3 * (uint64_t)r + 1), b = random_at(key, 3 * (uint64_t)r + 2);
        for (int i = 0; i < count; i++) {
            uint64_t other = pairing >= x[i] ? pairing - x[i] : pairing + n - x[i];
            uint64_t larger = other > x[i] ? other : x[i];
            x[i] = (a * larger + b) >> 63 ? other : x[i];
        }
    }
}

void og__shuffle(uint64_t seed, int64_t epoch, int64_t n, int64_t first, int64_t count,
                 int64_t *out)
{
    uint64_t key = mix(mix(seed + UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)epoch);
    int rounds = rounds_for((uint64_t)n);
    for (int64_t done = 0; done < count; done += GROUP) {
        uint64_t x[GROUP];
        int m = count - done < GROUP ? (int)(count - done) : GROUP;
        for (int i = 0; i < m; i++)
            x[i] = (uint64_t)(first + done + i);
        shuffle_group(key, (uint64_t)n, rounds, m, x);
        for (int i = 0; i < m; i++)
            out[done + i] = (int64_t)x[i];
    }
}
