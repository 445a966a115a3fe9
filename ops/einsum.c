/* Einsum, by its definition: operands are contracted pairwise from the left, each pair as one
 * (batched) MatMul, or as a broadcast Mul where nothing is summed. A label twice in one operand is
 * a diagonal, which is gathered first. */
#include <ctype.h>

#include "ops/common.h"

/* Labels are numbers: a … z, A … Z, then the dims of the ellipsis counted from its right. */
enum { LETTERS = 52, MAX_LABELS = LETTERS + OG_MAX_RANK, MAX_OPERANDS = 16 };

typedef struct term {
    int n;
    int label[MAX_LABELS];
} term;

typedef struct equation {
    int operands;
    term in[MAX_OPERANDS], out;
    int64_t size[MAX_LABELS]; /* 0 … : the label's dim; -1: unused */
} equation;

/* ---- parsing */

static int label_of(char c)
{
    return islower((unsigned char)c) ? c - 'a' : 26 + c - 'A';
}

static int occurrences(const term *t, int label)
{
    int n = 0;
    for (int k = 0; k < t->n; k++)
        n += t->label[k] == label;
    return n;
}

static bool contains(const term *t, int label)
{
    return occurrences(t, label) > 0;
}

/* Reads labels up to a comma, an arrow or the end; an ellipsis stands for `dims` dims. NULL, with
 * *bad set, on error. */
static const char *read_term(const char *s, int dims, term *t, const char **bad)
{
    *t = (term){0};
    bool dots = false;
    while (*s && *s != ',' && *s != '-') {
        int label = -1;
        if (isspace((unsigned char)*s)) {
            s++;
            continue;
        }
        if (strncmp(s, "...", 3) == 0 && !dots) {
            dots = true;
            for (int k = dims; k > 0 && t->n < OG_MAX_RANK; k--)
                t->label[t->n++] = LETTERS + k - 1;
            s += 3;
            continue;
        }
        if (isalpha((unsigned char)*s) && (unsigned char)*s < 128)
            label = label_of(*s++);
        if (label < 0 || t->n >= OG_MAX_RANK) {
            *bad = "a character that is no label, or too many labels";
            return NULL;
        }
        t->label[t->n++] = label;
    }
    return s;
}

/* Letters in the term that starts at s. */
static int letters_in(const char *s)
{
    int n = 0;
    for (; *s && *s != ',' && *s != '-'; s++)
        n += isalpha((unsigned char)*s) != 0;
    return n;
}

/* Without "->": the ellipsis, then the labels that occur once, in alphabetical order (upper case
 * first). */
static void implicit_output(equation *q, int ellipsis)
{
    q->out.n = 0;
    for (int k = ellipsis; k > 0; k--)
        q->out.label[q->out.n++] = LETTERS + k - 1;
    for (int k = 0; k < LETTERS; k++) {
        int label = (k + 26) % LETTERS, found = 0;
        for (int o = 0; o < q->operands; o++)
            found += occurrences(&q->in[o], label);
        if (found == 1 && q->out.n < OG_MAX_RANK)
            q->out.label[q->out.n++] = label;
    }
}

/* NULL, or what is wrong. x: the operands' types. */
static const char *parse(const char *s, int n, const og_type *const *x, equation *q)
{
    const char *bad = NULL;
    int ellipsis = 0;
    *q = (equation){.operands = n};
    for (int k = 0; k < MAX_LABELS; k++)
        q->size[k] = -1;
    if (n > MAX_OPERANDS)
        return "too many operands";
    for (int o = 0; o < n; o++) {
        int dims = x[o]->rank - letters_in(s);
        if (dims < 0)
            return "more labels than the operand has dims";
        if (!(s = read_term(s, dims, &q->in[o], &bad)))
            return bad;
        if (q->in[o].n != x[o]->rank)
            return "another number of labels than the operand has dims";
        ellipsis = dims > ellipsis ? dims : ellipsis;
        if (*s == ',' ? o + 1 == n : o + 1 < n)
            return "another number of terms than there are operands";
        s += *s == ',';
    }
    if (*s == '\0')
        implicit_output(q, ellipsis);
    else if (strncmp(s, "->", 2) != 0 || !(s = read_term(s + 2, ellipsis, &q->out, &bad)) || *s)
        return bad ? bad : "no proper output term";
    for (int k = 0; k < q->out.n; k++)
        if (occurrences(&q->out, q->out.label[k]) > 1)
            return "a label twice in the output term";
    return NULL;
}

static char letter_of(int label)
{
    return label >= LETTERS ? '.' : (char)(label < 26 ? 'a' + label : 'A' + label - 26);
}

