/* From what cpuid says to what kernels may use: processors as they are, and as hypervisors and
 * operating systems cut them down. */
#include "kernels/cpu/features.h"

#include "tests/test.h"

#define V3_ECX (1u << 12 | 1u << 27 | 1u << 28 | 1u << 29)
#define V3_EBX (1u << 3 | 1u << 5 | 1u << 8)
#define V4_EBX (V3_EBX | 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)
#define AMX_EDX (1u << 22 | 1u << 24)
#define BF16 (1u << 5)
#define YMM 0x7
#define ZMM 0xe7
#define TILES 0x60000

TEST(processors)
{
    static const struct {
        const char *name;
        og__cpuid cpuid;
        const char *most;
        int level;
        bool bfloat16, tiles;
    } cases[] = {
        {"nothing", {0}, NULL, 2, false, false},
        {"AVX2", {V3_ECX, V3_EBX, 0, 0, YMM}, NULL, 3, false, false},
        {"AVX2, states not saved", {V3_ECX, V3_EBX, 0, 0, 1}, NULL, 2, false, false},
        {"AVX2 without xsave", {V3_ECX & ~(1u << 27), V3_EBX, 0, 0, 0}, NULL, 2, false, false},
        {"AVX2 without F16C", {V3_ECX & ~(1u << 29), V3_EBX, 0, 0, YMM}, NULL, 2, false, false},
        {"AVX-512", {V3_ECX, V4_EBX, 0, 0, ZMM}, NULL, 4, false, false},
        {"AVX-512, states not saved", {V3_ECX, V4_EBX, 0, BF16, YMM}, NULL, 3, false, false},
        {"AVX-512 F alone", {V3_ECX, V3_EBX | 1u << 16, 0, BF16, ZMM}, NULL, 3, false, false},
        {"AVX512-BF16", {V3_ECX, V4_EBX, 0, BF16, ZMM}, NULL, 4, true, false},
        {"AMX", {V3_ECX, V4_EBX, AMX_EDX, BF16, ZMM | TILES}, NULL, 4, true, true},
        {"AMX alone", {V3_ECX, V4_EBX, AMX_EDX, 0, ZMM | TILES}, NULL, 4, false, false},
        {"AMX, tiles not saved", {V3_ECX, V4_EBX, AMX_EDX, BF16, ZMM}, NULL, 4, true, false},
        {"AMX of integers",
         {V3_ECX, V4_EBX, 1u << 24 | 1u << 25, BF16, ZMM | TILES},
         NULL,
         4,
         true,
         false},
        {"at most 4", {V3_ECX, V4_EBX, AMX_EDX, BF16, ZMM | TILES}, "4", 4, false, false},
        {"at most 3", {V3_ECX, V4_EBX, AMX_EDX, BF16, ZMM | TILES}, "3", 3, false, false},
        {"at most 2", {V3_ECX, V4_EBX, 0, BF16, ZMM}, "2", 2, false, false},
        {"at most 4 of 3", {V3_ECX, V3_EBX, 0, 0, YMM}, "4", 3, false, false},
        {"no level", {V3_ECX, V4_EBX, 0, BF16, ZMM}, "41", 4, true, false},
        {"no level, either", {V3_ECX, V4_EBX, 0, BF16, ZMM}, "", 4, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].name);
        og__features f = og__decode_features(&cases[i].cpuid, cases[i].most);
        CHECK_INT(f.level, cases[i].level);
        CHECK(f.bfloat16 == cases[i].bfloat16);
        CHECK(f.matrix_tiles == cases[i].tiles);
    }
    TEST_CASE("");
}

static const og_test tests[] = {TEST_ROW(processors)};
TEST_MAIN(tests)
