/* The machine and this process on it: processor, cores, memory in use; and the environment of a
 * run, for its log. */
#ifndef OG_COMMAND_MACHINE_H
#define OG_COMMAND_MACHINE_H

#include "runtime/base/json.h"

/* That this process may run on. */
int og__cores(void);
/* What its maker calls the processor; "CPU" where the system does not say. */
void og__cpu_name(char *name, size_t room);

/* The process's largest resident size so far, in bytes. */
uint64_t og__process_peak(void);
/* Its resident size now, in bytes, and what of it is no file's; 0 where the system does not say. */
uint64_t og__process_resident(void);
uint64_t og__process_anonymous(void);
/* Bytes in use on the context's device: of the CPU's memory by this process without pages of
 * files, which is what is planned; of another's by all, as the device reports it. */
uint64_t og__memory_in_use(const og_context *context);

/* "2026-01-31T23:59:59Z" */
const char *og__date_text(char buffer[32]);
/* Object "environment": versions, machine, device. threads: asked for, 0: one a core. */
void og__environment_json(const og_context *context, int64_t threads, og_json *json);

#endif
