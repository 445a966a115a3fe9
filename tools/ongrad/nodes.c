#define _GNU_SOURCE /* qsort_r */
#include "tools/ongrad/nodes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

static int compare(const void *a, const void *b, void *tensors)
{
    const og_parameter_info *infos = tensors;
    return strcmp(infos[*(const int *)a].name, infos[*(const int *)b].name);
}

static int64_t elements_of(const og_parameter_info *p)
{
    int64_t n = 1;
    for (int d = 0; d < p->rank; d++)
        n *= p->dims[d];
    return n;
}

static int read_parameters(og__nodes *nodes, og__run *run)
{
    int n = og_model_parameter_count(run->model, run->options);
    if (n < 0)
        return og__run_failed(run);
    nodes->tensors = calloc((size_t)n + 1, sizeof *nodes->tensors);
    nodes->by_name = calloc((size_t)n + 1, sizeof *nodes->by_name);
    if (!nodes->tensors || !nodes->by_name)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for %d parameters", n);
    nodes->n_parameters = n;
    for (int i = 0; i < n; i++) {
        if (og_model_parameter(run->model, i, &nodes->tensors[i]) != OG_OK)
            return og__run_failed(run);
        nodes->by_name[i] = i;
        nodes->trained_tensors += nodes->tensors[i].trained;
        if (nodes->tensors[i].trained)
            nodes->trained_elements += elements_of(&nodes->tensors[i]);
    }
    qsort_r(nodes->by_name, (size_t)n, sizeof *nodes->by_name, compare, nodes->tensors);
    return OG__EXIT_DONE;
}

int og__nodes_find(const og__nodes *nodes, const char *name)
{
    int low = 0, high = nodes->n_parameters;
    while (low < high) {
        int middle = low + (high - low) / 2, index = nodes->by_name[middle];
        int order = strcmp(name, nodes->tensors[index].name);
        if (order == 0)
            return index;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

int og__nodes_read(og__nodes *nodes, og__run *run, const og_tensor_info *inputs)
{
    *nodes = (og__nodes){.model = run->model};
    OG__TRY(read_parameters(nodes, run));
    int n = og_model_inspect(run->model, inputs);
    if (n < 0)
        return og__run_failed(run);
    nodes->infos = calloc((size_t)n + 1, sizeof *nodes->infos);
    nodes->parameters = calloc((size_t)n + 1, sizeof *nodes->parameters);
    bool *seen = calloc((size_t)nodes->n_parameters + 1, sizeof *seen);
    if (!nodes->infos || !nodes->parameters || !seen) {
        free(seen);
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for %d nodes", n);
    }
    nodes->n = n;
    for (int i = 0; i < n; i++) {
        const char *name;
        if (og_model_node(run->model, i, &nodes->infos[i]) != OG_OK)
            continue;
        nodes->flops += nodes->infos[i].flops;
        nodes->no_gradient += !strcmp(nodes->infos[i].support, "no gradient");
        nodes->unsupported += !strcmp(nodes->infos[i].support, "unsupported");
        for (int k = 0; (name = og_model_node_input(run->model, i, k)); k++) {
            int tensor = og__nodes_find(nodes, name);
            if (tensor < 0 || seen[tensor] || !nodes->tensors[tensor].trained)
                continue;
            seen[tensor] = true;
            nodes->parameters[i] += elements_of(&nodes->tensors[tensor]);
        }
    }
    free(seen);
    return OG__EXIT_DONE;
}

og_tensor_info og__nodes_output(const og__nodes *nodes, int index)
{
    og_tensor_info info = {.rank = -1};
    const char *value;
    if (og_model_output(nodes->model, index, &info) != OG_OK || (info.rank >= 0 && info.dtype) ||
        !info.name)
        return info;
    for (int i = 0; i < nodes->n; i++)
        if ((value = og_model_node_output(nodes->model, i, 0)) && !strcmp(value, info.name)) {
            const char *name = info.name;
            info = nodes->infos[i].output;
            info.name = name;
        }
    return info;
}

void og__nodes_free(og__nodes *nodes)
{
    free(nodes->infos);
    free(nodes->parameters);
    free(nodes->tensors);
    free(nodes->by_name);
    *nodes = (og__nodes){0};
}

/* ---- producers */

struct og__producer {
    const char *value;
    int node;
};

static int compare_values(const void *a, const void *b)
{
    return strcmp(((const struct og__producer *)a)->value, ((const struct og__producer *)b)->value);
}

bool og__producers_read(og__producers *p, const og__nodes *nodes)
{
    size_t room = (size_t)og_model_input_count(nodes->model);
    og_tensor_info info;
    const char *value;
    for (int i = 0; i < nodes->n; i++)
        room += (size_t)nodes->infos[i].outputs;
    *p = (og__producers){calloc(room + 1, sizeof *p->items), 0};
    if (!p->items)
        return false;
    for (int i = 0; i < og_model_input_count(nodes->model); i++)
        if (og_model_input(nodes->model, i, &info) == OG_OK)
            p->items[p->n++] = (struct og__producer){info.name, -1 - i};
    for (int i = 0; i < nodes->n; i++)
        for (int k = 0; (value = og_model_node_output(nodes->model, i, k)) && p->n < room; k++)
            if (*value)
                p->items[p->n++] = (struct og__producer){value, i};
    qsort(p->items, p->n, sizeof *p->items, compare_values);
    return true;
}

void og__producers_free(og__producers *p)
{
    free(p->items);
    *p = (og__producers){0};
}

bool og__producers_find(const og__producers *p, const char *value, int *node)
{
    const struct og__producer key = {value, 0};
    const struct og__producer *found =
        bsearch(&key, p->items, p->n, sizeof *p->items, compare_values);
    if (found)
        *node = found->node;
    return found != NULL;
}

/* ---- numbers */

const char *og__count_text(char buffer[32], double count)
{
    static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
    int unit = 0;
    for (; count >= 999.5 && unit < 6; unit++)
        count /= 1000;
    snprintf(buffer, 32, count < 100 && unit ? "%.2f%s" : "%.0f%s", count, units[unit]);
    return buffer;
}

const char *og__grouped_text(char buffer[32], int64_t count)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64, count), out = 0;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0 && digits[i - 1] != '-')
            buffer[out++] = ',';
        buffer[out++] = digits[i];
    }
    buffer[out] = '\0';
    return buffer;
}
