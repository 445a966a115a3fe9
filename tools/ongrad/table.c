#include "tools/ongrad/table.h"

#include <string.h>

static int width_of(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void og__table_start(og__table *table, int columns, const char *const *headings)
{
    *table = (og__table){.columns = columns};
    for (int i = 0; i < columns; i++) {
        table->right[i] = headings[i][0] == '>';
        og__table_cell(table, "%s", headings[i] + table->right[i]);
    }
}

void og__table_cell(og__table *table, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    og_text_vprintf(&table->cells, format, arguments);
    va_end(arguments);
    og_text_addn(&table->cells, "", 1);
    table->n_cells++;
}

void og__table_finish(og__table *table, og_text *out, int indent)
{
    int widths[OG__TABLE_COLUMNS] = {0};
    const char *cell = table->cells.s;
    out->failed |= table->cells.failed;
    int n = out->failed ? 0 : table->n_cells;
    for (int i = 0; i < n; i++, cell += strlen(cell) + 1)
        if (width_of(cell) > widths[i % table->columns])
            widths[i % table->columns] = width_of(cell);
    cell = table->cells.s;
    for (int i = 0; i < n; i++, cell += strlen(cell) + 1) {
        int column = i % table->columns, gap = widths[column] - width_of(cell);
        bool last = column == table->columns - 1;
        og_text_printf(out, "%*s", column ? 2 : indent, "");
        if (table->right[column])
            og_text_printf(out, "%*s%s", gap, "", cell);
        else
            og_text_printf(out, "%s%*s", cell, last ? 0 : gap, "");
        if (last) {
            while (out->length && out->s[out->length - 1] == ' ')
                out->s[--out->length] = '\0';
            og_text_add(out, "\n");
        }
    }
    og_text_free(&table->cells);
}
