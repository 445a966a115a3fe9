/* A 64-bit checksum of a stream of bytes, against accidents: cut files, flipped bits. Every step
 * that takes in a word is a bijection of the state for a given word and of the word for a given
 * state, so damage within one aligned word never goes unseen, and other damage with a chance of
 * 2^-64. Not against whoever means to deceive. */
#ifndef OG_BASE_CHECKSUM_H
#define OG_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct og_checksum {
    uint64_t state, bytes; /* bytes: taken in so far */
    uint8_t rest[8];       /* bytes % 8 of them */
} og_checksum;

og_checksum og_checksum_start(void);
void og_checksum_add(og_checksum *sum, const void *bytes, size_t size);
/* Of all bytes so far; more may follow. */
uint64_t og_checksum_value(const og_checksum *sum);

#endif
