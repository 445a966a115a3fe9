/* Every program that the simulated card was asked to compile, through NVRTC: the tests that ran
 * before left their sources in the build folder (tests/cuda_sim/compile.c). Those in front of which
 * another dialect stands are of an older tree, and are left out; of those that differ in numbers
 * alone, one is taken.
 *
 *     nvrtc_programs FOLDER ARCHITECTURE …
 *
 * The dialect takes longer to read than a program does. So programs are compiled several at once,
 * each in a namespace, and singly only where that fails; on all processors. The last line has the
 * counts, as tests/structure prints them; exit status 1 where one does not compile. */
#include <stdio.h>

#ifdef OG_HAS_CUDA

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cache.h"
#include "kernels/cuda/driver_cuda.h"
#include "runtime/base/text.h"
#include "tests/cuda/processes.h"

extern const char og__cuda_text_kernel[], og__cuda_text_arithmetic[];

enum { AT_ONCE = 16 };

typedef struct program {
    char name[256];
    char *text; /* behind the dialect */
    uint64_t shape;
} program;

typedef struct programs {
    program *items;
    int n, capacity;
} programs;

/* ---- finding them */

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    og_text text = {0};
    char piece[1 << 14];
    size_t n;
    while (f && (n = fread(piece, 1, sizeof piece, f)) > 0)
        og_text_addn(&text, piece, n);
    if (f)
        fclose(f);
    return text.s;
}

static const char *behind_dialect(const char *source)
{
    size_t kernel = strlen(og__cuda_text_kernel), arithmetic = strlen(og__cuda_text_arithmetic);
    bool same = source && strncmp(source, og__cuda_text_kernel, kernel) == 0 &&
                strncmp(source + kernel, og__cuda_text_arithmetic, arithmetic) == 0;
    return same ? source + kernel + arithmetic : NULL;
}

/* A hash of the text without its numbers; digits in names count. */
static uint64_t shape_of(const char *text)
{
    uint64_t h = OG__CACHE_HASH;
    for (const char *at = text; *at; at++) {
        bool in_name = at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (!isdigit((unsigned char)*at) || in_name) {
            h = og__cache_hash(h, at, 1);
            continue;
        }
        while (isdigit((unsigned char)at[1]))
            at++;
    }
    return h;
}

static void add(programs *all, const char *name, const char *text)
{
    uint64_t shape = shape_of(text);
    for (int i = 0; i < all->n; i++)
        if (all->items[i].shape == shape)
            return;
    if (all->n == all->capacity) {
        all->capacity = 2 * all->capacity + 64;
        all->items = realloc(all->items, (size_t)all->capacity * sizeof *all->items);
        if (!all->items)
            abort();
    }
    program *p = &all->items[all->n++];
    *p = (program){.text = strdup(text), .shape = shape};
    snprintf(p->name, sizeof p->name, "%s", name);
}

static void find_all(const char *path, programs *all)
{
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));) {
        size_t length = strlen(e->d_name);
        char file[2048];
        if (length < 3 || strcmp(e->d_name + length - 3, ".cu") != 0)
            continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        char *source = read_file(file);
        const char *text = behind_dialect(source);
        if (text)
            add(all, e->d_name, text);
        free(source);
    }
    if (folder)
        closedir(folder);
}

/* ---- compiling them */

/* For each name behind `before` in the text: the lines `line`, with the name and number i. */
static void write_names(og_text *source, const char *text, const char *before, const char *line,
                        int i)
{
    for (const char *at = text; (at = strstr(at, before));) {
        at += strlen(before);
        int length = (int)strspn(at, "abcdefghijklmnopqrstuvwxyz"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
        for (const char *c = line; *c; c++)
            if (*c == '@')
                og_text_addn(source, at, (size_t)length);
            else if (*c == '#' && c > line)
                og_text_printf(source, "%d", i);
            else
                og_text_addn(source, c, 1);
    }
}

static bool compiles(const program *p, int n, int sm, bool says)
{
    og_text source = {0};
    og_error error = {0};
    char *image = NULL;
    og_text_add(&source, og__cuda_text_kernel);
    og_text_add(&source, og__cuda_text_arithmetic);
    for (int i = 0; i < n; i++) {
        write_names(&source, p[i].text, "OG_KERNEL(", "#define @ @_#\n", i);
        og_text_printf(&source, "namespace program_%d {\n%s\n}\n", i, p[i].text);
        write_names(&source, p[i].text, "#define ", "#undef @\n", i);
        write_names(&source, p[i].text, "OG_KERNEL(", "#undef @\n", i);
    }
    bool ok =
        !source.failed && og__nvrtc_compile("programs", source.s, sm, &image, &error) == OG_OK;
    if (!ok && says)
        printf("FAIL %s, sm_%d: %s\n", p->name, sm, og_error_text(&error));
    og_error_clear(&error);
    og_text_free(&source);
    free(image);
    return ok;
}

typedef struct work {
    const programs *all;
    int sm;
} work;

/* Of all batches every `processes`th, from `rank` on: how many programs failed. */
static int compile_share(const void *shared, int rank, int processes)
{
    const work *w = shared;
    const programs *all = w->all;
    int failed = 0;
    for (int first = rank * AT_ONCE; first < all->n; first += processes * AT_ONCE) {
        int n = all->n - first < AT_ONCE ? all->n - first : AT_ONCE;
        if (compiles(all->items + first, n, w->sm, false))
            continue;
        for (int i = first; i < first + n; i++)
            failed += !compiles(all->items + i, 1, w->sm, true);
    }
    return failed;
}

int main(int argc, char **argv)
{
    programs all = {0};
    int passed = 0, failed = 0;
    if (argc <= 2) {
        fprintf(stderr, "nvrtc_programs FOLDER ARCHITECTURE ...\n");
        return 2;
    }
    find_all(argv[1], &all);
    for (int i = 2; i < argc; i++) {
        int wrong = in_processes(compile_share, &(work){&all, atoi(argv[i])});
        failed += wrong;
        passed += all.n > wrong ? all.n - wrong : 0;
    }
    for (int i = 0; i < all.n; i++)
        free(all.items[i].text);
    free(all.items);
    if (passed + failed == 0)
        printf("skipped: no test has left a program in %s\n", argv[1]);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, passed + failed == 0);
    return failed > 0;
}

#else

int main(void)
{
    printf("skipped: this build has no CUDA toolkit\n0 passed, 0 failed, 1 skipped\n");
    return 0;
}

#endif
