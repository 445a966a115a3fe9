/* The graph as DOT, and SVG drawn by Graphviz's `dot`, which is run with the text on its stdin. */
#define _GNU_SOURCE /* pipe2 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/ongrad/nodes.h"
#include "tools/ongrad/say.h"

extern char **environ;

/* A quoted string of DOT; control characters become spaces. */
static void add_quoted(og_text *out, const char *s)
{
    og_text_add(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            og_text_add(out, "\\");
        og_text_addn(out, (unsigned char)*s < 0x20 ? " " : s, 1);
    }
    og_text_add(out, "\"");
}

static void add_tensor(og_text *out, const char *prefix, const og_tensor_info *info,
                       const char *color)
{
    og_text label = {0};
    og_text_printf(&label, "%s ", info->name);
    og__shape_text(&label, info);
    og_text_printf(out, "  \"%s ", prefix);
    og_text id = {0};
    add_quoted(&id, info->name);
    if (id.s)
        og_text_add(out, id.s + 1); /* the rest of the quoted id */
    og_text_printf(out, " [shape=ellipse, fillcolor=\"%s\", label=", color);
    add_quoted(out, label.s ? label.s : "");
    og_text_add(out, "];\n");
    og_text_free(&id);
    og_text_free(&label);
}

static void add_node(const og__nodes *nodes, int i, og_text *out)
{
    const og_node_info *info = &nodes->infos[i];
    char count[32];
    const char *color = !strcmp(info->support, "unsupported") ? "#f4b6b6"
                        : nodes->parameters[i] > 0            ? "#bcd7f2"
                        : !strcmp(info->support, "trains")    ? "#f2f2f2"
                                                              : "#f6e3b4";
    og_text_printf(out, "  n%d [fillcolor=\"%s\", tooltip=", i, color);
    add_quoted(out, info->name);
    og_text_add(out, ", label=");
    add_quoted(out, info->op);
    if (nodes->parameters[i] > 0) { /* a second line inside the quotes */
        out->s[--out->length] = '\0';
        og_text_printf(out, "\\n%s parameters\"", og__grouped_text(count, nodes->parameters[i]));
    }
    og_text_add(out, "];\n");
}

static void add_edge(og_text *out, const char *from_id, const char *value, const char *to,
                     const og_tensor_info *shape)
{
    og_text_add(out, "  ");
    if (from_id) {
        og_text_add(out, from_id);
    } else {
        og_text id = {0};
        og_text_printf(&id, "in %s", value);
        add_quoted(out, id.s ? id.s : "");
        og_text_free(&id);
    }
    og_text_printf(out, " -> %s", to);
    if (shape && shape->rank >= 0) {
        og_text label = {0};
        og__shape_text(&label, shape);
        og_text_add(out, " [label=");
        add_quoted(out, label.s ? label.s : "");
        og_text_add(out, "]");
        og_text_free(&label);
    }
    og_text_add(out, ";\n");
}

/* Edge from whatever makes `value`: a node, an input, or nothing that is drawn (a weight). */
static void connect(const og__nodes *nodes, const og__producers *producers, const char *value,
                    const char *to, og_text *out)
{
    int node;
    if (!og__producers_find(producers, value, &node))
        return;
    if (node < 0) {
        add_edge(out, NULL, value, to, NULL);
        return;
    }
    char id[32];
    const og_node_info *info = &nodes->infos[node];
    snprintf(id, sizeof id, "n%d", node);
    add_edge(out, id, value, to,
             info->output.name && !strcmp(info->output.name, value) ? &info->output : NULL);
}

