/* kernels/cuda/OPS.md says where each op runs on the CUDA device. With OG_WRITE set it is written
 * anew. */
#include "runtime/base/text.h"
#include "tests/cuda/open.h"

static bool names(const char *kernel_op, const og_op *op)
{
    size_t n = op->domain ? strlen(op->domain) : 0;
    if (n && (strncmp(kernel_op, op->domain, n) != 0 || strncmp(kernel_op + n, "::", 2) != 0))
        return false;
    return strcmp(kernel_op + (n ? n + 2 : 0), op->name) == 0;
}

/* The families of this device's own kernels that name the op. */
static bool add_native(const og_device *d, const og_op *op, og_text *text)
{
    bool any = false;
    for (const og_kernel_table *t = d->tables; t->family; t++) {
        bool here = false;
        for (const og_kernel *k = t->kernels; k->op; k++)
            here = here || names(k->op, op) ||
                   (strcmp(t->family, "host") != 0 && strcmp(k->op, "*") == 0 && op->scalar);
        if (here)
            og_text_printf(text, "%s`%s`", any ? ", " : "", t->family);
        any = any || here;
    }
    return any;
}

static void write_table(const og_device *d, og_text *text)
{
    og_text_add(text,
                "# Where ops run on the CUDA device\n\n"
                "Made by `tests/cuda/test_ops_table.c` (`OG_WRITE=1`), which compares. Native: "
                "kernels of a family of this folder, for\nthe types and layouts that they take, "
                "else as if there were none. Definition: the op in simpler ops (`ops/`). Host:\n"
                "the processor's kernel, on copies in pinned memory. Ops that are views where "
                "they can be move nothing then.\n\n| op | runs | kernels |\n|---|---|---|\n");
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++) {
            og_text native = {0};
            bool host = og_device_has(test_host, op);
            const char *where = add_native(d, op, &native)            ? "native"
                                : host && !og__cuda_by_definition(op) ? "host"
                                : op->expand                          ? "definition"
                                                                      : NULL;
            if (where)
                og_text_printf(text, "| %s%s%s | %s | %s |\n", op->domain ? op->domain : "",
                               op->domain ? "::" : "", op->name, where, native.s ? native.s : "");
            og_text_free(&native);
        }
    og_text_add(text,
                "\nWhere native kernels refuse, an op with a definition runs by it. These run on "
                "the host:\n\n| op | because it |\n|---|---|\n");
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++)
            if (og__cuda_kept_on_host(op) && og_device_has(test_host, op))
                og_text_printf(text, "| %s%s%s | %s |\n", op->domain ? op->domain : "",
                               op->domain ? "::" : "", op->name, og__cuda_kept_on_host(op));
}

TEST(the_table_is_what_there_is)
{
    og_device *d = open_device(1);
    og_text made = {0}, read = {0};
    char path[1024], piece[4096];
    snprintf(path, sizeof path, "%s/../../kernels/cuda/OPS.md", OG_TEST_SOURCE_DIR);
    write_table(d, &made);
    if (getenv("OG_WRITE")) {
        FILE *f = fopen(path, "w");
        REQUIRE(f != NULL);
        CHECK(fputs(made.s, f) >= 0);
        CHECK(fclose(f) == 0);
    }
    FILE *f = fopen(path, "r");
    REQUIRE(f != NULL);
    while (fgets(piece, sizeof piece, f))
        og_text_add(&read, piece);
    fclose(f);
    if (!CHECK(strcmp(made.s, read.s) == 0))
        printf("    kernels/cuda/OPS.md is not up to date: run this test with OG_WRITE=1\n");
    og_text_free(&made);
    og_text_free(&read);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(the_table_is_what_there_is)};
TEST_MAIN(tests)
