#include "tools/ongrad/json_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 32 };

/* An object, in brackets that close, and not nested so deep that the parser takes its time. */
static bool is_object(const char *text, size_t length)
{
    int depth = 0;
    bool quoted = false;
    if (!length || text[0] != '{')
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']'))
            depth--;
        if (depth > MOST_DEPTH || depth < 0)
            return false;
    }
    return depth == 0 && !quoted;
}

bool og__json_parse(yaml_document_t *document, const char *text, size_t length)
{
    yaml_parser_t parser;
    if (!is_object(text, length) || !yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    bool parsed = yaml_parser_load(&parser, document);
    if (parsed && !yaml_document_get_root_node(document)) {
        yaml_document_delete(document);
        parsed = false;
    }
    yaml_parser_delete(&parser);
    return parsed;
}

og__json_value og__json_root(yaml_document_t *document)
{
    return (og__json_value){document, yaml_document_get_root_node(document)};
}

static og__json_value value_of(og__json_value from, int index)
{
    return (og__json_value){from.document, yaml_document_get_node(from.document, index)};
}

og__json_value og__json_at(og__json_value object, const char *key)
{
    int n = object.node && object.node->type == YAML_MAPPING_NODE ? og__json_count(object) : 0;
    for (int i = 0; i < n; i++) {
        og__json_value value;
        if (!strcmp(og__json_pair(object, i, &value), key))
            return value;
    }
    return (og__json_value){object.document, NULL};
}

int og__json_count(og__json_value v)
{
    if (v.node && v.node->type == YAML_MAPPING_NODE)
        return (int)(v.node->data.mapping.pairs.top - v.node->data.mapping.pairs.start);
    if (v.node && v.node->type == YAML_SEQUENCE_NODE)
        return (int)(v.node->data.sequence.items.top - v.node->data.sequence.items.start);
    return 0;
}

og__json_value og__json_item(og__json_value array, int index)
{
    if (!array.node || array.node->type != YAML_SEQUENCE_NODE || index < 0 ||
        index >= og__json_count(array))
        return (og__json_value){array.document, NULL};
    return value_of(array, array.node->data.sequence.items.start[index]);
}

const char *og__json_pair(og__json_value object, int index, og__json_value *value)
{
    *value = (og__json_value){object.document, NULL};
    if (!object.node || object.node->type != YAML_MAPPING_NODE || index >= og__json_count(object))
        return "";
    const yaml_node_pair_t *pair = &object.node->data.mapping.pairs.start[index];
    *value = value_of(object, pair->value);
    return og__json_text(value_of(object, pair->key));
}

/* null is no text, "null" is. */
static bool is_null(const char *text, bool plain)
{
    return plain && !strcmp(text, "null");
}

const char *og__json_text(og__json_value v)
{
    if (!v.node || v.node->type != YAML_SCALAR_NODE)
        return "";
    const char *text = (const char *)v.node->data.scalar.value;
    return is_null(text, v.node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) ? "" : text;
}

static double number_of(const char *text, bool plain)
{
    char *end;
    if (!plain || !*text || !strchr("-0123456789", *text))
        return NAN;
    double value = strtod(text, &end);
    return *end ? NAN : value;
}

double og__json_number(og__json_value v)
{
    if (!v.node || v.node->type != YAML_SCALAR_NODE)
        return NAN;
    return number_of((const char *)v.node->data.scalar.value,
                     v.node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

/* ---- event by event */

typedef struct walk {
    og__json_take *take;
    void *user;
    int depth;                  /* of objects and arrays that are open */
    bool array[MOST_DEPTH + 1]; /* which are arrays */
    bool has_key;               /* of the innermost object: its value comes next */
    char key[2][128];           /* of the outer object, and of the one in it */
} walk;

static void see_scalar(walk *w, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (w->array[w->depth])
        return;
    if (!w->has_key) {
        w->has_key = true;
        if (w->depth <= 2) {
            char *key = w->key[w->depth - 1];
            size_t n = strlen(text), room = sizeof w->key[0] - 1;
            memcpy(key, text, n < room ? n : room);
            key[n < room ? n : room] = '\0';
        }
        return;
    }
    w->has_key = false;
    double value = number_of(text, plain);
    bool known = !isnan(value) || is_null(text, plain);
    if (known && w->depth <= 2)
        w->take(w->user, w->depth == 2 ? w->key[0] : NULL, w->key[w->depth - 1], value);
}

/* false: the end, or none of JSON. */
static bool see(walk *w, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        if (w->depth < 1)
            return false;
        see_scalar(w, e);
        return true;
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        if (w->depth == MOST_DEPTH)
            return false;
        w->has_key = false;
        w->array[++w->depth] = e->type == YAML_SEQUENCE_START_EVENT;
        return true;
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        w->depth--;
        w->has_key = false;
        return true;
    case YAML_ALIAS_EVENT:
        return false;
    default:
        return true;
    }
}

bool og__json_numbers(const char *text, size_t length, og__json_take *take, void *user)
{
    yaml_parser_t parser;
    walk w = {.take = take, .user = user};
    bool more = true, ended = false;
    if (!is_object(text, length) || !yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    while (more && !ended) {
        yaml_event_t event;
        more = yaml_parser_parse(&parser, &event);
        if (!more)
            break;
        ended = event.type == YAML_STREAM_END_EVENT;
        more = see(&w, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return ended && more;
}
