/* --config FILE: YAML, by libyaml. One mapping of option names to scalars, lists or, for --data and
 * its like, a mapping of names one level deeper:
 *
 *     batch_size: 64
 *     shuffle: off
 *     data:
 *       image: images.npy
 *     loss: [cross_entropy]
 *
 * Deeper nesting and aliases are errors that name the line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "tools/ongrad/options.h"
#include "tools/ongrad/say.h"

typedef struct reader {
    og__arguments *arguments;
    const char *path;
    yaml_document_t document;
} reader;

static int refuse(const reader *r, size_t line, const char *what)
{
    return og__say_error(r->arguments->command->name, OG__EXIT_USAGE, "%s:%zu: %s", r->path, line,
                         what);
}

static size_t line_of(const yaml_node_t *n)
{
    return n->start_mark.line + 1;
}

static const char *text_of(const yaml_node_t *n)
{
    return (const char *)n->data.scalar.value;
}

/* A plain ~, null or nothing: the option keeps its default. */
static bool is_null(const yaml_node_t *n)
{
    const char *s = text_of(n);
    return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*s || !strcmp(s, "~") || !strcmp(s, "null"));
}

/* One scalar. name: "name=" goes before it; NULL: nothing. */
static int add_scalar(reader *r, const char *key, const char *name, const yaml_node_t *value)
{
    char where[512];
    if (value->type != YAML_SCALAR_NODE)
        return refuse(r, line_of(value),
                      "nested too deeply: options take a scalar, a list or one mapping");
    if (strlen(text_of(value)) != value->data.scalar.length)
        return refuse(r, line_of(value), "a NUL character in a value");
    if (is_null(value))
        return OG__EXIT_DONE;
    og_text text = {0};
    og_text_printf(&text, "%s%s%s", name ? name : "", name ? "=" : "", text_of(value));
    snprintf(where, sizeof(where), "%s:%zu: ", r->path, line_of(value));
    int status = text.failed ? refuse(r, line_of(value), "out of memory")
                             : og__arguments_add_from_file(r->arguments, where, key, text.s);
    og_text_free(&text);
    return status;
}

static int add_option(reader *r, const char *key, const yaml_node_t *value)
{
    yaml_document_t *d = &r->document;
    if (value->type == YAML_SEQUENCE_NODE) {
        const og__row *row = og__arguments_row(r->arguments, key);
        if (row && row->info.kind != OG_OPTION_LIST)
            return refuse(r, line_of(value), "a list, where the option takes one value");
        for (yaml_node_item_t *i = value->data.sequence.items.start;
             i < value->data.sequence.items.top; i++)
            OG__TRY(add_scalar(r, key, NULL, yaml_document_get_node(d, *i)));
        return OG__EXIT_DONE;
    }
    if (value->type != YAML_MAPPING_NODE)
        return add_scalar(r, key, NULL, value);
    for (yaml_node_pair_t *p = value->data.mapping.pairs.start; p < value->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *name = yaml_document_get_node(d, p->key);
        if (name->type != YAML_SCALAR_NODE)
            return refuse(r, line_of(name), "expected a name");
        OG__TRY(add_scalar(r, key, text_of(name), yaml_document_get_node(d, p->value)));
    }
    return OG__EXIT_DONE;
}

/* "lr" and "learning_rate", "batch_size" and "batch-size" are. */
static bool same_option(const yaml_node_t *a, const yaml_node_t *b)
{
    return og__same_name(og__option_alias(text_of(a)), og__option_alias(text_of(b)));
}

static int read_document(reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (!root) /* an empty file */
        return OG__EXIT_DONE;
    if (root->type != YAML_MAPPING_NODE)
        return refuse(r, line_of(root), "expected `name: value`");
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, p->key);
        if (key->type != YAML_SCALAR_NODE)
            return refuse(r, line_of(key), "expected an option's name");
        for (yaml_node_pair_t *q = root->data.mapping.pairs.start; q < p; q++)
            if (same_option(yaml_document_get_node(&r->document, q->key), key))
                return refuse(r, line_of(key), "this option is given a second time");
        OG__TRY(add_option(r, text_of(key), yaml_document_get_node(&r->document, p->value)));
    }
    return OG__EXIT_DONE;
}

int og__config_read(og__arguments *a, const char *path)
{
    reader r = {.arguments = a, .path = path};
    yaml_parser_t parser;
    FILE *file = fopen(path, "re");
    if (!file)
        return og__say_error(a->command->name, OG__EXIT_FAILED, "cannot read %s: %s", path,
                             strerror(errno));
    if (!yaml_parser_initialize(&parser)) {
        fclose(file);
        return og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
    }
    yaml_parser_set_input_file(&parser, file);
    int status;
    if (getc(file) == EOF && ferror(file)) { /* a folder, above all */
        status = og__say_error(a->command->name, OG__EXIT_FAILED, "cannot read %s: %s", path,
                               strerror(errno));
    } else if (rewind(file), yaml_parser_load(&parser, &r.document)) {
        status = read_document(&r);
        yaml_document_delete(&r.document);
    } else {
        status =
            refuse(&r, parser.problem_mark.line + 1, parser.problem ? parser.problem : "not YAML");
    }
    yaml_parser_delete(&parser);
    fclose(file);
    return status;
}
