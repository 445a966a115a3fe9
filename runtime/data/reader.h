/* What the readers of samples share: the source itself, the lists of files, and the scratch memory
 * that one thread reads with. */
#ifndef OG_DATA_READER_H
#define OG_DATA_READER_H

#include "runtime/base/arena.h"
#include "runtime/base/text.h"
#include "runtime/data/array.h"
#include "runtime/data/geometry.h"
#include "runtime/data/source.h"

/* ---- scratch: one a thread; what a read returns lives in it until the next read */

typedef struct og__buffer {
    void *p;
    size_t bytes;
} og__buffer;

typedef struct og__scratch {
    struct og__scratch *next; /* in the pool of a data set */
    og__buffer file, sample, rows, pixels, taps, work;
    void *scaler;        /* FFmpeg's */
    double disk, decode; /* seconds */
} og__scratch;

/* At least `bytes` bytes; what it held is lost. */
og_status og__buffer_need(og__buffer *buffer, size_t bytes, const char *what, og_error *error);
void og__scratch_free(og__scratch *scratch);
double og__seconds_now(void);
/* The whole file in scratch->file; the time counts as disk. */
og_status og__read_file(const char *path, og__scratch *scratch, og__bytes *bytes, og_error *error);

/* ---- one sample */

typedef struct og__sample {
    const void *data; /* row-major */
    int rank;         /* without the sample axis */
    int64_t dims[OG_MAX_RANK];
} og__sample;

/* What is asked of a picture: how many frames, and how the part of it that will be used lies. */
typedef struct og__want {
    int64_t frames; /* of a clip; 0: one image */
    double rate;    /* frames a second; 0: spread over the clip */
    const og__geometry *geometry;
    bool turned; /* height and width change places once it is decoded (orientation.c) */
    bool pads;   /* a clip with fewer frames is shorter; else some are taken twice */
    bool
        labels; /* a picture whose gray or palette values are class labels: [1, height, width, 1] */
} og__want;

typedef struct og__source_type {
    const char *name;
    bool pictures;
    /* Sample `index`. Elements of source->dtype with any length of the first axis; pictures: uint8
     * [frames, height, width, 3], red first, perhaps smaller than the file's where the part that
     * the geometry uses stays large enough. `want` is NULL for what are no pictures. Any thread. */
    og_status (*read)(const og_source *source, int64_t index, const og__want *want,
                      og__scratch *scratch, og__sample *sample, og_error *error);
    /* How many frames of want->frames a read with want->pads gives. NULL: as many as the first axis
     * of what is read has. */
    og_status (*length)(const og_source *source, int64_t index, const og__want *want,
                        og__scratch *scratch, int64_t *length, og_error *error);
} og__source_type;

struct og_source {
    const og__source_type *type;
    og_arena *arena; /* of keys, paths, classes */
    const char *path;
    og_source_options options;
    int64_t samples;
    og_dtype dtype;
    int rank; /* sample axis included */
    int64_t dims[OG_MAX_RANK];
    bool lengths_differ;
    const char **keys;  /* NULL: none */
    const char **files; /* one a sample, below path; NULL: not from files */
    int64_t *first; /* merged clips: sample i has files[first[i] … first[i + 1] - 1]; NULL: one
                       file each */
    const char **classes;
    int n_classes;
    const char *columns; /* of CSV: og_source_columns */
    og_array *array;     /* owned; NULL: read sample by sample */
    const og_source *of; /* of a mask */
    bool pads;           /* og_source_pad */
    og_text note;
};

/* NULL: out of memory. */
og_source *og__source_new(const og__source_type *type, const char *path, og_error *error);
/* Where the files of sample i lie: their paths are "path/files[k]". */
void og__source_files(const og_source *source, int64_t i, int64_t *first, int64_t *count);
/* "path/file", written to `buffer`; an error where it is too long. */
enum { OG__PATH_BYTES = 4096 };
og_status og__file_path(const og_source *source, int64_t file, char buffer[OG__PATH_BYTES],
                        og_error *error);

/* ---- openers; each fills a source made by og__source_new */

og_source *og__array_source(const char *path, og_array *array, og_error *error); /* takes array */
og_source *og__csv_open(const char *path, const og_source_options *options, og_error *error);
og_source *og__tokens_open(const char *path, const og_source_options *options, og_error *error);
og_source *og__folder_open(const char *path, const og_source_options *options, og_error *error);
og_status og__npy_files_scan(og_source *source, og_error *error);
extern const og__source_type og__npy_files, og__picture_files;

/* The length of a name without an extension of the files that are read. */
size_t og__stem_length(const char *name);
/* ---- pictures: what decodes them */

typedef struct og__decoder {
    const char *name;
    bool (*takes)(og__bytes head);
    /* One image, from the bytes of its file. */
    og_status (*decode)(og__bytes file, const og__want *want, og__scratch *scratch,
                        og__sample *sample, og_error *error);
} og__decoder;
extern const og__decoder og__jpeg_decoder, og__ffmpeg_decoder;
/* want->frames frames of a video file; how many of them there are where it pads. */
og_status og__clip_length(const char *path, const og__want *want, og__scratch *scratch,
                          int64_t *length, og_error *error);
og_status og__clip_decode(const char *path, const og__want *want, og__scratch *scratch,
                          og__sample *sample, og_error *error);
void og__scaler_free(void *scaler);
/* 1 (as it is) to 8, by the EXIF of a JPEG; 1 where it says nothing, or of any other file. */
int og__orientation(og__bytes file);
/* The picture that lies in scratch->sample, upright; it still does. */
og_status og__turn(int orientation, og__scratch *scratch, og__sample *sample, og_error *error);
/* Refuses sizes that no picture has, before anything is allocated. */
og_status og__check_picture_size(int64_t width, int64_t height, og_error *error);

#endif
