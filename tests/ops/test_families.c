/* Inference of the larger rows: attention, sampling, signals, quantization, unpooling and the like;
 * what they refuse, and that hostile attributes do no harm. */
#include "tests/ops/infer_case.h"

TEST(attention)
{
    static const infer_case cases[] = {
        {"Attention", "f[2,4,5,8] f[2,2,7,8] f[2,2,7,6]", "", "f[2,4,5,6]"},
        {"Attention", "f[2,5,32] f[2,7,16] f[2,7,12] - f[2,2,3,8] f[2,2,3,6]",
         "q_num_heads=4 kv_num_heads=2", "f[2,5,24] f[2,2,10,8] f[2,2,10,6] f[2,4,5,10]"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8] b[5,6]", "", "f[2,4,5,8]"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8] b[5,8]", "", "!a last dim of at most 7"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8] b[3,7]", "", "!do not broadcast"},
        {"Attention", "f[2,4,5,8] f[2,3,7,8] f[2,3,7,8]", "", "!positive multiple"},
        {"Attention", "f[2,4,5,8] f[2,4,7,9] f[2,4,7,8]", "", "!do not fit each other"},
        {"Attention", "f[2,5,32] f[2,7,16] f[2,7,12]", "", "!are needed for inputs of rank 3"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8] - f[2,4,3,8]", "", "!given together"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8] - f[2,4,3,8] f[2,4,2,8]", "",
         "!input 5 is float32 [2, 4, 2, 8], expected float32 [2, 4, 3, 8]"},
        {"Attention", "f[2,4,5,8] f[2,4,7,8] f[2,4,7,8]", "softmax_precision=99",
         "!softmax_precision is 99"},
        {"RotaryEmbedding", "f[2,4,5,8] f[2,5,4] f[2,5,4]", "", "f[2,4,5,8]"},
        {"RotaryEmbedding", "f[2,5,32] f[9,2] f[9,2] i[2,5]", "num_heads=4 rotary_embedding_dim=4",
         "f[2,5,32]"},
        {"RotaryEmbedding", "f[2,5,32] f[9,2] f[9,2] i[2,5]", "rotary_embedding_dim=4",
         "!num_heads 0"},
        {"RotaryEmbedding", "f[2,4,5,8] f[2,5,3] f[2,5,3]", "", "!a last dim of 4"},
        {"TensorScatter", "f[2,3,8,4] f[2,3,2,4] i[2]", "", "f[2,3,8,4]"},
        {"TensorScatter", "f[2,3,8,4] f[2,3,9,4]", "", "!does not fit the cache"},
        {"TensorScatter", "f[2,3] f[1,3]", "axis=0", "!does not fit the cache"},
        {"CausalConvWithState", "f[2,3,5] f[3,1,4]", "", "f[2,3,5] f[2,3,3]"},
        {"CausalConvWithState", "f[2,3,5] f[3,1,4] - f[2,3,4]", "", "!past_state is"},
        {"LinearAttention", "f[2,5,16] f[2,5,8] f[2,5,6]",
         "q_num_heads=4 kv_num_heads=2 update_rule='linear'", "f[2,5,12] f[2,2,4,3]"},
        {"LinearAttention", "f[2,5,16] f[2,5,8] f[2,5,6]", "q_num_heads=4 kv_num_heads=2",
         "!needs decay (input 4) or beta (input 5)"},
        {"LinearAttention", "f[2,0,16] f[2,0,8] f[2,0,6]", "q_num_heads=4 kv_num_heads=2",
         "!at least 1"},
    };
    RUN(cases);
}

TEST(sampling)
{
    static const infer_case cases[] = {
        {"GridSample", "f[2,3,6,5] f[2,4,7,2]", "mode='cubic'", "f[2,3,4,7]"},
        {"GridSample", "f[2,3,6,5,4] f[2,4,7,8,3]", "padding_mode='border'", "f[2,3,4,7,8]"},
        {"GridSample", "f[2,3,6,5] f[2,4,7,3]", "", "!expected [2, …, 2]"},
        {"GridSample", "f[2,3,6,5] f[2,4,7,2]", "mode='best'", "!mode is \"best\""},
        {"AffineGrid", "f[2,2,3] i{2,3,4,5}", "", "f[2,4,5,2]"},
        {"AffineGrid", "f[2,3,4] i{2,3,4,5,6}", "", "f[2,4,5,6,3]"},
        {"AffineGrid", "f[2,2,3] i{2,3,-4,5}", "", "!size 2 is -4"},
        {"AffineGrid", "f[2,2,3] i[4]", "", "!size (input 1) is computed while running"},
        {"RoiAlign", "f[2,3,8,8] f[5,4] i[5]", "output_height=2 output_width=3 sampling_ratio=2",
         "f[5,3,2,3]"},
        {"RoiAlign", "f[2,3,8,8] f[5,4] i[5]", "output_height=2", "!sampling_ratio is 0"},
        {"DeformConv", "f[2,4,6,6] f[8,2,3,3] f[2,36,4,4] f[8] f[2,18,4,4]",
         "group=2 offset_group=2", "f[2,8,4,4]"},
        {"DeformConv", "f[2,4,6,6] f[8,4,3,3] f[2,17,4,4]", "", "!offset is"},
        {"Col2Im", "f[2,12,9] i{4,4} i{2,2}", "", "f[2,3,4,4]"},
        {"Col2Im", "f[2,12,9] i{4,4} i{2,2}", "pads=[1,1,1,1]", "!expected [N, C · 4, 25]"},
        {"Col2Im", "f[2,12,9] i{1073741824,1073741824,1073741824} i{1,1,1}", "",
         "!do not fit each other"},
    };
    RUN(cases);
}

