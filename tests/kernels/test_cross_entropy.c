/* Cross entropy of rows and its gradient against sums in double straight from the definition: rows
 * far from 0, rows that are almost right, ignored rows that hold infinities. */
#include "tests/kernels/call.h"

#include <math.h>

enum { ROWS = 24, CLASSES = 1003, THREADS = 3 };

/* Rounding of the type, and of lse in double. */
static double tolerance(og_dtype dtype, double offset)
{
    return (dtype == OG_FLOAT ? 1e-6 : 1e-14) + 0x1p-52 * fabs(offset);
}

/* x: [ROWS, CLASSES] within 4 of an offset; in every third row the label's score stands out by 30.
 */
static og_tensor scores(og_dtype dtype, double offset, const og_tensor *labels)
{
    uint64_t seed = 7;
    og_tensor x = test_tensor(dtype, 2, (int64_t[]){ROWS, CLASSES});
    for (int64_t i = 0; i < (int64_t)ROWS * CLASSES; i++)
        og__store_double(x.data, dtype, i, offset + 4 * test_uniform(&seed));
    for (int64_t r = 0; r < ROWS; r += 3) {
        int64_t at = r * CLASSES + og__load_int(labels->data, labels->type.dtype, r);
        og__store_double(x.data, dtype, at, offset + 30);
    }
    return x;
}

static og_tensor labels_of(og_dtype dtype)
{
    og_tensor t = test_tensor(dtype, 1, (int64_t[]){ROWS});
    for (int64_t r = 0; r < ROWS; r++)
        og__store_int(t.data, dtype, r, r * 37 % CLASSES);
    return t;
}

/* Σ exp(x - m) of row r beyond the largest element, m. */
static double row_sum(const og_tensor *x, int64_t r, double *m)
{
    double s = 0;
    *m = -INFINITY;
    for (int64_t c = 0; c < CLASSES; c++)
        *m = fmax(*m, test_element(x, r * CLASSES + c));
    for (int64_t c = 0; c < CLASSES; c++)
        s += exp(test_element(x, r * CLASSES + c) - *m);
    return s;
}

static void check_rows(og_dtype dtype, og_dtype label_dtype, double offset)
{
    og_tensor labels = labels_of(label_dtype);
    kernel_call k = {.op = "ai.ongrad::SoftmaxCrossEntropy", .nx = 2, .ny = 2};
    k.x[0] = scores(dtype, offset, &labels);
    k.x[1] = labels;
    k.y[0] = test_tensor(dtype, 1, (int64_t[]){ROWS});
    k.y[1] = test_tensor(OG_DOUBLE, 1, (int64_t[]){ROWS});
    kernel_call g = {.op = "ai.ongrad::SoftmaxCrossEntropyGrad", .nx = 4, .ny = 1};
    uint64_t seed = 9;
    g.x[0] = test_filled(dtype, 1, (int64_t[]){ROWS}, &seed); /* dloss */
    g.x[1] = test_convert(&k.x[0], dtype);
    g.x[2] = labels;
    g.x[3] = k.y[1];
    g.y[0] = g.x[1]; /* in place */
    og__store_double(g.x[0].data, dtype, 5, 0);
    if (test_run(&k) && test_run(&g))
        for (int64_t r = 0; r < ROWS; r++) {
            int64_t label = og__load_int(labels.data, label_dtype, r);
            double m, s = row_sum(&k.x[0], r, &m), dloss = test_element(&g.x[0], r);
            double want = log(s) - (test_element(&k.x[0], r * CLASSES + label) - m);
            CHECK_CLOSE(test_element(&k.y[0], r), want, tolerance(dtype, offset) * fmax(1, want));
            for (int64_t c = 0; c < CLASSES; c++) {
                double p = exp(test_element(&k.x[0], r * CLASSES + c) - m) / s;
                CHECK_CLOSE(test_element(&g.y[0], r * CLASSES + c), dloss * (p - (c == label)),
                            tolerance(dtype, offset));
            }
        }
    free(k.x[0].data);
    free(k.y[0].data);
    free(k.y[1].data);
    free(g.x[0].data);
    free(g.x[1].data);
    free(labels.data);
}

TEST(rows)
{
    static const double offsets[] = {0, 5000, -5000};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        TEST_CASE(i ? "far from 0" : "around 0");
        check_rows(OG_FLOAT, OG_INT64, offsets[i]);
        check_rows(OG_FLOAT, OG_INT32, offsets[i]);
        check_rows(OG_DOUBLE, OG_INT64, offsets[i]);
    }
    TEST_CASE("");
}

TEST(an_ignored_row_may_hold_infinities)
{
    kernel_call g = {.op = "ai.ongrad::SoftmaxCrossEntropyGrad", .nx = 4, .ny = 1};
    uint64_t seed = 3;
    g.x[0] = test_tensor(OG_FLOAT, 1, (int64_t[]){2});
    g.x[1] = test_filled(OG_FLOAT, 2, (int64_t[]){2, 5}, &seed);
    g.x[2] = test_tensor(OG_INT64, 1, (int64_t[]){2});
    g.x[3] = test_tensor(OG_DOUBLE, 1, (int64_t[]){2});
    g.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){2, 5});
    ((float *)g.x[0].data)[1] = 1;
    ((float *)g.x[1].data)[3] = INFINITY;
    ((double *)g.x[3].data)[0] = INFINITY;
    ((double *)g.x[3].data)[1] = 2;
    if (test_run(&g))
        for (int i = 0; i < 10; i++)
            CHECK_INT(((float *)g.y[0].data)[i] != 0, i >= 5);
    test_free_tensors(&g);
}

TEST(threads_change_nothing)
{
    og_tensor labels = labels_of(OG_INT64);
    kernel_call k = {.op = "ai.ongrad::SoftmaxCrossEntropy", .nx = 2, .ny = 2};
    k.x[0] = scores(OG_FLOAT, 1, &labels);
    k.x[1] = labels;
    float loss[2][ROWS];
    double lse[2][ROWS];
    for (int i = 0; i < 2; i++) {
        k.threads = i ? THREADS : 1;
        k.y[0] = test_tensor(OG_FLOAT, 1, (int64_t[]){ROWS});
        k.y[1] = test_tensor(OG_DOUBLE, 1, (int64_t[]){ROWS});
        CHECK(test_run(&k));
        memcpy(loss[i], k.y[0].data, sizeof loss[i]);
        memcpy(lse[i], k.y[1].data, sizeof lse[i]);
        free(k.y[0].data);
        free(k.y[1].data);
    }
    CHECK(memcmp(loss[0], loss[1], sizeof loss[0]) == 0 &&
          memcmp(lse[0], lse[1], sizeof lse[0]) == 0);
    free(k.x[0].data);
    free(labels.data);
}

static const og_test tests[] = {TEST_ROW(rows), TEST_ROW(an_ignored_row_may_hold_infinities),
                                TEST_ROW(threads_change_nothing)};
TEST_MAIN(tests)
