/* Source text as a module: compiled by the C compiler into a shared library, which is kept in the
 * build folder under the hash of all that it depends on, beside its source (for nvrtc_programs.c).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cuda/cache.h"
#include "tests/cuda_sim/internal.h"

static bool write_file(const char *path, const char *text, const char *more)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return false;
    bool ok = fputs(text, f) >= 0 && fputs(more, f) >= 0;
    return fclose(f) == 0 && ok;
}

void *sim_compile(const char *name, const char *source, og_error *error)
{
    static const char more[] = "\nog_sim *og_sim_card __attribute__((visibility(\"default\")));\n";
    static const char command[] =
        OG_SIM_CC " " OG_SIM_CFLAGS " -shared -fPIC -w -fwrapv -fno-strict-aliasing "
                  "-ffp-contract=off -fvisibility=hidden -I" OG_SIM_INCLUDE;
    char path[512], text[sizeof command + 2048], temporary[512];
    uint64_t h = og__cache_hash(OG__CACHE_HASH, command, sizeof command - 1);
    h = og__cache_hash(h, source, strlen(source));
    mkdir(OG_SIM_CACHE, 0777);
    snprintf(path, sizeof path, OG_SIM_CACHE "/%s-%016llx.so", name, (unsigned long long)h);
    if (access(path, R_OK) != 0) {
        snprintf(temporary, sizeof temporary, OG_SIM_CACHE "/%016llx.%d", (unsigned long long)h,
                 (int)getpid());
        snprintf(text, sizeof text, "%s -x c %s.c -o %s.so -lm", command, temporary, temporary);
        char from[520];
        snprintf(from, sizeof from, "%s.c", temporary);
        if (!write_file(from, source, more)) {
            og_fail(error, OG_IO_ERROR, "simulated card: cannot write %s", from);
            return NULL;
        }
        if (system(text) != 0) {
            og_fail(error, OG_INTERNAL, "simulated card: the source of \"%s\" does not compile: %s",
                    name, from);
            return NULL;
        }
        char kept[512];
        snprintf(kept, sizeof kept, "%.*s.cu", (int)strlen(path) - 3, path);
        write_file(from, source, "");
        rename(from, kept);
        snprintf(from, sizeof from, "%s.so", temporary);
        rename(from, path);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    og_sim **slot = library ? (og_sim **)dlsym(library, "og_sim_card") : NULL;
    if (!slot) {
        og_fail(error, OG_INTERNAL, "simulated card: %s", dlerror());
        return NULL;
    }
    *slot = og_sim_card;
    return library;
}

const og_sim_kernel *sim_compiled_kernel(void *library, const char *name)
{
    char symbol[256];
    snprintf(symbol, sizeof symbol, "og_sim_kernel_%s", name);
    return dlsym(library, symbol);
}
