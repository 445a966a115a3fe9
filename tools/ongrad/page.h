/* The page that `ongrad report` writes, section by section. */
#ifndef OG_COMMAND_PAGE_H
#define OG_COMMAND_PAGE_H

#include "tools/ongrad/chart.h"

typedef struct og__page {
    const og__record *record;
    og__json_value run, final; /* of the log */
    og_text *out;
} og__page;

/* page_style.c: what stands in <style> and <script>. */
extern const char og__page_style[], og__page_script[];

/* page_curves.c: loss, metrics, learning rate … */
void og__page_curves(const og__page *page);
/* page_memory.c: in use against what was planned, and the plan of a step. */
void og__page_memory(const og__page *page);
/* Bytes that were planned, with batches of data and the program beside them; 0: not known. */
double og__page_planned(const og__page *page);
/* page_time.c: waiting for data; ops, where they were measured. */
void og__page_time(const og__page *page);
/* page_graph.c: a drawing of a small graph, and a list by block. */
void og__page_graph(const og__page *page);
/* page_settings.c: options, the report of the start, the machine. */
void og__page_settings(const og__page *page);

/* page.c: "<section id=…><h2>…". */
void og__page_begin(const og__page *page, const char *id, const char *heading);
void og__page_end(const og__page *page);
/* A row of a table of two columns. */
void og__page_row(const og__page *page, const char *label, const char *text);
/* A share as a bar in a cell. */
void og__page_bar(const og__page *page, double share);
/* The number behind a key, 0 where there is none. */
double og__page_number(og__json_value object, const char *key);

#endif