void og__nodes_dot(const og__nodes *nodes, og_text *out)
{
    const og_model *model = nodes->model;
    og_tensor_info info;
    const char *value;
    og__producers producers;
    if (!og__producers_read(&producers, nodes)) {
        out->failed = true;
        return;
    }
    og_text_add(
        out, "digraph model {\n"
             "  node [shape=box, style=\"filled,rounded\", fontname=\"Helvetica\", fontsize=11];\n"
             "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#606060\"];\n");
    for (int i = 0; i < og_model_input_count(model); i++)
        if (og_model_input(model, i, &info) == OG_OK)
            add_tensor(out, "in", &info, "#d5ecd0");
    for (int i = 0; i < nodes->n; i++)
        add_node(nodes, i, out);
    for (int i = 0; i < nodes->n; i++) {
        char to[32];
        snprintf(to, sizeof to, "n%d", i);
        for (int k = 0; (value = og_model_node_input(model, i, k)); k++)
            if (*value)
                connect(nodes, &producers, value, to, out);
    }
    for (int i = 0; i < og_model_output_count(model); i++)
        if ((info = og__nodes_output(nodes, i)).name) {
            og_text id = {0}, quoted = {0};
            add_tensor(out, "out", &info, "#e3d3ee");
            og_text_printf(&id, "out %s", info.name);
            add_quoted(&quoted, id.s ? id.s : "");
            connect(nodes, &producers, info.name, quoted.s ? quoted.s : "", out);
            og_text_free(&id);
            og_text_free(&quoted);
        }
    og_text_add(out, "}\n");
    og__producers_free(&producers);
}

/* ---- dot */

static bool write_all(int fd, const char *s, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, s, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        s += written;
        n -= (size_t)written;
    }
    return true;
}

static int start_dot(const char *output, int input, pid_t *child)
{
    char *arguments[] = {"dot", "-Tsvg", "-o", (char *)output, NULL};
    posix_spawn_file_actions_t actions;
    int problem = posix_spawn_file_actions_init(&actions);
    if (problem)
        return problem;
    problem = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (!problem)
        problem = posix_spawnp(child, "dot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return problem;
}

static int run_dot(const char *command, const og_text *dot, const char *output)
{
    int ends[2], exit_status = 0;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return og__say_error(command, OG__EXIT_FAILED, "--svg: cannot make a pipe: %s",
                             strerror(errno));
    int problem = start_dot(output, ends[0], &child);
    close(ends[0]);
    if (problem) {
        close(ends[1]);
        if (problem == ENOENT)
            return og__say_error(
                command, OG__EXIT_FAILED,
                "--svg needs Graphviz's `dot`, which was not found; install graphviz, or write "
                "the graph with --dot FILE");
        return og__say_error(command, OG__EXIT_FAILED, "--svg: cannot start dot: %s",
                             strerror(problem));
    }
    bool sent = write_all(ends[1], dot->s, dot->length);
    close(ends[1]);
    while (waitpid(child, &exit_status, 0) < 0)
        if (errno != EINTR)
            return og__say_error(command, OG__EXIT_FAILED, "--svg: dot was lost: %s",
                                 strerror(errno));
    if (!sent || !WIFEXITED(exit_status) || WEXITSTATUS(exit_status) != 0)
        return og__say_error(command, OG__EXIT_FAILED, "--svg: dot could not draw the graph");
    return OG__EXIT_DONE;
}

int og__draw_svg(const char *command, const og_text *dot, const char *path)
{
    og_text part = {0};
    og_text_printf(&part, "%s.%ld.part", path, (long)getpid());
    if (part.failed || dot->failed) {
        og_text_free(&part);
        return og__say_error(command, OG__EXIT_FAILED, "out of memory for the drawing");
    }
    /* A path with a leading dash would be an option of dot's. */
    og_text safe = {0};
    og_text_printf(&safe, "%s%s", part.s[0] == '-' ? "./" : "", part.s);
    int status = safe.failed
                     ? og__say_error(command, OG__EXIT_FAILED, "out of memory for the drawing")
                     : run_dot(command, dot, safe.s);
    if (status == OG__EXIT_DONE && rename(safe.s, path) != 0)
        status = og__say_error(command, OG__EXIT_FAILED, "--svg: cannot write %s: %s", path,
                               strerror(errno));
    if (status != OG__EXIT_DONE && safe.s)
        unlink(safe.s);
    og_text_free(&safe);
    og_text_free(&part);
    return status;
}
