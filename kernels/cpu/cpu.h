/* The CPU device. */
#ifndef OG_KERNELS_CPU_CPU_H
#define OG_KERNELS_CPU_CPU_H

#include "runtime/device/device.h"

/* threads 0: as many as this process may run on. NULL when out of memory. Freed by its destroy
 * member. */
og_device *og_cpu_device_new(int threads);
/* Each of the device's threads to a processor of its own, as long as there are as many; for the
 * rest of the process, and for teams that the calling thread starts. The calling thread itself is
 * not bound, so that threads it starts are not either: it finds the one processor left over. */
void og_cpu_pin_threads(const og_device *device);

/* Every kernel table of this folder, oneDNN's first (the generated registry). */
extern const og_kernel_table og_cpu_kernel_tables[];

#endif
