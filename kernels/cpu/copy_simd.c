/* Transposing a rectangle of elements: W rows of W elements at a time in vector registers, the rim
 * element by element. Compiled once for each instruction set. */
#include "kernels/cpu/iterate.h"

void OG_SIMD(og__transpose)(size_t size, const char *x, int64_t xs, char *y, int64_t ys,
                            int64_t rows, int64_t columns);

#define VECTOR(T, W) __attribute__((vector_size(sizeof(T) * (W))))

/* A square in log2 W perfect shuffles: row i meets row i + W/2, halves interleaved. */
#define SQUARE(T, W, LOW, HIGH)                                                                \
    typedef T T##_v VECTOR(T, W);                                                              \
    typedef T T##_u __attribute__((vector_size(sizeof(T) * (W)), aligned(1), may_alias));      \
    static inline void square_##T(const char *x, int64_t xs, char *y, int64_t ys)              \
    {                                                                                          \
        T##_v a[W], b[W];                                                                      \
        _Pragma("GCC unroll 16") for (int i = 0; i < (W); i++) a[i] =                          \
            *(const T##_u *)(x + i * xs);                                                      \
        _Pragma("GCC unroll 4") for (int stage = 1; stage < (W); stage *= 2)                   \
        {                                                                                      \
            _Pragma("GCC unroll 16") for (int i = 0; i < (W) / 2; i++)                         \
            {                                                                                  \
                b[2 * i] = OG__SHUFFLE(T##_v, a[i], a[i + (W) / 2], LOW);                      \
                b[2 * i + 1] = OG__SHUFFLE(T##_v, a[i], a[i + (W) / 2], HIGH);                 \
            }                                                                                  \
            _Pragma("GCC unroll 16") for (int i = 0; i < (W); i++) a[i] = b[i];                \
        }                                                                                      \
        _Pragma("GCC unroll 16") for (int i = 0; i < (W); i++) * (T##_u *)(y + i * ys) = a[i]; \
    }

#define LOW2 0, 2
#define HIGH2 1, 3
#define LOW4 0, 4, 1, 5
#define HIGH4 2, 6, 3, 7
#define LOW8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

#if OG_SIMD_LEVEL == 4
#define W2 16
#define W4 16
#define W8 8
SQUARE(uint16_t, 16, LOW16, HIGH16)
SQUARE(uint32_t, 16, LOW16, HIGH16)
SQUARE(uint64_t, 8, LOW8, HIGH8)
#elif OG_SIMD_LEVEL == 3
#define W2 8
#define W4 8
#define W8 4
SQUARE(uint16_t, 8, LOW8, HIGH8)
SQUARE(uint32_t, 8, LOW8, HIGH8)
SQUARE(uint64_t, 4, LOW4, HIGH4)
#else
#define W2 8
#define W4 4
#define W8 2
SQUARE(uint16_t, 8, LOW8, HIGH8)
SQUARE(uint32_t, 4, LOW4, HIGH4)
SQUARE(uint64_t, 2, LOW2, HIGH2)
#endif
#define W1 16
SQUARE(uint8_t, 16, LOW16, HIGH16)

typedef uint64_t wide __attribute__((vector_size(16)));

/* Element by element; the longer side in the inner loop. */
#define RIM(T)                                                                        \
    typedef T T##_e __attribute__((aligned(1), may_alias));                           \
    static void rim_##T(const char *x, int64_t xs, char *y, int64_t ys, int64_t rows, \
                        int64_t columns)                                              \
    {                                                                                 \
        if (rows >= columns) {                                                        \
            for (int64_t c = 0; c < columns; c++)                                     \
                for (int64_t r = 0; r < rows; r++)                                    \
                    *(T##_e *)(y + r * ys + c * (int64_t)sizeof(T)) =                 \
                        *(const T##_e *)(x + c * xs + r * (int64_t)sizeof(T));        \
        } else {                                                                      \
            for (int64_t r = 0; r < rows; r++)                                        \
                for (int64_t c = 0; c < columns; c++)                                 \
                    *(T##_e *)(y + r * ys + c * (int64_t)sizeof(T)) =                 \
                        *(const T##_e *)(x + c * xs + r * (int64_t)sizeof(T));        \
        }                                                                             \
    }
RIM(uint8_t)
RIM(uint16_t)
RIM(uint32_t)
RIM(uint64_t)
RIM(wide)

#define TRANSPOSE(T, W)                                                         \
    do {                                                                        \
        int64_t r0 = rows / (W) * (W), c0 = columns / (W) * (W), s = sizeof(T); \
        for (int64_t r = 0; r < r0; r += (W))                                   \
            for (int64_t c = 0; c < c0; c += (W))                               \
                square_##T(x + c * xs + r * s, xs, y + r * ys + c * s, ys);     \
        if (r0 < rows)                                                          \
            rim_##T(x + r0 * s, xs, y + r0 * ys, ys, rows - r0, columns);       \
        if (c0 < columns)                                                       \
            rim_##T(x + c0 * xs, xs, y + c0 * s, ys, r0, columns - c0);         \
    } while (0)

/* y[r][c] = x[c][r] for r < rows, c < columns; elements of `size` bytes next to each other along r
 * in x and along c in y; xs, ys: bytes from one c (r) to the next. */
void OG_SIMD(og__transpose)(size_t size, const char *x, int64_t xs, char *y, int64_t ys,
                            int64_t rows, int64_t columns)
{
    switch (size) {
    case 1:
        TRANSPOSE(uint8_t, W1);
        break;
    case 2:
        TRANSPOSE(uint16_t, W2);
        break;
    case 4:
        TRANSPOSE(uint32_t, W4);
        break;
    case 8:
        TRANSPOSE(uint64_t, W8);
        break;
    default:
        rim_wide(x, xs, y, ys, rows, columns);
    }
}
