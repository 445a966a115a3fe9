/* FFmpeg's libraries, of the versions that this was built with, opened at first use. They stay open
 * until the process ends. */
#ifdef OG_HAS_FFMPEG
#include "runtime/data/ffmpeg.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

og__ffmpeg og__ff;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char reason[256]; /* why they could not be opened; "" if they were */

static void *open_library(const char *name)
{
    void *library = *reason ? NULL : dlopen(name, RTLD_NOW | RTLD_LOCAL);
    const char *why = library || *reason ? NULL : dlerror();
    if (why)
        snprintf(reason, sizeof reason, "%s", why);
    return library;
}

static void *find(void *library, const char *name)
{
    void *found = library ? dlsym(library, name) : NULL;
    if (!found && !*reason)
        snprintf(reason, sizeof reason, "%s is not in FFmpeg's libraries", name);
    return found;
}

static void open_all(void)
{
    void *library;
#define FIND(name) *(void **)&og__ff.name = find(library, #name);
    library = open_library("libavutil.so." AV_STRINGIFY(LIBAVUTIL_VERSION_MAJOR));
    OG__FFMPEG_AVUTIL(FIND)
    library = open_library("libavcodec.so." AV_STRINGIFY(LIBAVCODEC_VERSION_MAJOR));
    OG__FFMPEG_AVCODEC(FIND)
    library = open_library("libavformat.so." AV_STRINGIFY(LIBAVFORMAT_VERSION_MAJOR));
    OG__FFMPEG_AVFORMAT(FIND)
    library = open_library("libswscale.so." AV_STRINGIFY(LIBSWSCALE_VERSION_MAJOR));
    OG__FFMPEG_SWSCALE(FIND)
#undef FIND
    if (!*reason)
        og__ff.av_log_set_level(AV_LOG_QUIET); /* a library prints nothing */
}

og_status og__ffmpeg_open(og_error *error)
{
    pthread_once(&once, open_all);
    return *reason
               ? og_fail(error, OG_UNSUPPORTED,
                         "FFmpeg's libraries cannot be opened (%s); hint: install libavformat59, "
                         "libavcodec59 and libswscale6 (Debian 12)",
                         reason)
               : OG_OK;
}
#else
typedef int og__no_ffmpeg; /* a file must not be empty */
#endif
