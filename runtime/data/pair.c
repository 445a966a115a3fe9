#define _GNU_SOURCE /* memrchr */
/* Pairing: which sample of one source belongs to which of another, by their names. */
#include <inttypes.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/reader.h"

enum { MOST_LISTED = 10, MOST_SOURCES = 64 };

/* ---- names */

typedef struct entry {
    char *name; /* malloc'd */
    int64_t row;
} entry;

typedef struct names {
    entry *entries; /* sorted by name, then row */
    int64_t n;
    bool has_folders;
} names;

static void names_free(names *list)
{
    for (int64_t i = 0; list->entries && i < list->n; i++)
        free(list->entries[i].name);
    free(list->entries);
    *list = (names){0};
}

static int by_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

/* What the expression captures of a key, or all it matches; "" where it does not match. */
static void take_part(const regex_t *regex, const char *key, const char **part, size_t *length)
{
    regmatch_t match[2];
    *part = key;
    *length = 0;
    if (regexec(regex, key, 2, match, 0) != 0)
        return;
    int group = match[1].rm_so >= 0 ? 1 : 0;
    *part = key + match[group].rm_so;
    *length = (size_t)(match[group].rm_eo - match[group].rm_so);
}

static og_status compile(regex_t *regex, const char *text, const char *option, og_error *error)
{
    char reason[160];
    int result = regcomp(regex, text, REG_EXTENDED);
    if (result == 0)
        return OG_OK;
    regerror(result, regex, reason, sizeof reason);
    return og_fail(error, OG_INVALID_ARGUMENT, "%s %s: %s", option, text, reason);
}

/* The name of one sample: of its key, without an extension that a key column may have. */
static char *name_of(const og_source *s, int64_t row, const regex_t *by, bool stem)
{
    const char *key = s->keys[row], *part = key, *slash;
    size_t length = strlen(key);
    if (!s->files)
        length = og__stem_length(key);
    if (stem && !by && (slash = memrchr(key, '/', length))) {
        length -= (size_t)(slash + 1 - key);
        part = slash + 1;
    }
    if (by)
        take_part(by, key, &part, &length);
    return strndup(part, length);
}

static og_status read_names(names *list, const og_source *s, const regex_t *by, bool stem,
                            og_error *error)
{
    names_free(list);
    list->entries = calloc((size_t)s->samples + 1, sizeof *list->entries);
    if (!list->entries)
        return og_fail_memory(error, (size_t)s->samples * sizeof *list->entries, "names");
    list->n = s->samples;
    for (int64_t i = 0; i < s->samples; i++) {
        list->entries[i] = (entry){name_of(s, i, by, stem), i};
        if (!list->entries[i].name)
            return og_fail_memory(error, 0, "names");
        list->has_folders |= strchr(list->entries[i].name, '/') != NULL;
    }
    qsort(list->entries, (size_t)list->n, sizeof *list->entries, by_name);
    return OG_OK;
}

static const char *shown(const og_source *s, int64_t row)
{
    return s->files ? s->files[s->first ? s->first[row] : row] : s->keys[row];
}

/* Names that several samples of one source have. */
static void check_duplicates(const names *list, const og_source *s, const char *name, bool by,
                             og_error *report)
{
    int64_t found = 0;
    og_text text = {0};
    for (int64_t i = 1; i < list->n; i++)
        if (!strcmp(list->entries[i - 1].name, list->entries[i].name) && found++ < MOST_LISTED)
            og_text_printf(&text, "\n    %s and %s", shown(s, list->entries[i - 1].row),
                           shown(s, list->entries[i].row));
    if (found > MOST_LISTED)
        og_text_printf(&text, "\n    and %" PRId64 " more", found - MOST_LISTED);
    if (found)
        og_fail_also(report, OG_INVALID_DATA,
                     "\"%s\": samples of %s have the same name%s, so they cannot be paired:%s",
                     name, s->path, by ? " by --pair_by" : "", text.s ? text.s : "");
    og_text_free(&text);
}

/* ---- the matching */

typedef struct matching {
    const og_source *const *sources;
    const char *const *labels;
    int n;
    int keyed[MOST_SOURCES], n_keyed;
    names lists[MOST_SOURCES]; /* of the keyed */
    og_text list;
} matching;

static void add_missing(matching *m, og_pairing *p, const char *name, const bool *has)
{
    if (p->left_out++ >= MOST_LISTED)
        return;
    og_text_printf(&m->list, "\n    %s: not in", *name ? name : "(a name that does not match)");
    bool first = true;
    for (int k = 0; k < m->n_keyed; k++)
        if (!has[k]) {
            og_text_printf(&m->list, "%s %s", first ? "" : ",", m->labels[m->keyed[k]]);
            first = false;
        }
}

