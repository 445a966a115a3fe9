/* Reading JSON, by libyaml, whose language it is a part of: a document as a tree that is asked by
 * key. What is not there reads as nothing: an absent value has no items, no text, no number. */
#ifndef OG_COMMAND_JSON_READ_H
#define OG_COMMAND_JSON_READ_H

#include <stdbool.h>
#include <stdint.h>
#include <yaml.h>

typedef struct og__json_value {
    yaml_document_t *document;
    const yaml_node_t *node; /* NULL: absent */
} og__json_value;

/* An object's text, to its last brace; false where it is none, or nested more than 32 deep. Free
 * the document with yaml_document_delete after success. */
bool og__json_parse(yaml_document_t *document, const char *text, size_t length);
og__json_value og__json_root(yaml_document_t *document);

og__json_value og__json_at(og__json_value object, const char *key);
/* Elements of an array, pairs of an object. */
int og__json_count(og__json_value container);
og__json_value og__json_item(og__json_value array, int index);
/* The pair's key. */
const char *og__json_pair(og__json_value object, int index, og__json_value *value);
/* "": absent, null, or none. */
const char *og__json_text(og__json_value value);
/* NaN: absent, null, or none. */
double og__json_number(og__json_value value);

/* The numbers of an object that is given line by line, without building a tree: `take` gets each
 * with its key, and with the key before it where it stands one object deeper; NaN is null. Arrays
 * and what lies deeper are passed over. */
typedef void og__json_take(void *user, const char *outer, const char *key, double value);
bool og__json_numbers(const char *text, size_t length, og__json_take *take, void *user);

#endif
