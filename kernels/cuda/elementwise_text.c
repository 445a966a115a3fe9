/* The text of an elementwise kernel: the program's instructions as scalar.def has them, shapes and
 * strides as constants. Types convert on load and on store as on the processor
 * (kernels/cpu/elementwise_simd.c). */
#include "kernels/cuda/elementwise.h"

#include <string.h>

static const char *const expressions[OG_SCALAR_COUNT] = {
    [OG_SCALAR_NONE] = "a",
#define X(name, arity, ints, expression) [OG_SCALAR_##name] = #expression,
#include "runtime/graph/scalar.def"
#undef X
};

static const char *const float_macros =
    "#define T float\n#define F(name) name##f\n#define DIVIDE(a, b) ((a) / (b))\n"
    "#define REMAINDER(a, b) og__remainder_float(a, b)\n#define POWER(a, b) powf(a, b)\n";
static const char *const double_macros =
    "#define T double\n#define F(name) name\n#define DIVIDE(a, b) ((a) / (b))\n"
    "#define REMAINDER(a, b) og__remainder_double(a, b)\n#define POWER(a, b) pow(a, b)\n";
static const char *const int_macros =
    "#define T int64_t\n#define DIVIDE(a, b) og__divide_int(a, b)\n"
    "#define REMAINDER(a, b) og__remainder_int(a, b)\n#define POWER(a, b) og__power_int(a, b)\n";
static const char *const round_macro =
    "#define ROUND(type, a) og_##type##_to_float(og_float_to_##type((float)(a)))\n";

/* ---- types */

static const char *const memory_types[OG_DTYPE_COUNT] = {
    [OG_FLOAT] = "float",     [OG_DOUBLE] = "double",     [OG_FLOAT16] = "uint16_t",
    [OG_INT8] = "int8_t",     [OG_BFLOAT16] = "uint16_t", [OG_BOOL] = "uint8_t",
    [OG_UINT8] = "uint8_t",   [OG_UINT16] = "uint16_t",   [OG_INT16] = "int16_t",
    [OG_UINT32] = "uint32_t", [OG_INT32] = "int32_t",     [OG_UINT64] = "uint64_t",
    [OG_INT64] = "int64_t",
};

const char *og__text_type(og_dtype dtype)
{
    return memory_types[dtype];
}

/* What converts an element of memory, put in front of it in parentheses. */
static const char *loads(og_dtype dtype, og_dtype domain)
{
    bool ints = domain == OG_INT64;
    switch (dtype) {
    case OG_FLOAT16:
        return ints ? "og__double_to_int(og_half_to_float" : "((T)og_half_to_float";
    case OG_BFLOAT16:
        return ints ? "og__double_to_int(og_bfloat_to_float" : "((T)og_bfloat_to_float";
    case OG_BOOL:
        return "((T)!!";
    case OG_FLOAT:
    case OG_DOUBLE:
        return ints ? "og__double_to_int(" : "((T)";
    default:
        return "((T)";
    }
}

/* The other way. */
const char *og__text_stores(og_dtype dtype, og_dtype domain)
{
    bool ints = domain == OG_INT64;
    switch (dtype) {
    case OG_FLOAT16:
        return "og_float_to_half((float)";
    case OG_BFLOAT16:
        return "og_float_to_bfloat((float)";
    case OG_BOOL:
        return "(0 != ";
    case OG_FLOAT:
    case OG_DOUBLE:
        return "(";
    case OG_UINT64:
        return ints ? "(" : "og__double_to_uint64(";
    default:
        return ints ? "(" : "og__double_to_int(";
    }
}

static int64_t size_of(const og__loop *loop, int operand)
{
    return og_dtype_bits(loop->types[operand]) / 8;
}

/* ---- width */

bool og__loop_reads_wide(const og__loop *loop, int i)
{
    const int64_t *strides = loop->strides[i];
    if (loop->width == 1 || strides[loop->rank - 1] != 1)
        return false;
    for (int a = 0; a < loop->rank - 1; a++)
        if (strides[a] % loop->width != 0)
            return false;
    return true;
}

/* 16 bytes of the smallest elements, at most 8 of them; rows must be made of whole groups. */
int og__loop_width(const og__loop *loop)
{
    int64_t least = 16;
    int n_in = loop->program.n_in;
    for (int o = 0; o < n_in + loop->program.n_out; o++)
        if ((o >= n_in || loop->strides[o][loop->rank - 1] == 1) && size_of(loop, o) < least)
            least = size_of(loop, o);
    int width = least < 2 ? 8 : (int)(16 / least);
    while (width > 1 && loop->rank > 1 && loop->dims[loop->rank - 1] % width != 0)
        width /= 2;
    while (width > 1 && width > loop->total)
        width /= 2;
    return width;
}

/* ---- the text */

