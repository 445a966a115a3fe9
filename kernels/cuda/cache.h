/* Files that only save time, in $XDG_CACHE_HOME/ongrad or ~/.cache/ongrad. One that cannot be
 * written, or is damaged when it is read, only costs time. */
#ifndef OG_KERNELS_CUDA_CACHE_H
#define OG_KERNELS_CUDA_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OG__CACHE_PATH = 1200 };
#define OG__CACHE_HASH 0xcbf29ce484222325u

/* FNV-1a of the bytes, from h (OG__CACHE_HASH) on. */
uint64_t og__cache_hash(uint64_t h, const void *data, size_t bytes);
/* Where the file of that name lies; the folder is made if it is not there. false: there is no
 * folder that could be written. */
bool og__cache_path(char path[OG__CACHE_PATH], const char *name);
/* What was written, followed by a NUL; malloc'd. NULL: there is nothing, or not all of it. */
void *og__cache_read(const char *path, size_t *bytes);
/* In one step: whoever reads sees what was there before, or all of this. */
void og__cache_write(const char *path, const void *data, size_t bytes);

#endif
