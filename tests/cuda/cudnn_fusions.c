/* Every fusion that the simulated card took by its own rules, planned by cuDNN for cards that are
 * not there: the tests that ran before left their descriptions in the build folder
 * (tests/cuda_sim/fusions.c).
 *
 *     cudnn_fusions FOLDER DEVICE.json …
 *
 * Each must have a plan, whose workspace is within the limit and, for one of the devices in turn,
 * the same when it is planned again. Of those that differ in the size of a batch alone, for
 * planning tries many, one is taken. Kernels that cuDNN compiles itself take it a second or so: of
 * fusions that differ in sizes or in the half type alone, one is compiled, for one of the devices
 * in turn; it must need no more workspace than was said. On all processors. The last line has the
 * counts, as tests/structure prints them; exit status 1 where one has no plan. */
#include <stdio.h>

#ifdef OG_HAS_CUDNN

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cache.h"
#include "kernels/cuda/driver_cuda.h"
#include "tests/cuda/processes.h"
#include "tests/cuda_sim/fusions.h"

typedef struct fusion {
    og_cuda_fusion description;
    int form; /* its number; -1: another one of that form comes before it */
} fusion;

typedef struct work {
    fusion *fusions;
    int n;
    int device_index, n_devices;
    const char *device_name;
    char device[1 << 14]; /* its description */
} work;

/* ---- finding them */

/* A hash of a description without the size of its batch: the first axis of the first operand, and
 * those that are as long. */
static uint64_t sample_of(const og_cuda_fusion *f)
{
    og_cuda_fusion one;
    memcpy(&one, f, sizeof one); /* with what lies between members */
    int64_t batch = f->tensors[f->operations[0].in[0]].dims[0];
    for (int i = 0; i < one.n_tensors; i++)
        if (one.tensors[i].dims[0] == batch)
            one.tensors[i].dims[0] = 0;
    return og__cache_hash(OG__CACHE_HASH, &one, sizeof one);
}

/* A hash of a description without sizes, and with one half type. */
static uint64_t form_of(const og_cuda_fusion *f)
{
    og_cuda_fusion form;
    memcpy(&form, f, sizeof form);
    for (int i = 0; i < form.n_tensors; i++) {
        memset(form.tensors[i].dims, 0, sizeof form.tensors[i].dims);
        memset(form.tensors[i].strides, 0, sizeof form.tensors[i].strides);
        form.tensors[i].value = 0;
        if (form.tensors[i].dtype == OG_BFLOAT16)
            form.tensors[i].dtype = OG_FLOAT16;
    }
    for (int i = 0; i < form.n_operations; i++) {
        og_cuda_operation *o = &form.operations[i];
        memset(o->begins, 0, sizeof o->begins);
        memset(o->ends, 0, sizeof o->ends);
        memset(o->steps, 0, sizeof o->steps);
        memset(o->dilations, 0, sizeof o->dilations);
        memset(o->window, 0, sizeof o->window);
    }
    return og__cache_hash(OG__CACHE_HASH, &form, sizeof form);
}

static int is_fusion(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot && strcmp(dot, ".fusion") == 0;
}

/* Adds x to a set of n numbers; its place, n where it was not in it. */
static int place_in(uint64_t *set, int n, uint64_t x)
{
    int i = 0;
    while (i < n && set[i] != x)
        i++;
    set[i] = x;
    return i;
}

static void find_all(const char *folder, work *w)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_fusion, alphasort), forms = 0;
    size_t most = n > 0 ? (size_t)n + 1 : 1;
    uint64_t *form = calloc(most, sizeof *form), *sample = calloc(most, sizeof *sample);
    w->fusions = calloc(most, sizeof *w->fusions);
    if (!w->fusions || !form || !sample)
        abort();
    for (int i = 0; i < n; i++) {
        char path[2048];
        fusion *f = &w->fusions[w->n];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        free(entries[i]);
        if (!sim_fusion_read(path, &f->description) ||
            place_in(sample, w->n, sample_of(&f->description)) < w->n)
            continue;
        f->form = place_in(form, forms, form_of(&f->description));
        if (f->form == forms)
            forms++;
        else
            f->form = -1;
        w->n++;
    }
    free(form);
    free(sample);
    free(entries);
}

