/* The steps of LSTM, GRU and RNN between their products, and the steps walked back. A thread does
 * one hidden unit of one sequence: neighbours read neighbouring elements of each gate, and what a
 * step touches comes from cache, so that the launch is most of its time. With a = x Wᵀ + h Rᵀ + b:
 *
 *     LSTM: i, o, f = σ(a),  g = tanh a_g,  c = f c₋ + i g,  h = o tanh c
 *     GRU:  z, r = σ(a),  q = (h Rᵀ)_n + b_q,  n = tanh((x Wᵀ)_n + b_n + r q),  h = (1 - z) n + z
 * h₋ RNN:  h = tanh a, or max(0, a)
 *
 *     LSTM: dc = dc' + dh o (1 - tanh² c);  di = dc g,  do = dh tanh c,  df = dc c₋,  dg = dc i,
 * each times the slope of its activation;  dc₋ = dc f GRU:  dn = dh (1 - z) (1 - n²),  dz = dh (h₋
 * - n) z (1 - z),  dr = dn q r (1 - r), dq = dn r;  past R goes dh z RNN:  da = dh (1 - h²), or dh
 * where h > 0
 *
 * Arrays that may be one and the same are read and written at the same index by the same thread. */
#include "kernels/cuda/index.h"
#include "kernels/cuda/recurrent.h"

