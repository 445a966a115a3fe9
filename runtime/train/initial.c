/* How weights begin (initial.h): drawn, and which begin how. */
#include "runtime/train/initial.h"

#include <math.h>

#include "runtime/base/random.h"
#include "runtime/graph/op.h"

/* ---- drawing */

enum { BLOCK = 256 }; /* elements drawn together */

/* Words of elements 2 × first … 2 × (first + BLOCK / 2) − 1 */
static void make_words(const uint32_t key[2], int64_t first, uint32_t words[BLOCK])
{
    for (int i = 0; i < BLOCK / 2; i++) {
        uint64_t counter = (uint64_t)first + (uint64_t)i;
        og_threefry(key, (uint32_t)counter, (uint32_t)(counter >> 32), &words[2 * i]);
    }
}

/* From −1 to 1, both left out: (2 ⌊word / 2⁸⌋ + 1) 2⁻²⁴ − 1 */
static double uniform_of(uint32_t word)
{
    return (double)(2 * (word >> 8) + 1) * 0x1p-24 - 1;
}

/* Two normal numbers of two words (Box and Muller, A note on the generation of random normal
 * deviates, 1958). */
static void normal_pair(const uint32_t word[2], double deviation, double pair[2])
{
    double radius = deviation * sqrt(-2 * log(((double)word[0] + 0.5) * 0x1p-32));
    double angle = 2 * M_PI * ((double)word[1] + 0.5) * 0x1p-32;
    pair[0] = radius * cos(angle);
    pair[1] = radius * sin(angle);
}

/* Elements at … at + BLOCK − 1 */
static void draw_block(const uint32_t key[2], og__init init, int64_t at, double values[BLOCK])
{
    uint32_t words[BLOCK];
    make_words(key, at / 2, words);
    for (int i = 0; i < BLOCK; i += 2) {
        if (init.kind == OG__INIT_NORMAL) {
            normal_pair(&words[i], init.a, &values[i]);
        } else {
            values[i] = init.a * uniform_of(words[i]);
            values[i + 1] = init.a * uniform_of(words[i + 1]);
        }
    }
}

void og__init_draw(og__init init, int64_t seed, int stream, int64_t number, const og_type *type,
                   int threads, void *w)
{
    int64_t n = og_type_elements(type), blocks = (n + BLOCK - 1) / BLOCK;
    bool wide = type->dtype == OG_DOUBLE;
    uint32_t key[2];
    og_random_key(seed, -1, stream, number, key);
#pragma omp parallel for num_threads(threads) schedule(static) if (blocks > 64)
    for (int64_t k = 0; k < blocks; k++) {
        int64_t at = k * BLOCK, count = n - at < BLOCK ? n - at : BLOCK;
        double values[BLOCK];
        if (init.kind != OG__INIT_CONSTANT)
            draw_block(key, init, at, values);
        for (int64_t i = 0; i < count; i++) {
            double value = init.kind == OG__INIT_CONSTANT ? init.a : values[i];
            if (wide)
                ((double *)w)[at + i] = value;
            else
                ((float *)w)[at + i] = (float)value;
        }
    }
}

/* ---- which begin how */

static bool is(const og_node *n, const char *op)
{
    return og_op_is(n->op, NULL, op);
}

static const og_type *type_of(const og_graph *g, int id)
{
    const og_value *v = id < 0 ? NULL : g->values[id];
    return v && v->kind == OG_VALUE_CONST ? &v->type : NULL;
}

/* How many inputs of a layer one output reads, by its weight; 0: unknown. */
static int64_t fan_in(const og_graph *g, const og_node *n, bool *recurrent)
{
    *recurrent = is(n, "LSTM") || is(n, "GRU") || is(n, "RNN");
    if (*recurrent)
        return og_attr_int(n, "hidden_size", 0);
    if (n->n_in < 2 || n->in[1] < 0)
        return 0;
    int id = n->in[1];
    bool swapped = false;
    const og_node *from = g->values[id]->producer;
    if (from && is(from, "Transpose") && from->n_in == 1) {
        id = from->in[0];
        swapped = true;
    }
    const og_type *t = type_of(g, id);
    if (!t || t->rank < 2)
        return 0;
    if (is(n, "Gemm"))
        return t->dims[(og_attr_int(n, "transB", 0) != 0) != swapped];
    if (is(n, "MatMul"))
        return t->dims[t->rank - (swapped ? 1 : 2)];
    if (!is(n, "Conv") && !is(n, "ConvTranspose"))
        return 0;
    int64_t fan = 1;
    for (int i = 1; i < t->rank; i++)
        fan *= t->dims[i];
    return fan;
}

/* Value `id` as input k of node n. */
static bool initial_in(const og_graph *g, const og_node *n, int k, int id, og__init *init)
{
    bool batch = is(n, "BatchNormalization"), recurrent;
    bool norm = batch || is(n, "LayerNormalization") || is(n, "InstanceNormalization") ||
                is(n, "GroupNormalization") || is(n, "RMSNormalization");
    if (norm && k >= 1 && k <= (batch ? 4 : 2)) {
        *init = og__constant(k == 1 || k == 4 ? 1 : 0);
        return true;
    }
    if (is(n, "Gather") && k == 0) {
        *init = og__normal(1);
        return true;
    }
    if (is(n, "PRelu") && k == 1) {
        *init = og__constant(0.25);
        return true;
    }
    const og_node *layer = n;
    if (is(n, "Add") && type_of(g, id)->rank <= 1) { /* the bias behind a product … */
        layer = g->values[n->in[1 - k]]->producer;
        if (!layer || !(is(layer, "MatMul") || is(layer, "Conv") || is(layer, "Gemm"))) {
            *init = og__constant(0); /* … or the shift of a norm that is written out */
            return true;
        }
    } else if (is(n, "Mul") && type_of(g, id)->rank <= 1) {
        *init = og__constant(1);
        return true;
    } else if (is(n, "MatMul") ? k != 1 : k < 1) {
        return false;
    }
    int64_t fan = fan_in(g, layer, &recurrent);
    if (fan < 1 || (recurrent && k > 3))
        return false;
    *init = og__uniform(1 / sqrt((double)fan));
    return true;
}

bool og__initial_of(const og_graph *g, int id, og__init *init, const og_node **reader)
{
    *reader = NULL;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k] != id)
                continue;
            *reader = n;
            if (initial_in(g, n, k, id, init))
                return true;
            if (!is(n, "Transpose") && !is(n, "Identity"))
                continue;
            /* What is read transposed is what the transpose's readers say of it. */
            for (int j = i + 1; j < g->n_nodes; j++)
                for (int m = 0; m < g->nodes[j]->n_in; m++)
                    if (g->nodes[j]->in[m] == n->out[0] && type_of(g, id)->rank > 1) {
                        bool recurrent;
                        int64_t fan = m == 1 ? fan_in(g, g->nodes[j], &recurrent) : 0;
                        if (fan < 1)
                            continue;
                        *init = og__uniform(1 / sqrt((double)fan));
                        return true;
                    }
        }
    }
    return false;
}
