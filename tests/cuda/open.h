/* What tests of the CUDA device share: a device on the simulated card. */
#ifndef OG_TESTS_CUDA_OPEN_H
#define OG_TESTS_CUDA_OPEN_H

#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/internal.h"
#include "tests/cuda_sim/sim.h"
#include "tests/test.h"

static og_device *test_host;

/* The seed is part of what failures print. */
__attribute__((unused)) static og_device *open_device(uint64_t seed)
{
    static char text[32];
    og_error error = {0};
    snprintf(text, sizeof text, "seed %llu", (unsigned long long)seed);
    TEST_CASE(text);
    og_sim_set_seed(seed);
    test_host = og_cpu_device_new(1);
    og_device *device = og_cuda_device_new(0, test_host, &error);
    if (!CHECK(device != NULL))
        printf("    %s\n", og_error_text(&error));
    og_error_clear(&error);
    return device;
}

__attribute__((unused)) static void close_device(og_device *device)
{
    device->destroy(device);
    test_host->destroy(test_host);
    TEST_CASE("");
}

/* The device has a fault whose text contains `part`; closes it. */
__attribute__((unused)) static void finds(og_device *device, const char *part)
{
    og_error error = {0};
    CHECK(device->remote->finish(device, &error) != OG_OK);
    CHECK_TEXT(og_error_text(&error), part);
    og_error_clear(&error);
    close_device(device);
}

/* Was it OG_OK? Prints the error. */
__attribute__((unused)) static bool went(og_status status, og_error *error, const char *file,
                                         int line)
{
    if (status == OG_OK)
        return true;
    test_failed(file, line);
    printf("%s\n", og_error_text(error));
    og_error_clear(error);
    return false;
}
#define GOES(call) went((call), &error, __FILE__, __LINE__)

#endif
