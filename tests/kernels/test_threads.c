/* Threads of the CPU device: where they may run. */
#define _GNU_SOURCE
#include <sched.h>

#include "kernels/cpu/cpu.h"
#include "tests/test.h"

/* The processor each of the team's threads is bound to; -1: to none. */
static void bound_to(int threads, int *cpu)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int i = 0; i < threads; i++) {
        cpu_set_t set;
        cpu[i] = -1;
        if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1)
            while (!CPU_ISSET(++cpu[i], &set))
                ;
    }
}

TEST(pinned_threads_have_a_processor_each)
{
    cpu_set_t allowed;
    REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    if (CPU_COUNT(&allowed) < 2)
        SKIP("there is one processor");
    int cpu[2];
    og_device *device = og_cpu_device_new(2);
    REQUIRE(device);
    bound_to(2, cpu);
    CHECK(cpu[0] < 0 && cpu[1] < 0);
    og_cpu_pin_threads(device);
    bound_to(2, cpu);
    CHECK(cpu[0] < 0); /* the caller's threads to come must not be bound with it */
    CHECK(cpu[1] >= 0 && CPU_ISSET(cpu[1], &allowed));
    device->destroy(device);
}

TEST(more_threads_than_processors_stay_free)
{
    int cpu[2];
    og_device *device = og_cpu_device_new(CPU_SETSIZE);
    REQUIRE(device);
    og_cpu_pin_threads(device);
    device->destroy(device);
    bound_to(2, cpu);
    CHECK(cpu[0] < 0);
}

static const og_test tests[] = {TEST_ROW(more_threads_than_processors_stay_free),
                                TEST_ROW(pinned_threads_have_a_processor_each)};
TEST_MAIN(tests)
