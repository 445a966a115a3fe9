/* Arguments of the kernels in move.cu. */
#ifndef OG_KERNELS_CUDA_MOVE_H
#define OG_KERNELS_CUDA_MOVE_H

enum { OG_MOVE_AXES = 8 };

/* total units, an axis after the other, the last one fastest; strides in units. */
typedef struct og_move_arguments {
    void *to;
    const void *from;
    long long total;
    int rank;
    long long n[OG_MOVE_AXES], to_stride[OG_MOVE_AXES], from_stride[OG_MOVE_AXES];
} og_move_arguments;

/* Matrices of rows × columns units: to[o][r][c] = from[o][c][r], rows of `to` and columns of `from`
 * without gaps, and leading strides; for every index of the outer axes. */
typedef struct og_cross_arguments {
    void *to;
    const void *from;
    int rank; /* of the outer axes */
    int rows, columns, row_tiles, column_tiles;
    long long to_row, from_column;
    long long n[OG_MOVE_AXES], to_stride[OG_MOVE_AXES], from_stride[OG_MOVE_AXES];
} og_cross_arguments;

/* Units of 16 bytes become `value`. */
typedef struct og_fill_arguments {
    void *to;
    unsigned char value[16]; /* as often as it fits */
    long long bytes;
} og_fill_arguments;

enum { OG_MOVE_TILE = 32, OG_MOVE_THREADS = 256 };

#endif