TEST(pooling_and_parts)
{
    static const infer_case cases[] = {
        {"LpPool", "f[2,3,9,9]", "kernel_shape=[3,3] strides=[2,2] ceil_mode=1 p=3", "f[2,3,4,4]"},
        {"MaxUnpool", "f[2,3,4,4] i[2,3,4,4]", "kernel_shape=[2,2] strides=[2,2]", "f[2,3,8,8]"},
        {"MaxUnpool", "f[2,3,4,4] i[2,3,4,4] i{2,3,9,8}", "kernel_shape=[2,2] strides=[2,2]",
         "f[2,3,9,8]"},
        {"MaxUnpool", "f[2,3,4,4] i[2,3,4,4] i{2,3,7,8}", "kernel_shape=[2,2] strides=[2,2]",
         "!output_shape is smaller"},
        {"MaxUnpool", "f[2,3,1,1] i[2,3,1,1]", "kernel_shape=[2,2] pads=[1,1,1,1]", "!do not fit"},
        {"CenterCropPad", "f[10,7] i{4,9}", "", "f[4,9]"},
        {"CenterCropPad", "f[10,7,3] i{4}", "axes=[-2]", "f[10,4,3]"},
        {"CenterCropPad", "f[10,7,3] i{-4}", "axes=[1]", "!do not fit"},
        {"CumProd", "f[3,4] i=1", "exclusive=1", "f[3,4]"},
        {"CumProd", "f[3,4] i=2", "", "!axis is 2"},
        {"Det", "f[2,3,3]", "", "f[2]"},
        {"Det", "f[2,3,4]", "", "!expected square matrices"},
        {"Det", "f[9,9]", "", "!at most 5 rows"},
        {"BitShift", "u[3] u[3]", "direction='LEFT'", "u[3]"},
        {"BitShift", "u[3] u[3]", "", "!expected LEFT or RIGHT"},
        {"SwiGLU", "f[3,4] f[3,4]", "", "f[3,4]"},
        {"SwiGLU", "f[3,4] f[1,4]", "", "!input 1 is"},
    };
    RUN(cases);
}

TEST(signals_and_quantization)
{
    static const infer_case cases[] = {
        {"HannWindow", "i=10", "", "f[10]"},
        {"HannWindow", "i=10", "output_datatype=8", "!output_datatype 8"},
        {"DFT", "f[2,10,1]", "onesided=1", "f[2,6,2]"},
        {"DFT", "f[2,6,2]", "onesided=1 inverse=1", "f[2,10,1]"},
        {"DFT", "f[2,6,2] i=16", "", "f[2,16,2]"},
        {"DFT", "f[2,6,2] - i=2", "", "!real and imaginary parts"},
        {"DFT", "f[2,10,2]", "onesided=1", "!expected a real input"},
        {"DFT", "f[2,10,1] i=100000", "", "!at most 8192 is supported"},
        {"STFT", "f[2,64,1] i=8 f[16]", "", "f[2,7,9,2]"},
        {"STFT", "f[2,64,1] i=0 f[16]", "", "!frame_step is 0"},
        {"STFT", "f[2,64,1] i[1] f[16]", "", "!must be constants"},
        {"MelWeightMatrix", "i=8 i=16 i=8192 f=0 f=4096", "", "f[9,8]"},
        {"MelWeightMatrix", "i=8 i=16 i=8192 f=100 f=50", "", "!do not fit"},
        {"QuantizeLinear", "f[2,3] f[3] u[3]", "", "u[2,3]"},
        {"QuantizeLinear", "f[2,6] f[2,2]", "block_size=3", "u[2,6]"},
        {"QuantizeLinear", "f[2,6] f[2,3]", "block_size=3", "!does not fit"},
        {"QuantizeLinear", "f[2,3] f[4] u[4]", "", "!does not fit"},
        {"QuantizeLinear", "f[2,3] f[3]", "output_dtype=77", "!output_dtype is 77"},
        {"DequantizeLinear", "u[2,3] f=0.5 u=3", "", "f[2,3]"},
        {"DynamicQuantizeLinear", "f[2,3]", "", "u[2,3] f[] u[]"},
        {"MatMulInteger", "u[2,3] u[3,4] u=1 u=2", "", "j[2,4]"},
        {"MatMulInteger", "u[2,3] u[4,4]", "", "!do not multiply"},
        {"MatMulInteger", "j[2,3] j[3,4]", "", "!expected 8-bit types"},
        {"ConvInteger", "u[1,2,5,5] u[3,2,3,3]", "", "j[1,3,3,3]"},
        {"ConvInteger", "u[1,2,5,5] u[3,1,3,3]", "", "!does not fit"},
    };
    RUN(cases);
}

/* What is left of these rows was never in a model's graph. */
TEST(resolved_rows)
{
    static const infer_case cases[] = {
        {"If", "b=1", "", "!can only be resolved in a model's graph"},
        {"SequenceLength", "f[2]", "", "!can only be resolved in a model's graph"},
    };
    RUN(cases);
}

static const og_test tests[] = {
    TEST_ROW(attention),         TEST_ROW(sampling),
    TEST_ROW(pooling_and_parts), TEST_ROW(signals_and_quantization),
    TEST_ROW(resolved_rows),
};
TEST_MAIN(tests)
