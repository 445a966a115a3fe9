/* The CPU device. */
#ifndef OG_KERNELS_CPU_CPU_H
#define OG_KERNELS_CPU_CPU_H

#include "runtime/device/device.h"

/* threads 0: as many as this process may run on. NULL when out of memory. Freed by its destroy
 * member. */
og_device *og_cpu_device_new(int threads);

/* Every kernel table of this folder, oneDNN's first (the generated registry). */
extern const og_kernel_table og_cpu_kernel_tables[];

#endif