static og_status allocate(og_pairing *p, int n, int64_t samples, og_error *error)
{
    p->rows = calloc((size_t)n + 1, sizeof *p->rows);
    p->names = calloc((size_t)samples + 1, sizeof *p->names);
    bool ok = p->rows && p->names;
    for (int i = 0; i < n && ok; i++)
        ok = (p->rows[i] = malloc(((size_t)samples + 1) * sizeof **p->rows)) != NULL;
    return ok ? OG_OK
              : og_fail_memory(error, (size_t)samples * sizeof **p->rows * (size_t)n, "pairs");
}

/* One pass over all sorted lists at once. */
static og_status merge(matching *m, og_pairing *p, og_error *error)
{
    int64_t at[MOST_SOURCES] = {0}, most = m->lists[0].n;
    for (int k = 1; k < m->n_keyed; k++)
        most = m->lists[k].n > most ? m->lists[k].n : most;
    OG_TRY(allocate(p, m->n, most, error));
    for (;;) {
        const char *least = NULL;
        bool has[MOST_SOURCES], all = true;
        for (int k = 0; k < m->n_keyed; k++) {
            const char *name = at[k] < m->lists[k].n ? m->lists[k].entries[at[k]].name : NULL;
            if (name && (!least || strcmp(name, least) < 0))
                least = name;
        }
        if (!least)
            break;
        for (int k = 0; k < m->n_keyed; k++)
            all &= has[k] =
                at[k] < m->lists[k].n && !strcmp(m->lists[k].entries[at[k]].name, least);
        if (!all || !*least) {
            add_missing(m, p, least, has);
        } else {
            for (int k = 0; k < m->n_keyed; k++)
                p->rows[m->keyed[k]][p->samples] = m->lists[k].entries[at[k]].row;
            if (!(p->names[p->samples++] = strdup(least)))
                return og_fail_memory(error, strlen(least), "pairs");
        }
        for (int k = 0; k < m->n_keyed; k++)
            at[k] += has[k];
    }
    if (p->left_out > MOST_LISTED)
        og_text_printf(&m->list, "\n    and %" PRId64 " more", p->left_out - MOST_LISTED);
    return OG_OK;
}

/* Sources without keys go in the order of the first with keys. */
static void follow_order(matching *m, og_pairing *p, og_error *report)
{
    const og_source *first = m->sources[m->keyed[0]];
    for (int i = 0; i < m->n; i++) {
        const og_source *s = m->sources[i];
        if (s->keys)
            continue;
        if (s->samples != first->samples)
            og_fail_also(report, OG_INVALID_DATA,
                         "%s has %" PRId64 " samples without names, the folder %s has %" PRId64,
                         s->path, s->samples, first->path, first->samples);
        memcpy(p->rows[i], p->rows[m->keyed[0]], (size_t)p->samples * sizeof **p->rows);
    }
}

static og_status match(matching *m, const og_pair_options *options, og_pairing *p, og_error *error)
{
    regex_t regex;
    bool by = options->by != NULL, any_flat = false, any_folders = false;
    og_error report = {0};
    og_status status = OG_OK;
    if (by)
        OG_TRY(compile(&regex, options->by, "--pair_by", error));
    for (int k = 0; k < m->n_keyed; k++) {
        OG_TRY_CLEANUP(
            read_names(&m->lists[k], m->sources[m->keyed[k]], by ? &regex : NULL, false, error));
        any_folders |= m->lists[k].has_folders;
        any_flat |= !m->lists[k].has_folders;
    }
    /* Stems alone where one side names files without their folders. */
    for (int k = 0; k < m->n_keyed && any_flat && any_folders && !by; k++)
        OG_TRY_CLEANUP(read_names(&m->lists[k], m->sources[m->keyed[k]], NULL, true, error));
    for (int k = 0; k < m->n_keyed && m->n_keyed > 1; k++)
        check_duplicates(&m->lists[k], m->sources[m->keyed[k]], m->labels[m->keyed[k]], by,
                         &report);
    if (report.status != OG_OK) {
        status = og_error_move(error, &report);
        goto cleanup;
    }
    OG_TRY_CLEANUP(merge(m, p, error));
    follow_order(m, p, &report);
    if (report.status != OG_OK)
        status = og_error_move(error, &report);
    else if (p->samples == 0)
        status = og_fail(error, OG_INVALID_DATA,
                         "no sample has its parts in all folders; names are paths without "
                         "extension:%s",
                         m->list.s ? m->list.s : "");
    else if (options->strict && p->left_out)
        status =
            og_fail(error, OG_INVALID_DATA, "%" PRId64 " samples lack a part (--strict_data):%s",
                    p->left_out, m->list.s ? m->list.s : "");
cleanup:
    og_error_clear(&report);
    if (by)
        regfree(&regex);
    return status;
}

/* All in order, each source having as many. */
static og_status in_order(matching *m, og_pairing *p, og_error *error)
{
    og_text list = {0};
    bool differ = false;
    p->samples = m->sources[0]->samples;
    for (int i = 0; i < m->n; i++) {
        differ |= m->sources[i]->samples != p->samples;
        og_text_printf(&list, "\n%s: %" PRId64, m->sources[i]->path, m->sources[i]->samples);
    }
    og_status status = OG_OK;
    if (differ)
        status = og_fail(error, OG_INVALID_DATA, "the numbers of samples differ:%s",
                         list.s ? list.s : "");
    else if (p->samples == 0)
        status =
            og_fail(error, OG_INVALID_DATA, "the data has no samples:%s", list.s ? list.s : "");
    og_text_free(&list);
    return status;
}

