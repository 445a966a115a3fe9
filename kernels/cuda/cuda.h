/* The CUDA device: a card, through driver.h. */
#ifndef OG_KERNELS_CUDA_CUDA_H
#define OG_KERNELS_CUDA_CUDA_H

#include "runtime/device/device.h"

/* Card `index`. host: the processor's device, whose kernels run what the card has none for; it must
 * outlive this one. NULL after an error: "no CUDA device: …". Freed by its destroy member. */
og_device *og_cuda_device_new(int index, const og_device *host, og_error *error);

/* How many cards there are; 0 with the reason in *why (NULL: not wanted). */
int og_cuda_device_count(const char **why);

/* Versions of the libraries that cards are used by, as loaded: "CUDA driver 13.0, NVRTC 13.0"; ""
 * in builds without CUDA. */
void og_cuda_libraries(char *text, size_t room);

/* Every kernel table of this folder, host.c's last (the generated registry). */
extern const og_kernel_table og_cuda_kernel_tables[];

#endif
