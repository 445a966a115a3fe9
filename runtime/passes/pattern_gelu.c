/* Gelu written out, as exporters do below opset 20:
 *     x/2 (1 + erf(x / √2))
 *     x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))), also with x (1 + 0.044715 x²)
 * becomes Gelu, whose gradient keeps x alone. */
#include <math.h>

#include "runtime/graph/build.h"
#include "runtime/passes/match.h"

static const double rate = M_2_SQRTPI * M_SQRT1_2, bend = 0.044715;

/* value = x / √2 */
static bool is_erf_argument(const og_match *m, int value, int x)
{
    og_match_list p;
    return og_match_product(m, value, &p) && og_match_take(&p, x) && p.n == 0 &&
           og_match_close(p.constant, M_SQRT1_2);
}

/* value = 0.044715 xᵖ */
static bool is_bend(const og_match *m, int value, int x, int power)
{
    og_match_list p;
    if (!og_match_product(m, value, &p) || p.n != power || !og_match_close(p.constant, bend))
        return false;
    while (og_match_take(&p, x))
        ;
    return p.n == 0;
}

/* value = √(2/π) (x + 0.044715 x³) or √(2/π) x (1 + 0.044715 x²) */
static bool is_tanh_argument(const og_match *m, int value, int x)
{
    og_match_list p, s;
    if (!og_match_product(m, value, &p) || !og_match_close(p.constant, rate))
        return false;
    bool outside = og_match_take(&p, x);
    if (p.n != 1 || m->uses[p.items[0]] != 1 || !og_match_sum(m, p.items[0], &s))
        return false;
    if (outside)
        return s.n == 1 && og_match_close(s.constant, 1) && is_bend(m, s.items[0], x, 2);
    return og_match_take(&s, x) && s.n == 1 && s.constant == 0 && is_bend(m, s.items[0], x, 3);
}

/* gate = 1 + erf(…) or 1 + tanh(…) of x; 0: neither. */
static int gate_form(const og_match *m, int gate, int x)
{
    og_match_list s;
    if (m->uses[gate] != 1 || !og_match_sum(m, gate, &s) || s.n != 1 || s.constant != 1)
        return 0;
    const og_node *erf = og_match_inner(m, s.items[0], "Erf");
    const og_node *tanh = og_match_inner(m, s.items[0], "Tanh");
    return erf && is_erf_argument(m, erf->in[0], x)      ? 'e'
           : tanh && is_tanh_argument(m, tanh->in[0], x) ? 't'
                                                         : 0;
}

bool og__pattern_gelu(const og_match *m, og_rewrite *rw, const og_node *n)
{
    og_match_list p;
    if (!og_op_is(n->op, NULL, "Mul") || !og_match_product(m, n->out[0], &p) || p.n != 2 ||
        p.constant != 0.5)
        return false;
    for (int i = 0; i < 2; i++) {
        int x = p.items[i], form = gate_form(m, p.items[1 - i], x);
        if (!form)
            continue;
        og_val v = og_rewrite_value(rw, x);
        og_rewrite_set(rw, n->out[0],
                       form == 'e' ? Op("Gelu", In(v))
                                   : Op("Gelu", In(v), S("approximate", "tanh")));
        return true;
    }
    return false;
}