static void write_constant(og_text *text, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    og_text_printf(text, "og_double_of_bits(0x%llxull)", (unsigned long long)bits);
}

/* og_program: x → y for one element, all in T. */
static void write_program(og_text *text, const og_program *p)
{
    og_text_add(text, "OG_DEVICE void og_program(const T *x, T *y)\n{\n    (void)x;\n");
    for (int i = 0; i < p->n_in; i++)
        og_text_printf(text, "    const T v%d = x[%d];\n", i, i);
    for (int k = 0; k < p->n_instr; k++) {
        const og_instr *instr = &p->instr[k];
        const int16_t operands[3] = {instr->a, instr->b, instr->c};
        og_text_printf(text, "    T v%d;\n    {\n", p->n_in + k);
        for (int o = 0; o < 3 && o < og_scalar_arity(instr->op); o++)
            og_text_printf(text, "        const T %c = v%d;\n", 'a' + o, operands[o]);
        if (og_scalar_arity(instr->op) == 0) {
            og_text_add(text, "        const T imm = (T)");
            write_constant(text, instr->imm);
            og_text_add(text, ";\n");
        }
        og_text_printf(text, "        v%d = (%s);\n    }\n", p->n_in + k, expressions[instr->op]);
    }
    for (int o = 0; o < p->n_out; o++)
        og_text_printf(text, "    y[%d] = v%d;\n", o, p->out[o]);
    if (p->fold)
        og_text_printf(text, "    y[%d] = v%d;\n", p->n_out, p->folded);
    og_text_add(text, "}\n");
}

void og__loop_addresses(const og__loop *loop, og_text *text, const char *indent)
{
    for (int k = 0; k < loop->program.n_in; k++) {
        og_text_printf(text, "%sconst int64_t o%d = 0", indent, k);
        for (int a = 0; a < loop->rank; a++)
            if (loop->strides[k][a] != 0)
                og_text_printf(text, " + (int64_t)i%d * %lld", a, (long long)loop->strides[k][a]);
        og_text_add(text, ";\n");
    }
}

/* The index of the element at position i of the space, and where it lies. */
static void write_offsets(og_text *text, const og__loop *loop, const char *indent)
{
    if (loop->rank > 1) {
        og_text_printf(text, "%sI r = i;\n", indent);
        for (int a = loop->rank - 1; a > 0; a--)
            og_text_printf(text, "%sconst I i%d = r %% %lldu;\n%sr /= %lldu;\n", indent, a,
                           (long long)loop->dims[a], indent, (long long)loop->dims[a]);
        og_text_printf(text, "%sconst I i0 = r;\n", indent);
    } else {
        og_text_printf(text, "%sconst I i0 = i;\n", indent);
    }
    og_text_printf(text, "%s(void)i0;\n", indent);
    og__loop_addresses(loop, text, indent);
}

static void write_element(og_text *text, const og__loop *loop)
{
    const og_program *p = &loop->program;
    og_text_add(text, "OG_DEVICE void og_element(og_elementwise_arguments p, I i)\n{\n");
    write_offsets(text, loop, "    ");
    og_text_printf(text, "    T x[%d], y[%d];\n", p->n_in + 1, p->n_out);
    for (int k = 0; k < p->n_in; k++)
        og_text_printf(text, "    x[%d] = %s(((const %s *)p.x[%d])[o%d]));\n", k,
                       loads(loop->types[k], p->domain), memory_types[loop->types[k]], k, k);
    og_text_add(text, "    og_program(x, y);\n");
    for (int o = 0; o < p->n_out; o++) {
        og_dtype dtype = loop->types[p->n_in + o];
        og_text_printf(text, "    ((%s *)p.y[%d])[i] = (%s)%sy[%d]);\n", memory_types[dtype], o,
                       memory_types[dtype], og__text_stores(dtype, p->domain), o);
    }
    og_text_add(text, "}\n");
}

/* A piece of `width` elements as words of memory: `words` of type `word`. */
static int64_t words_of(int64_t bytes, const char **word)
{
    *word = bytes >= 16  ? "og_bits128"
            : bytes == 8 ? "uint64_t"
            : bytes == 4 ? "uint32_t"
            : bytes == 2 ? "uint16_t"
                         : "uint8_t";
    return bytes >= 16 ? bytes / 16 : 1;
}

static void write_piece(og_text *text, const og__loop *loop, int operand, char prefix, int number)
{
    const char *word;
    int64_t words = words_of(loop->width * size_of(loop, operand), &word);
    og_text_printf(text, "        union { %s w[%lld]; %s e[%d]; } %c%d;\n", word, (long long)words,
                   memory_types[loop->types[operand]], loop->width, prefix, number);
}