OG_DEVICE float og_logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}
OG_DEVICE float og_logistic_slope(float s)
{
    return s * (1.0f - s);
}
OG_DEVICE float og_tanh_slope(float y)
{
    return (1.0f - y) * (1.0f + y);
}
OG_DEVICE float og_at(const float *x, int64_t i)
{
    return x ? x[i] : 0.0f;
}
OG_DEVICE void og_put_operand(void *to, int64_t i, float v, og_operand type)
{
    if (type == OG_OPERAND_FLOAT)
        ((float *)to)[i] = v;
    else
        ((uint16_t *)to)[i] = type == OG_OPERAND_HALF ? og_float_to_half(v) : og_float_to_bfloat(v);
}
OG_DEVICE int64_t og_thread(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
/* Is step t behind the end of sequence b? */
OG_DEVICE int og_ended(const int *lens, int64_t b, int t)
{
    return lens && t >= lens[b];
}

/* ---- the walk */

/* Unit `at` becomes h, or stays what it was where the sequence has ended. */
OG_DEVICE void og_step_end(const og_step_arguments *p, int64_t at, float h, int ended)
{
    const int64_t b = at / p->H;
    const int is_none = p->lens && (p->lens[b] < 0 || p->lens[b] > p->T);
    const float wrong = is_none ? og_float_of_bits(0x7fc00000) : 0.0f;
    if (is_none && at % p->H == 0)
        og_say_outside(p->outside, p->call, p->lens, b, 1);
    const float next = ended ? og_at(p->h_before, at) : h;
    p->y[at] = (ended ? 0.0f : h) + wrong;
    if (p->h)
        p->h[at] = next + wrong;
    if (p->operand)
        og_put_operand(p->operand, at, next + wrong, p->type);
}

OG_KERNEL(og_lstm_step, og_step_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int H = p.H;
    const int64_t b = at / H, j = at % H;
    float *a = p.gates + b * 4 * H + j; /* i o f g */
    const int ended = og_ended(p.lens, b, p.t);
    float c = og_at(p.c_before, at), h = 0, gate[4] = {0, 0, 0, 0};
    if (!ended) {
        OG_UNROLL for (int k = 0; k < 4; k++)
        {
            const int64_t of = (int64_t)k * H + j;
            const float sum = a[(int64_t)k * H] + og_at(p.bias, of) + og_at(p.bias, 4LL * H + of);
            gate[k] = k == 3 ? tanhf(sum) : og_logistic(sum);
        }
        c = gate[2] * c + gate[0] * gate[3];
        h = gate[1] * tanhf(c);
    }
    OG_UNROLL for (int k = 0; k < 4; k++) a[(int64_t)k * H] = gate[k];
    p.c[at] = c;
    og_step_end(&p, at, h, ended);
}

OG_KERNEL(og_gru_step, og_step_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int H = p.H;
    const int64_t b = at / H, j = at % H;
    float *a = p.gates + b * 4 * H + j; /* z r n, and room for q */
    const float *hr = p.hr ? p.hr + b * 3 * H + j : 0;
    const int ended = og_ended(p.lens, b, p.t);
    float z = 0, r = 0, n = 0, q = 0, h = 0;
    if (!ended) {
        float sum[3], state[3];
        OG_UNROLL for (int k = 0; k < 3; k++)
        {
            const int64_t of = (int64_t)k * H;
            sum[k] = a[of] + og_at(p.bias, of + j);
            state[k] = og_at(hr, of) + og_at(p.bias, 3LL * H + of + j);
        }
        z = og_logistic(sum[0] + state[0]);
        r = og_logistic(sum[1] + state[1]);
        q = state[2];
        n = tanhf(sum[2] + r * q);
        h = (1.0f - z) * n + z * og_at(p.h_before, at);
    }
    a[0] = z;
    a[H] = r;
    a[2LL * H] = n;
    a[3LL * H] = q;
    og_step_end(&p, at, h, ended);
}

OG_KERNEL(og_rnn_step, og_step_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int64_t b = at / p.H, j = at % p.H;
    const float a = p.gates[at] + og_at(p.bias, j) + og_at(p.bias, p.H + j);
    og_step_end(&p, at, p.relu ? (a < 0.0f ? 0.0f : a) : tanhf(a), og_ended(p.lens, b, p.t));
}

/* A first state as products take it. */
OG_KERNEL(og_operand_of, og_operand_arguments, p)
{
    const int64_t at = og_thread();
    if (at < p.n)
        og_put_operand(p.to, at, p.from[at], p.type);
}

/* ---- the walk back */

/* State of the step before: a sequence that begins here has its first one. */
OG_DEVICE float og_state_before(const og_back_arguments *p, int64_t at, int64_t b)
{
    const int first = p->t_before < 0 || og_ended(p->lens, b, p->t_before);
    return og_at(first ? p->first : p->before, at);
}

/* Nothing flows through a step behind the sequence's end, dh and dc pass it by. */
OG_DEVICE void og_back_ended(const og_back_arguments *p, int64_t at, int gates)
{
    const int64_t b = at / p->H, j = at % p->H;
    for (int k = 0; k < gates; k++) {
        const int64_t to = (b * gates + k) * p->H + j;
        og_put_operand(p->dxw, to, 0.0f, p->type);
        if (p->dhr)
            og_put_operand(p->dhr, to, 0.0f, p->type);
    }
    if (p->dh_out)
        p->dh_out[at] = og_at(p->dh, at);
    if (p->dc_out)
        p->dc_out[at] = og_at(p->dc, at);
}

OG_KERNEL(og_lstm_back, og_back_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int H = p.H;
    const int64_t b = at / H, j = at % H, of = b * 4 * H + j;
    if (og_ended(p.lens, b, p.t)) {
        og_back_ended(&p, at, 4);
        return;
    }
    const float i = p.gates[of], o = p.gates[of + H], f = p.gates[of + 2LL * H],
                g = p.gates[of + 3LL * H];
    const float tanh_c = tanhf(p.c[at]), dh = og_at(p.dy, at) + og_at(p.dh, at);
    const float dc = og_at(p.dc, at) + dh * o * og_tanh_slope(tanh_c);
    const float before = og_state_before(&p, at, b);
    og_put_operand(p.dxw, of, dc * g * og_logistic_slope(i), p.type);
    og_put_operand(p.dxw, of + H, dh * tanh_c * og_logistic_slope(o), p.type);
    og_put_operand(p.dxw, of + 2LL * H, dc * before * og_logistic_slope(f), p.type);
    og_put_operand(p.dxw, of + 3LL * H, dc * i * og_tanh_slope(g), p.type);
    if (p.dh_out)
        p.dh_out[at] = 0.0f;
    p.dc_out[at] = dc * f;
}

OG_KERNEL(og_gru_back, og_back_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int H = p.H;
    const int64_t b = at / H, j = at % H;
    if (og_ended(p.lens, b, p.t)) {
        og_back_ended(&p, at, 3);
        return;
    }
    const float *a = p.gates + b * 4 * H + j;
    const float z = a[0], r = a[H], n = a[2LL * H], q = a[3LL * H];
    const float dh = og_at(p.dy, at) + og_at(p.dh, at), before = og_state_before(&p, at, b);
    const float dn = dh * (1.0f - z) * og_tanh_slope(n);
    const float dz = dh * (before - n) * og_logistic_slope(z);
    const float dr = dn * q * og_logistic_slope(r);
    const float to_x[3] = {dz, dr, dn}, to_h[3] = {dz, dr, dn * r};
    OG_UNROLL for (int k = 0; k < 3; k++)
    {
        const int64_t to = (b * 3 + k) * H + j;
        og_put_operand(p.dxw, to, to_x[k], p.type);
        og_put_operand(p.dhr, to, to_h[k], p.type);
    }
    p.dh_out[at] = dh * z;
}

OG_KERNEL(og_rnn_back, og_back_arguments, p)
{
    const int64_t at = og_thread();
    if (at >= p.n)
        return;
    const int64_t b = at / p.H;
    if (og_ended(p.lens, b, p.t)) {
        og_back_ended(&p, at, 1);
        return;
    }
    const float y = p.y[at], dh = og_at(p.dy, at) + og_at(p.dh, at);
    const float da = p.relu ? (y > 0.0f ? dh : 0.0f) : dh * og_tanh_slope(y);
    og_put_operand(p.dxw, at, da, p.type);
    if (p.dh_out)
        p.dh_out[at] = 0.0f;
}
