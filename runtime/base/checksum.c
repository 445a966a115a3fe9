#include "runtime/base/checksum.h"

#include <string.h>

/* state' = rotate((state xor word) · odd number): each part can be undone. */
static uint64_t mix(uint64_t state, uint64_t word)
{
    uint64_t x = (state ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return x << 29 | x >> 35;
}

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--)
        word = word << 8 | bytes[i];
    return word;
}

og_checksum og_checksum_start(void)
{
    return (og_checksum){.state = UINT64_C(0x6f6e67726164)};
}

void og_checksum_add(og_checksum *sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    size_t held = sum->bytes % 8;
    if (size == 0)
        return;
    sum->bytes += size;
    if (held) {
        size_t n = size < 8 - held ? size : 8 - held;
        memcpy(sum->rest + held, at, n);
        at += n;
        size -= n;
        if (held + n < 8)
            return;
        sum->state = mix(sum->state, word_at(sum->rest));
    }
    for (; size >= 8; at += 8, size -= 8)
        sum->state = mix(sum->state, word_at(at));
    if (size)
        memcpy(sum->rest, at, size);
}

uint64_t og_checksum_value(const og_checksum *sum)
{
    uint8_t last[8] = {0};
    uint64_t state = sum->state;
    memcpy(last, sum->rest, sum->bytes % 8);
    if (sum->bytes % 8)
        state = mix(state, word_at(last));
    state = mix(mix(state, sum->bytes), 0);
    return state ^ state >> 32;
}