void og__loop_group(const og__loop *loop, og_text *text, const char *take)
{
    const og_program *p = &loop->program;
    const char *word;
    for (int k = 0; k < p->n_in; k++) {
        const char *type = memory_types[loop->types[k]];
        write_piece(text, loop, k, 'x', k);
        int64_t words = words_of(loop->width * size_of(loop, k), &word);
        if (og__loop_reads_wide(loop, k))
            for (int64_t w = 0; w < words; w++)
                og_text_printf(
                    text,
                    "        x%d.w[%lld] = ((const %s *)((const %s *)p.x[%d] + o%d))[%lld];\n", k,
                    (long long)w, word, type, k, k, (long long)w);
        else
            og_text_printf(text,
                           "        OG_UNROLL for (int e = 0; e < %d; e++)\n"
                           "            x%d.e[e] = ((const %s *)p.x[%d])[o%d + e * %lldll];\n",
                           loop->width, k, type, k, k, (long long)loop->strides[k][loop->rank - 1]);
    }
    for (int o = 0; o < p->n_out; o++)
        write_piece(text, loop, p->n_in + o, 'y', o);
    og_text_printf(
        text, "        OG_UNROLL for (int e = 0; e < %d; e++) {\n            T x[%d], y[%d];\n",
        loop->width, p->n_in + 1, p->n_out + 1);
    for (int k = 0; k < p->n_in; k++)
        og_text_printf(text, "            x[%d] = %s(x%d.e[e]));\n", k,
                       loads(loop->types[k], p->domain), k);
    og_text_add(text, "            og_program(x, y);\n");
    for (int o = 0; o < p->n_out; o++) {
        og_dtype dtype = loop->types[p->n_in + o];
        og_text_printf(text, "            y%d.e[e] = (%s)%sy[%d]);\n", o, memory_types[dtype],
                       og__text_stores(dtype, p->domain), o);
    }
    if (take)
        og_text_add(text, take);
    og_text_add(text, "        }\n");
    for (int o = 0; o < p->n_out; o++) {
        int64_t words = words_of(loop->width * size_of(loop, p->n_in + o), &word);
        for (int64_t w = 0; w < words; w++)
            og_text_printf(text, "        ((%s *)((%s *)p.y[%d] + i))[%lld] = y%d.w[%lld];\n", word,
                           memory_types[loop->types[p->n_in + o]], o, (long long)w, o,
                           (long long)w);
    }
}

static void write_wide(og_text *text, const og__loop *loop)
{
    og_text_printf(
        text,
        "OG_KERNEL(" OG__LOOP_WIDE ", og_elementwise_arguments, p)\n{\n"
        "    const I step = (I)gridDim.x * blockDim.x;\n"
        "    for (I g = (I)blockIdx.x * blockDim.x + threadIdx.x; g < %lldu; g += step) {\n"
        "        const I i = g * %du;\n",
        (long long)((loop->total + loop->width - 1) / loop->width), loop->width);
    if (loop->total % loop->width != 0)
        og_text_printf(text,
                       "        if (i + %du > %lldu) {\n"
                       "            for (I j = i; j < %lldu; j++)\n"
                       "                og_element(p, j);\n"
                       "            continue;\n"
                       "        }\n",
                       loop->width, (long long)loop->total, (long long)loop->total);
    write_offsets(text, loop, "        ");
    og__loop_group(loop, text, NULL);
    og_text_add(text, "    }\n}\n");
}

void og__loop_begin(const og__loop *loop, og_text *text)
{
    const og_program *p = &loop->program;
    og_text_add(text, p->domain == OG_DOUBLE  ? double_macros
                      : p->domain == OG_FLOAT ? float_macros
                                              : int_macros);
    og_text_add(text, round_macro);
    /* Positions and one grid behind them fit 32 bits, in which division is much cheaper. */
    og_text_printf(text, "typedef uint%d_t I;\n",
                   loop->total < ((int64_t)1 << 31) - (1 << 26) ? 32 : 64);
    write_program(text, p);
}

void og__loop_write(const og__loop *loop, og_text *text)
{
    const og_program *p = &loop->program;
    og__loop_begin(loop, text);
    og_text_add(text, "typedef struct og_elementwise_arguments {\n");
    if (p->n_in)
        og_text_printf(text, "    const void *x[%d];\n", p->n_in);
    og_text_printf(text, "    void *y[%d];\n} og_elementwise_arguments;\n", p->n_out);
    write_element(text, loop);
    og_text_printf(
        text,
        "OG_KERNEL(" OG__LOOP_SINGLE ", og_elementwise_arguments, p)\n{\n"
        "    const I step = (I)gridDim.x * blockDim.x;\n"
        "    for (I i = (I)blockIdx.x * blockDim.x + threadIdx.x; i < %lldu; i += step)\n"
        "        og_element(p, i);\n}\n",
        (long long)loop->total);
    if (loop->width > 1)
        write_wide(text, loop);
}
