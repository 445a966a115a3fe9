/* SIGINT, SIGTERM and SIGUSR1 while training: the first asks to stop after the running step, a
 * second one ends the process. */
#ifndef OG_COMMAND_SIGNALS_H
#define OG_COMMAND_SIGNALS_H

#include <stdbool.h>

void og__signals_catch(void);
/* Did one arrive? */
bool og__signals_stopped(void);
/* "SIGINT"; NULL: none arrived. */
const char *og__signals_name(void);

#endif
