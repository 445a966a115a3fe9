/* A table in text: columns aligned, numbers to the right. */
#ifndef OG_COMMAND_TABLE_H
#define OG_COMMAND_TABLE_H

#include "runtime/base/text.h"

enum { OG__TABLE_COLUMNS = 10 };

typedef struct og__table {
    og_text cells; /* each followed by a NUL */
    int columns, n_cells;
    bool right[OG__TABLE_COLUMNS]; /* aligned to the right */
} og__table;

/* At most OG__TABLE_COLUMNS headings; one with a leading '>' is of a column of numbers. */
void og__table_start(og__table *table, int columns, const char *const *headings);
/* The next cell, from left to right, row by row. */
void og__table_cell(og__table *table, const char *format, ...) OG_PRINTF(2, 3);
/* Add the table to `out`, each line after `indent` spaces; frees it. */
void og__table_finish(og__table *table, og_text *out, int indent);

#endif