/* Sizes of labels; the dims of an ellipsis broadcast. */
static bool sizes(og_infer *i, equation *q)
{
    for (int o = 0; o < i->nx; o++)
        for (int k = 0; k < q->in[o].n; k++) {
            int label = q->in[o].label[k];
            int64_t dim = i->x[o]->type.dims[k], *size = &q->size[label];
            bool stretches = label >= LETTERS && (*size == 1 || dim == 1);
            if (*size >= 0 && *size != dim && !stretches)
                return og_infer_error(i,
                                      "label %c is %" PRId64 " and %" PRId64 " (operand %d is %s)",
                                      letter_of(label), *size, dim, o, TypeText(i, &i->x[o]->type));
            if (*size < 0 || *size == 1)
                *size = dim;
        }
    for (int k = 0; k < q->out.n; k++)
        if (q->size[q->out.label[k]] < 0)
            return og_infer_error(i, "label %c of the output is in no operand",
                                  letter_of(q->out.label[k]));
    return true;
}

static bool read_equation(og_infer *i, equation *q)
{
    const og_type *types[MAX_OPERANDS];
    const char *text = og_attr_string(i->node, "equation", "");
    for (int o = 0; o < i->nx && o < MAX_OPERANDS; o++) {
        if (!i->x[o])
            return og_infer_error(i, "input %d is absent", o);
        types[o] = &i->x[o]->type;
    }
    const char *bad = parse(text, i->nx, types, q);
    return bad ? og_infer_error(i, "equation \"%s\" has %s", text, bad) : sizes(i, q);
}

static bool einsum_infer(og_infer *i)
{
    equation q;
    if (!need_number(i, 0) || !need_all_same(i) || !read_equation(i, &q))
        return false;
    og_type y = {.dtype = i->x[0]->type.dtype, .rank = q.out.n};
    for (int k = 0; k < q.out.n; k++)
        y.dims[k] = q.size[q.out.label[k]];
    i->y[0] = y;
    return true;
}

/* ---- definition */

typedef struct operand {
    og_val v;
    term t;
} operand;

static void append(term *to, const term *labels)
{
    for (int k = 0; k < labels->n; k++)
        to->label[to->n++] = labels->label[k];
}

/* v with its dims in the order of `to`, which has the same labels. */
static og_val arrange(const operand *a, const term *to)
{
    int perm[OG_MAX_RANK];
    bool moved = false;
    for (int k = 0; k < to->n; k++) {
        perm[k] = 0;
        while (a->t.label[perm[k]] != to->label[k])
            perm[k]++;
        moved |= perm[k] != k;
    }
    return moved ? Transpose(a->v, perm) : a->v;
}

/* Sums over the labels that `kept` lacks. */
static operand sum_out(operand a, const bool *kept)
{
    int axes[OG_MAX_RANK], n = 0;
    term rest = {0};
    for (int k = 0; k < a.t.n; k++)
        if (kept[a.t.label[k]])
            rest.label[rest.n++] = a.t.label[k];
        else
            axes[n++] = k;
    return n ? (operand){Reduce("ReduceSum", a.v, n, axes, false), rest} : a;
}

static int64_t product(const equation *q, const term *t)
{
    int64_t p = 1;
    for (int k = 0; k < t->n; k++)
        p *= q->size[t->label[k]];
    return p;
}

/* Dims of an ellipsis that are 1 in this operand get their full size. */
static og_val stretch(const equation *q, const operand *a)
{
    og_type t = *og_type_of(a->v);
    for (int k = 0; k < a->t.n; k++)
        t.dims[k] = q->size[a->t.label[k]];
    return og_type_equal(&t, og_type_of(a->v))
               ? a->v
               : Op("Expand", In(a->v, og_const_ints(a->v.g, t.rank, t.dims)));
}

/* Where a label is at two dims, n × n, of the operand: their diagonal, as the last dim. */
static operand diagonal(operand a)
{
    for (int r = 1; r < a.t.n; r++)
        for (int k = 0; k < r; k++) {
            if (a.t.label[k] != a.t.label[r] || !Has(a.v))
                continue;
            term rest = {0};
            int perm[OG_MAX_RANK];
            int64_t dims[OG_MAX_RANK], n = Dim(a.v, r);
            for (int d = 0; d < a.t.n; d++)
                if (d != k && d != r) {
                    perm[rest.n] = d;
                    dims[rest.n] = Dim(a.v, d);
                    rest.label[rest.n++] = a.t.label[d];
                }
            perm[rest.n] = k, perm[rest.n + 1] = r;
            dims[rest.n] = n * n;
            og_val flat = Reshape(Transpose(a.v, perm), rest.n + 1, dims);
            og_val at = arange(a.v.g, n, 0);
            a.v = Op("Gather", In(flat, Mul(at, Scalar(at, (double)n + 1))), I("axis", rest.n));
            rest.label[rest.n++] = a.t.label[r];
            a.t = rest;
            return diagonal(a);
        }
    return a;
}

