/* Images and the windows on them, for kernels: x, the larger side [n, c, in …], and y, the smaller
 * one [n, c, out …], dense both or channels-last both; always three spatial axes. */
#ifndef OG_KERNELS_CUDA_IMAGE_H
#define OG_KERNELS_CUDA_IMAGE_H

#include "kernels/cuda/image_shape.h"
#include "kernels/cuda/kernel.h"

/* Which image element i of a side is, and where in it. */
typedef struct og_image_at {
    int64_t plane; /* n × c */
    int place[3];
} og_image_at;

OG_DEVICE og_image_at og_image_find(og_image_shape p, int64_t i, const int dims[3])
{
    og_image_at at;
    const int64_t places = (int64_t)dims[0] * dims[1] * dims[2];
    int64_t rest;
    if (p.channels_last) {
        const int64_t c = i % p.c, all = i / p.c;
        at.plane = all / places * p.c + c;
        rest = all % places;
    } else {
        at.plane = i / places;
        rest = i % places;
    }
    at.place[2] = (int)(rest % dims[2]);
    rest /= dims[2];
    at.place[1] = (int)(rest % dims[1]);
    at.place[0] = (int)(rest / dims[1]);
    return at;
}

/* Where the element at a place of a plane lies. */
OG_DEVICE int64_t og_image_lies(og_image_shape p, int64_t plane, int a, int b, int c,
                                const int dims[3])
{
    const int64_t place = ((int64_t)a * dims[1] + b) * dims[2] + c,
                  places = (int64_t)dims[0] * dims[1] * dims[2];
    return p.channels_last ? (plane / p.c * places + place) * p.c + plane % p.c
                           : plane * places + place;
}

/* The input place that output `at` reads at `tap` along an axis. */
OG_DEVICE int og_image_input(og_image_shape p, int axis, int at, int tap)
{
    return at * p.step[axis] - p.begin[axis] + tap * p.dilation[axis];
}

/* The output that reads input place x at `tap`; -1: none. */
OG_DEVICE int og_image_output(og_image_shape p, int axis, int x, int tap)
{
    const int at = x + p.begin[axis] - tap * p.dilation[axis];
    return at < 0 || at % p.step[axis] != 0 || at / p.step[axis] >= p.out[axis] ? -1
                                                                                : at / p.step[axis];
}

#define OG_EACH(total)                                     \
    const int64_t step_ = (int64_t)gridDim.x * blockDim.x; \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (total); i += step_)
#define OG_PLACES(dims) ((int64_t)(dims)[0] * (dims)[1] * (dims)[2])
/* The taps t[0 … 2] of a window. */
#define OG_EACH_TAP(p, t)                          \
    for (t[0] = 0; t[0] < p.kernel[0]; t[0]++)     \
        for (t[1] = 0; t[1] < p.kernel[1]; t[1]++) \
            for (t[2] = 0; t[2] < p.kernel[2]; t[2]++)

#endif
