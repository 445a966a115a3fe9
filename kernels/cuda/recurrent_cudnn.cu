/* Weights, states and sequences on their way to the library's RNN and back: pieces that lie
 * elsewhere, in another type, or in the other order of steps, all in one launch. Weights begin at
 * any element among the library's, so that accesses are of one element each; neighbours touch
 * neighbouring ones. */
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/recurrent_cudnn.h"

OG_DEVICE float og_piece_get(const void *from, int64_t i, og_operand type)
{
    if (type == OG_OPERAND_FLOAT)
        return ((const float *)from)[i];
    const uint16_t bits = ((const uint16_t *)from)[i];
    return type == OG_OPERAND_HALF ? og_half_to_float(bits) : og_bfloat_to_float(bits);
}

OG_DEVICE void og_piece_put(void *to, int64_t i, float v, og_operand type)
{
    if (type == OG_OPERAND_FLOAT)
        ((float *)to)[i] = v;
    else
        ((uint16_t *)to)[i] = type == OG_OPERAND_HALF ? og_float_to_half(v) : og_float_to_bfloat(v);
}

OG_KERNEL(og_pieces, og_pieces_arguments, p)
{
    const og_piece piece = p.pieces[blockIdx.x / (unsigned)p.blocks];
    const int64_t step = (int64_t)p.blocks * blockDim.x;
    int64_t i = (int64_t)(blockIdx.x % (unsigned)p.blocks) * blockDim.x + threadIdx.x;
    for (; i < piece.n; i += step) {
        const int64_t back = piece.row ? piece.n - piece.row - i + 2 * (i % piece.row) : i;
        og_piece_put(piece.to, back, og_piece_get(piece.from, i, piece.from_type), piece.to_type);
    }
}