/* a · b, summed over their common labels that `later` lacks; the result's labels are those of both
 * that remain. */
static operand contract(const equation *q, operand a, operand b, const bool *later)
{
    bool in_a[MAX_LABELS] = {0}, in_b[MAX_LABELS] = {0}, keep_a[MAX_LABELS], keep_b[MAX_LABELS];
    for (int k = 0; k < a.t.n; k++)
        in_a[a.t.label[k]] = true;
    for (int k = 0; k < b.t.n; k++)
        in_b[b.t.label[k]] = true;
    for (int l = 0; l < MAX_LABELS; l++) {
        keep_a[l] = later[l] || in_b[l];
        keep_b[l] = later[l] || in_a[l];
    }
    a = sum_out(a, keep_a);
    b = sum_out(b, keep_b);
    term batch = {0}, summed = {0}, rows = {0}, columns = {0}, ta = {0}, tb = {0}, y = {0};
    for (int k = 0; k < a.t.n; k++) {
        int l = a.t.label[k];
        term *to = !in_b[l] ? &rows : later[l] ? &batch : &summed;
        to->label[to->n++] = l;
    }
    for (int k = 0; k < b.t.n; k++)
        if (!in_a[b.t.label[k]])
            columns.label[columns.n++] = b.t.label[k];
    append(&ta, &batch), append(&ta, &rows), append(&ta, &summed);
    append(&tb, &batch), append(&tb, &summed), append(&tb, &columns);
    append(&y, &batch), append(&y, &rows), append(&y, &columns);
    if (y.n > OG_MAX_RANK || !Has(a.v) || !Has(b.v)) {
        if (Has(a.v))
            og_fail(&a.v.g->error, OG_UNSUPPORTED, "Einsum: an intermediate result has %d dims",
                    y.n);
        return (operand){OG_NONE, y};
    }
    int64_t n = product(q, &batch), m = product(q, &rows), k = product(q, &summed),
            c = product(q, &columns);
    int64_t dims[OG_MAX_RANK];
    for (int d = 0; d < y.n; d++)
        dims[d] = q->size[y.label[d]];
    og_val va = arrange(&a, &ta), vb = arrange(&b, &tb), v;
    if (summed.n == 0)
        v = Mul(Reshape(va, 3, ((int64_t[]){n, m, 1})), Reshape(vb, 3, ((int64_t[]){n, 1, c})));
    else if (batch.n == 0)
        v = MatMul(Reshape(va, 2, ((int64_t[]){m, k})), Reshape(vb, 2, ((int64_t[]){k, c})));
    else
        v = MatMul(Reshape(va, 3, ((int64_t[]){n, m, k})), Reshape(vb, 3, ((int64_t[]){n, k, c})));
    return (operand){Reshape(v, y.n, dims), y};
}

static void einsum_expand(og_expand *e)
{
    equation q;
    og_type y;
    const og_value *values[MAX_OPERANDS];
    for (int o = 0; o < e->nx && o < MAX_OPERANDS; o++)
        values[o] = og_value_of(e->x[o]);
    og_infer i = {.g = e->g, .node = e->node, .nx = e->nx, .ny = 1, .x = values, .y = &y};
    if (!read_equation(&i, &q))
        return;
    operand a = diagonal((operand){e->x[0], q.in[0]});
    a.v = stretch(&q, &a);
    bool later[MAX_LABELS];
    for (int o = 1; o <= e->nx; o++) {
        for (int l = 0; l < MAX_LABELS; l++) {
            later[l] = contains(&q.out, l);
            for (int rest = o + 1; rest < e->nx; rest++)
                later[l] = later[l] || contains(&q.in[rest], l);
        }
        if (o == e->nx)
            break;
        operand b = diagonal((operand){e->x[o], q.in[o]});
        b.v = stretch(&q, &b);
        a = contract(&q, a, b, later);
        if (!Has(a.v))
            return;
    }
    a = sum_out(a, later);
    og_val result = arrange(&a, &q.out);
    e->y[0] = e->nx == 1 ? Identity(result) : result;
}

const og_op og_ops_einsum[] = {
    {"Einsum", NULL, 1, OG_VARIADIC, 1, 1, einsum_infer, .expand = einsum_expand,
     .precision = OG_PRECISION_HALF},
    {0},
};