og_status og_pair(const og_source *const *sources, const char *const *labels, int n,
                  const og_pair_options *options, og_pairing *pairing, og_error *error)
{
    *pairing = (og_pairing){0};
    if (n < 1 || n > MOST_SOURCES)
        return og_fail(error, OG_INVALID_ARGUMENT, "%d sources; from 1 to %d are paired", n,
                       MOST_SOURCES);
    matching *m = calloc(1, sizeof *m);
    if (!m)
        return og_fail_memory(error, sizeof *m, "pairing");
    *m = (matching){.sources = sources, .labels = labels, .n = n};
    for (int i = 0; i < n; i++)
        if (sources[i]->keys)
            m->keyed[m->n_keyed++] = i;
    /* Keys of one alone match nothing: a CSV beside arrays goes by order, too. */
    bool files = false;
    for (int i = 0; i < n; i++)
        files |= sources[i]->files != NULL;
    og_status status =
        m->n_keyed > 1 || files ? match(m, options, pairing, error) : in_order(m, pairing, error);
    pairing->list = m->list.s;
    for (int k = 0; k < m->n_keyed; k++)
        names_free(&m->lists[k]);
    free(m);
    return status;
}

void og_pairing_free(og_pairing *p)
{
    for (int i = 0; p->rows && p->rows[i]; i++)
        free(p->rows[i]);
    for (int64_t i = 0; p->names && i < p->samples; i++)
        free(p->names[i]);
    free(p->rows);
    free(p->names);
    free(p->list);
    *p = (og_pairing){0};
}

/* ---- splitting */

typedef struct member {
    uint64_t order; /* by seed and name */
    const char *group;
    size_t length;
    int64_t sample;
} member;

/* FNV-1a over the seed and the name, then mixed. */
static uint64_t hash(uint64_t seed, const char *text, size_t length)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    h = (h ^ h >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ h >> 27) * UINT64_C(0x94d049bb133111eb);
    return h ^ h >> 31;
}

static int same_group(const member *a, const member *b)
{
    size_t n = a->length < b->length ? a->length : b->length;
    int order = n ? memcmp(a->group, b->group, n) : 0;
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static int by_order(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    int order = same_group(x, y);
    return order ? order : (x->sample > y->sample) - (x->sample < y->sample);
}

static og_status read_members(const og_pairing *p, uint64_t seed, const regex_t *regex,
                              const char *group, member *members, og_error *error)
{
    for (int64_t i = 0; i < p->samples; i++) {
        member *m = &members[i];
        m->sample = i;
        m->group = p->names ? p->names[i] : (const char *)&m->sample;
        m->length = p->names ? strlen(p->names[i]) : sizeof m->sample;
        if (regex)
            take_part(regex, p->names[i], &m->group, &m->length);
        if (regex && m->length == 0)
            return og_fail(error, OG_INVALID_DATA, "--val_group %s does not match sample %s", group,
                           p->names[i]);
        m->order = hash(seed, m->group, m->length);
        if (!p->names) /* hashed by its number: nothing to compare */
            m->group = "", m->length = 0;
    }
    return OG_OK;
}

og_status og_split(const og_pairing *p, double share, uint64_t seed, const char *group,
                   bool *validates, og_error *error)
{
    regex_t regex;
    if (group && !p->names)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "--val_group needs samples with names: folders, or a CSV with a key column");
    if (group)
        OG_TRY(compile(&regex, group, "--val_group", error));
    member *members = calloc((size_t)p->samples + 1, sizeof *members);
    og_status status = members
                           ? read_members(p, seed, group ? &regex : NULL, group, members, error)
                           : og_fail_memory(error, (size_t)p->samples * sizeof *members, "a split");
    int64_t wanted = (int64_t)(share * (double)p->samples + 0.5), got = 0;
    if (status == OG_OK) {
        qsort(members, (size_t)p->samples, sizeof *members, by_order);
        for (int64_t i = 0; i < p->samples; i++)
            validates[i] = false;
        for (int64_t i = 0; i < p->samples && got < wanted;) {
            int64_t end = i + 1;
            while (group && end < p->samples && same_group(&members[i], &members[end]) == 0)
                end++;
            for (; i < end; i++, got++)
                validates[members[i].sample] = true;
        }
        if (got == 0 || got == p->samples)
            status = og_fail(error, OG_INVALID_DATA,
                             "--val_split %g leaves %s of the %" PRId64 " samples%s", share,
                             got ? "nothing to train on" : "nothing to validate with", p->samples,
                             group ? ", whose groups stay together" : "");
    }
    if (group)
        regfree(&regex);
    free(members);
    return status;
}
