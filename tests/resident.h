/* Resident memory of this process, for tests of what calls leave behind. */
#ifndef OG_TESTS_RESIDENT_H
#define OG_TESTS_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* Bytes; 0 where the system does not tell. */
static inline int64_t og_test_resident(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * (int64_t)sysconf(_SC_PAGESIZE);
}

/* Sanitizers keep what is freed, and shadow what is used. */
static inline bool og_test_can_measure_resident(void)
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    return og_test_resident() > 0;
#endif
}

#endif
