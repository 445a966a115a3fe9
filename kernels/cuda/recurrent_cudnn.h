/* Arguments of the kernel in recurrent_cudnn.cu. */
#ifndef OG_KERNELS_CUDA_RECURRENT_CUDNN_H
#define OG_KERNELS_CUDA_RECURRENT_CUDNN_H

#include "kernels/cuda/recurrent.h"

/* What is brought to another place, or into another type. */
typedef struct og_piece {
    const void *from;
    void *to;
    long long n, row; /* elements; row above 0: rows of so many, the last one first */
    og_operand from_type, to_type;
} og_piece;

enum { OG_PIECES = 32 };

typedef struct og_pieces_arguments {
    og_piece pieces[OG_PIECES];
    int blocks; /* of each piece */
} og_pieces_arguments;

#endif
