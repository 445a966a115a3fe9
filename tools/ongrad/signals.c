#include "tools/ongrad/signals.h"

#include <signal.h>
#include <stddef.h>

/* A handler has nothing else to reach: the one variable of the program. */
static volatile sig_atomic_t arrived;

static void on_signal(int number)
{
    arrived = number;
}

void og__signals_catch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    struct sigaction old;
    sigemptyset(&action.sa_mask);
    /* One that the parent had ignored (nohup, a background job) stays ignored. */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

bool og__signals_stopped(void)
{
    return arrived != 0;
}

const char *og__signals_name(void)
{
    return arrived == SIGINT    ? "SIGINT"
           : arrived == SIGTERM ? "SIGTERM"
           : arrived == SIGUSR1 ? "SIGUSR1"
                                : NULL;
}
