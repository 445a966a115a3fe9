/* Included by recurrent_simd.c with T and NAME defined; no include guard. Arrays that may be one
 * and the same are read and written at the same index, which the loops promise the compiler
 * (ivdep). */

#define LOOP _Pragma("GCC ivdep") for (int64_t j = 0; j < H; j++)

/* c' = f c + i g,  h = o tanh c' */
static void NAME(lstm_step)(const og__unit_step *s)
{
    int64_t H = s->H;
    const T *ai = s->hr, *ao = ai + H, *af = ao + H, *ag = af + H;
    const T *bi = s->bias, *bo = bi + H, *bf = bo + H, *bg = bf + H;
    T *gi = s->gates, *go = gi + H, *gf = go + H, *gg = gf + H, *h = s->h, *c = s->c, *y = s->y;
    LOOP
    {
        T i = NAME(sigmoid)(ai[j] + bi[j]), o = NAME(sigmoid)(ao[j] + bo[j]);
        T f = NAME(sigmoid)(af[j] + bf[j]), g = NAME(tanh)(ag[j] + bg[j]);
        T next = f * c[j] + i * g, out = o * NAME(tanh)(next);
        gi[j] = i;
        go[j] = o;
        gf[j] = f;
        gg[j] = g;
        c[j] = next;
        h[j] = out;
        y[j] = out;
    }
}

/* dc = dc' + dh o (1 - tanh² c);  di = dc g,  do = dh tanh c,  df = dc c₋,  dg = dc i, each times
 * the slope of its activation;  dc₋ = dc f */
static void NAME(lstm_back)(const og__unit_back *b)
{
    int64_t H = b->H;
    const T *gi = b->gates, *go = gi + H, *gf = go + H, *gg = gf + H;
    const T *c = b->c, *before = b->c_before, *dy = b->dy;
    T *dh = b->dh, *dc = b->dc, *di = b->dxw, *d_o = di + H, *df = d_o + H, *dg = df + H;
    LOOP
    {
        T i = gi[j], o = go[j], f = gf[j], g = gg[j], tanh_c = NAME(tanh)(c[j]);
        T d = dy[j] + dh[j], e = dc[j] + d * o * ((1 - tanh_c) * (1 + tanh_c));
        di[j] = e * g * (i * (1 - i));
        d_o[j] = d * tanh_c * (o * (1 - o));
        df[j] = e * before[j] * (f * (1 - f));
        dg[j] = e * i * ((1 - g) * (1 + g));
        dc[j] = e * f;
        dh[j] = 0;
    }
}

/* n = tanh(xw_n + r q),  q = (h Rᵀ)_n + its bias,  h' = (1 - z) n + z h */
static void NAME(gru_step)(const og__unit_step *s)
{
    int64_t H = s->H;
    const T *xz = s->xw, *xr = xz + H, *xn = xr + H, *hz = s->hr, *hr = hz + H, *hn = hr + H;
    const T *bz = s->bias, *br = bz + H, *bn = br + H, *bq = bn + H;
    T *gz = s->gates, *gr = gz + H, *gn = gr + H, *gq = gn + H, *h = s->h, *y = s->y;
    LOOP
    {
        T z = NAME(sigmoid)(xz[j] + (hz[j] + bz[j])), r = NAME(sigmoid)(xr[j] + (hr[j] + br[j]));
        T q = hn[j] + bq[j], n = NAME(tanh)(xn[j] + bn[j] + r * q);
        T out = (1 - z) * n + z * h[j];
        gz[j] = z;
        gr[j] = r;
        gn[j] = n;
        gq[j] = q;
        h[j] = out;
        y[j] = out;
    }
}

/* dn = dh (1 - z) (1 - n²),  dz = dh (h₋ - n) z (1 - z),  dr = dn q r (1 - r),  dq = dn r;
 * what goes back past R: dh z */
static void NAME(gru_back)(const og__unit_back *b)
{
    int64_t H = b->H;
    const T *gz = b->gates, *gr = gz + H, *gn = gr + H, *gq = gn + H;
    const T *before = b->h_before, *dy = b->dy;
    T *dh = b->dh, *xz = b->dxw, *xr = xz + H, *xn = xr + H;
    T *hz = b->dhr, *hr = hz + H, *hq = hr + H;
    LOOP
    {
        T z = gz[j], r = gr[j], n = gn[j], d = dy[j] + dh[j];
        T dn = d * (1 - z) * ((1 - n) * (1 + n)), dz = d * (before[j] - n) * (z * (1 - z));
        T dr = dn * gq[j] * (r * (1 - r));
        xz[j] = hz[j] = dz;
        xr[j] = hr[j] = dr;
        xn[j] = dn;
        hq[j] = dn * r;
        dh[j] = d * z;
    }
}

/* RNN: h' = f(xw + h Rᵀ + b);  back: its slope, from y */
#define RNN(name, value, slope)                           \
    static void NAME(name##_step)(const og__unit_step *s) \
    {                                                     \
        int64_t H = s->H;                                 \
        const T *r = s->hr, *b = s->bias;                 \
        T *h = s->h, *y = s->y;                           \
        LOOP                                              \
        {                                                 \
            T a = r[j] + b[j];                            \
            y[j] = h[j] = (value);                        \
        }                                                 \
    }                                                     \
    static void NAME(name##_back)(const og__unit_back *k) \
    {                                                     \
        int64_t H = k->H;                                 \
        const T *y = k->y, *dy = k->dy;                   \
        T *dh = k->dh, *dx = k->dxw;                      \
        LOOP                                              \
        {                                                 \
            T v = y[j], d = dy[j] + dh[j];                \
            dx[j] = (slope);                              \
            dh[j] = 0;                                    \
        }                                                 \
    }
RNN(tanh, NAME(tanh)(a), d *((1 - v) * (1 + v)))
RNN(relu, a<0 ? (T)0 : a, v> 0 ? d : (T)0)

static const og__unit_fns NAME(fns)[] = {
    [OG__UNIT_LSTM] = {NAME(lstm_step), NAME(lstm_back)},
    [OG__UNIT_GRU] = {NAME(gru_step), NAME(gru_back)},
    [OG__UNIT_TANH] = {NAME(tanh_step), NAME(tanh_back)},
    [OG__UNIT_RELU] = {NAME(relu_step), NAME(relu_back)},
};

#undef RNN
#undef LOOP
