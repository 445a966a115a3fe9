/* Included by a test program that writes files under relative names: it runs in a folder of its own
 * below $TMPDIR (or /tmp), which is removed at its end, wherever it is started. */
#ifndef OG_TESTS_OWN_FOLDER_H
#define OG_TESTS_OWN_FOLDER_H

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char test_own_folder[4096];

static void test_remove_own_folder(void)
{
    char *roots[] = {test_own_folder, NULL};
    FTS *walk = chdir("/") == 0 ? fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL) : NULL;
    for (FTSENT *entry; walk && (entry = fts_read(walk));)
        if (entry->fts_info != FTS_D)
            remove(entry->fts_accpath);
    if (walk)
        fts_close(walk);
}

__attribute__((constructor)) static void test_enter_own_folder(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(test_own_folder, sizeof test_own_folder, "%s/ongrad-test-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(test_own_folder) || chdir(test_own_folder) != 0) {
        perror(test_own_folder);
        exit(1);
    }
    atexit(test_remove_own_folder);
}

#endif