static bool read_device(const char *path, work *w)
{
    const char *slash = strrchr(path, '/');
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(w->device, 1, sizeof w->device - 1, f) : 0;
    if (f)
        fclose(f);
    w->device[n] = 0;
    w->device_name = slash ? slash + 1 : path;
    return n > 0;
}

/* ---- planning them */

static bool plans(const work *w, const fusion *f, bool compile, size_t *workspace, og_error *error)
{
    og_cuda_fused *plan = NULL;
    og_status status = og__cudnn_plan_without(w->device, &f->description, &plan, workspace, error);
    if (status == OG_OK && compile)
        status = og__cudnn_compile(plan, error);
    og__cudnn_free(NULL, plan);
    return status == OG_OK;
}

static bool passes(const work *w, int number)
{
    const fusion *f = &w->fusions[number];
    og_error error = {0};
    char text[1024], why[256] = "";
    size_t first = 0, second = 0, limit = f->description.workspace_limit;
    bool compile = f->form >= 0 && f->form % w->n_devices == w->device_index,
         again = number % w->n_devices == w->device_index;
    if (!plans(w, f, compile, &first, &error) || (again && !plans(w, f, false, &second, &error)))
        snprintf(why, sizeof why, "%s", og_error_text(&error));
    else if (again && first != second)
        snprintf(why, sizeof why, "a workspace of %zu bytes, the next time of %zu", first, second);
    else if (first > limit)
        snprintf(why, sizeof why, "a workspace of %zu bytes for at most %zu", first, limit);
    og_error_clear(&error);
    if (!*why)
        return true;
    sim_fusion_text(&f->description, text, sizeof text);
    printf("FAIL %s, %s: %s\n", w->device_name, text, why);
    return false;
}

/* Of all fusions every `processes`th, from `rank` on: how many failed. */
static int plan_share(const void *all, int rank, int processes)
{
    const work *w = all;
    int failed = 0;
    if (!dlopen(OG_SIM_STUB_DRIVER, RTLD_NOW | RTLD_GLOBAL)) /* what cuDNN finds */
        printf("%s\n", dlerror());
    for (int i = rank; i < w->n; i += processes)
        failed += !passes(w, i);
    return failed;
}

/* Why nothing can be planned; NULL: it can. In a process of its own, for cuDNN's sake. */
static int try_library(const void *unused, int rank, int processes)
{
    const char *why = "";
    (void)unused;
    (void)processes;
    if (rank == 0 && !og__open_cudnn(&why))
        printf("skipped: %s\n", why);
    return rank == 0 && !og__open_cudnn(&why);
}

int main(int argc, char **argv)
{
    static work w;
    int passed = 0, failed = 0;
    if (argc <= 2) {
        fprintf(stderr, "cudnn_fusions FOLDER DEVICE.json ...\n");
        return 2;
    }
    if (CUDNN_VERSION < 90800)
        printf("skipped: cuDNN plans without a device from version 9.8 on\n");
    else if (in_processes(try_library, NULL) == 0)
        find_all(argv[1], &w);
    setvbuf(stdout, NULL, _IOLBF, 0);
    w.n_devices = argc - 2;
    for (int i = 2; i < argc && w.n > 0; i++) {
        w.device_index = i - 2;
        int wrong = read_device(argv[i], &w) ? in_processes(plan_share, &w) : w.n;
        failed += wrong;
        passed += w.n > wrong ? w.n - wrong : 0;
    }
    free(w.fusions);
    if (passed + failed == 0)
        printf("skipped: no fusion of %s was planned\n", argv[1]);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, passed + failed == 0);
    return failed > 0;
}

#else

int main(void)
{
    printf("skipped: this build has no cuDNN\n0 passed, 0 failed, 1 skipped\n");
    return 0;
}

#endif
