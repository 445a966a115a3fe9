/* Work shared by as many processes as there are processors. */
#ifndef OG_TESTS_CUDA_PROCESSES_H
#define OG_TESTS_CUDA_PROCESSES_H

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PROCESSES = 16 };

/* Runs share(work, rank, processes) in each, which says how much failed: the sum; a process that
 * ended otherwise counts, too. */
static inline int in_processes(int (*share)(const void *work, int rank, int processes),
                               const void *work)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int processes = processors < 1                ? 1
                    : processors > MOST_PROCESSES ? MOST_PROCESSES
                                                  : (int)processors,
        failed = 0;
    int results[2];
    fflush(stdout);
    if (pipe(results) != 0)
        return 1;
    for (int rank = 0; rank < processes; rank++)
        if (fork() == 0) {
            int found = share(work, rank, processes);
            fflush(stdout);
            _exit(write(results[1], &found, sizeof found) != sizeof found);
        }
    close(results[1]);
    for (int rank = 0; rank < processes; rank++) {
        int status = 0, found = 0;
        if (wait(&status) < 0 || status != 0)
            failed++;
        else if (read(results[0], &found, sizeof found) == sizeof found)
            failed += found;
    }
    close(results[0]);
    return failed;
}

#endif
