/* The table of options: the command's own rows here, the library's rows taken from
 * og_option_table(). Help, parsing and config files read nothing else. */
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/builtin.h"

#define WITH_DATA (OG__TRAIN | OG__EVAL | OG__PREDICT | OG__PLAN | OG__CHECK | OG__DATA)
#define WITH_LOSS (OG__TRAIN | OG__EVAL | OG__PLAN | OG__CHECK | OG__DATA)
#define WITH_SHAPES (WITH_DATA | OG__INSPECT | OG__EXPORT)
#define WITH_SESSION ((WITH_DATA | OG__EXPORT) & ~OG__DATA)
#define CHANGES (OG__TRAIN | OG__PLAN | OG__CHECK | OG__INSPECT | OG__EXPORT)
#define WITH_MODEL (OG__ALL & ~(unsigned)(OG__DEVICES | OG__REPORT))
#define WITH_AUGMENT (OG__TRAIN | OG__DATA)
#define WITH_BUILTIN \
    (OG__TRAIN | OG__EVAL | OG__PLAN | OG__CHECK | OG__INSPECT | OG__NEW | OG__DATA)

static const char data[] = "Data", pictures[] = "Pictures", run[] = "Run", output[] = "Output",
                  loss[] = "Loss", optimizer[] = "Optimizer", schedule[] = "Learning-rate schedule",
                  precision[] = "Precision", machine[] = "Machine", tuning[] = "Fine-tuning",
                  shapes[] = "Shapes", model[] = "Built-in model", general[] = "General";
/* In the order of the help. */
const char *const og__option_groups[] = {data,      pictures, shapes,  loss,   optimizer,
                                         schedule,  tuning,   run,     output, machine,
                                         precision, model,    general, NULL};

static const og__row own_rows[] = {
    {{"data", OG_OPTION_LIST, NULL, "[INPUT=]PATH",
      "what an input reads: .npy, .npz or .safetensors (FILE:MEMBER), IDX, .csv; a folder of .npy, "
      "images or videos, one file a sample; a constant as INPUT=ones, INPUT=zeros or "
      "INPUT=const:V; "
      "INPUT=mask, the lengths of another; keys: PATH,scale=S,mean=M,std=D gives (x / S - M) / D; "
      "frames=N, rate=R of clips; columns=A+B, key=C of .csv; seq_len=N of tokens"},
     WITH_DATA,
     data},
    {{"target", OG_OPTION_LIST, NULL, "[NAME=]PATH",
      "what the losses compare with; NAME is that of the output, or the one the loss gives it"},
     WITH_LOSS,
     data},
    {{"val_data", OG_OPTION_LIST, NULL, "[INPUT=]PATH", "data to evaluate after each epoch"},
     OG__TRAIN,
     data},
    {{"val_target", OG_OPTION_LIST, NULL, "[NAME=]PATH", "its target"}, OG__TRAIN, data},
    {{"val_split", OG_OPTION_FLOAT, NULL, "X",
      "validate after each epoch with this share of the data, and train on the rest"},
     OG__TRAIN,
     data},
    {{"val_group", OG_OPTION_TEXT, NULL, "REGEX",
      "samples whose names give it the same text stay on one side of --val_split"},
     OG__TRAIN,
     data},
    {{"pair_by", OG_OPTION_TEXT, NULL, "REGEX",
      "folders are paired by what this captures of a path without extension; default: all of it"},
     WITH_DATA,
     data},
    {{"strict_data", OG_OPTION_FLAG, "off", NULL,
      "a sample that lacks a part, or cannot be read, is an error"},
     WITH_DATA,
     data},
    {{"resize", OG_OPTION_TEXT, "cover", "SIZE",
      "pictures: cover (the shorter side to the model's size, the middle of the longer), stretch, "
      "N "
      "(the shorter side, then a crop) or HEIGHTxWIDTH (then a crop)"},
     WITH_DATA,
     pictures},
    {{"crop", OG_OPTION_TEXT, "center", "HOW",
      "of a picture larger than the model's: center or random"},
     WITH_DATA,
     pictures},
    {{"random_resized_crop", OG_OPTION_TEXT, NULL, "A,B",
      "train on a part of each picture, A to B of its area (on: 0.08,1)"},
     WITH_AUGMENT,
     pictures},
    {{"hflip", OG_OPTION_FLOAT, NULL, "P", "mirror left and right with probability P"},
     WITH_AUGMENT,
     pictures},
    {{"vflip", OG_OPTION_FLOAT, NULL, "P", "mirror top and bottom with probability P"},
     WITH_AUGMENT,
     pictures},
    {{"color_jitter", OG_OPTION_TEXT, NULL, "B,C,S,H",
      "change brightness, contrast, saturation and hue at random, by so much at most"},
     WITH_AUGMENT,
     pictures},
    {{"grayscale", OG_OPTION_FLOAT, NULL, "P", "no colors, with probability P"},
     WITH_AUGMENT,
     pictures},
    {{"blur", OG_OPTION_FLOAT, NULL, "P", "a Gaussian blur of 0.1 to 2 pixels, with probability P"},
     WITH_AUGMENT,
     pictures},
    {{"random_erasing", OG_OPTION_FLOAT, NULL, "P", "erase a rectangle, with probability P"},
     WITH_AUGMENT,
     pictures},
    {{"mixup", OG_OPTION_FLOAT, NULL, "ALPHA",
      "mix each sample and its label with another's, in shares of Beta(ALPHA, ALPHA)"},
     WITH_AUGMENT,
     pictures},
    {{"cutmix", OG_OPTION_FLOAT, NULL, "ALPHA", "put a part of another picture into each"},
     WITH_AUGMENT,
     pictures},
    {{"normalize", OG_OPTION_TEXT, "unit", "HOW",
      "pictures to numbers: unit (0 to 1), half (-1 to 1), imagenet, none (0 to 255) or MEAN/STD, "
      "one number each or three, of 0 to 1"},
     WITH_DATA,
     pictures},
    {{"color", OG_OPTION_TEXT, "rgb", "ORDER", "of the channels that the model takes: rgb or bgr"},
     WITH_DATA,
     pictures},
    {{"metric", OG_OPTION_LIST, NULL, "NAME",
      "beside loss and accuracy: top5_accuracy, precision, recall, f1, auroc, miou, perplexity, "
      "confusion_matrix, mae, rmse, r2, psnr"},
     OG__TRAIN | OG__EVAL,
     data},
    {{"require", OG_OPTION_LIST, NULL, "METRIC>=X",
      "exit status 1 unless the metric reaches this: 'accuracy>=0.91', 'loss<0.3'"},
     OG__EVAL,
     data},
    {{"monitor", OG_OPTION_TEXT, "loss", "METRIC",
      "what makes a validation the best: loss or a metric; the output is the model that it was of"},
     OG__TRAIN,
     run},
    {{"patience", OG_OPTION_INT, NULL, "N",
      "stop after so many validations in a row that are no better than the best"},
     OG__TRAIN,
     run,
     1},
    {{"eval_every", OG_OPTION_TEXT, "1ep", "WHEN",
      "validate after so many optimizer steps (500) or epochs (2ep), and at the end"},
     OG__TRAIN,
     run},
    {{"dry_run", OG_OPTION_FLAG, "off", NULL,
      "one update, one batch of validation, saving and loading again; nothing stays"},
     OG__TRAIN,
     run},
    {{"shuffle", OG_OPTION_FLAG, "on", NULL, "new order of samples each epoch"},
     WITH_AUGMENT,
     data},
    {{"drop_last", OG_OPTION_FLAG, "off", NULL, "leave out an epoch's last, short batch"},
     WITH_AUGMENT,
     data},
    {{"num_workers", OG_OPTION_INT, NULL, "N",
      "threads that prepare batches; default: none for small batches, else at most half of the "
      "cores"},
     OG__TRAIN | OG__EVAL | OG__PREDICT | OG__DATA,
     data},
    {{"pin_memory", OG_OPTION_FLAG, "on", NULL,
      "page-locked buffers for a GPU; no effect on a CPU"},
     OG__TRAIN | OG__EVAL | OG__PREDICT,
     data},
    {{"check_finite", OG_OPTION_FLAG, "on", NULL,
      "look for NaN and infinities in the data before starting"},
     OG__TRAIN | OG__EVAL | OG__PREDICT | OG__DATA,
     data},
    {{"batch_size", OG_OPTION_INT, NULL, "N",
      "samples in a batch, at most those there are; default by the memory of the device: 128 from "
      "20 GB on, 64 from 10 GB, else 32"},
     WITH_SHAPES,
     shapes,
     1},
    {{"dim", OG_OPTION_LIST, NULL, "NAME=N", "the length of a symbolic dim"},
     WITH_SHAPES & ~(unsigned)OG__EXPORT,
     shapes},
    {{"dim", OG_OPTION_LIST, NULL, "NAME=N",
      "a symbolic dim gets this length in the file (batch=1), or as NAME=OTHER another name"},
     OG__EXPORT,
     shapes,
     .apart = true},
    {{"epochs", OG_OPTION_INT, "1", "N", "passes over the data"}, OG__TRAIN, run, 1},
    {{"steps", OG_OPTION_INT, NULL, "N", "optimizer steps, instead of epochs"}, OG__TRAIN, run, 1},
    {{"seed", OG_OPTION_INT, "0", "N",
      "of the order of samples, of random ops, and of a built-in model's weights"},
     WITH_BUILTIN,
     run},
    {{"samples", OG_OPTION_INT, "1000", "N", "how many samples are looked at"}, OG__DATA, run, 1},
    {{"throughput", OG_OPTION_FLAG, "off", NULL,
      "look at no values; say how many samples a second the loader delivers"},
     OG__DATA,
     run},
    {{"contact_sheet", OG_OPTION_TEXT, NULL, "FILE.png",
      "write a picture of the first samples of an epoch, as training sees them"},
     OG__DATA,
     output},
    {{"output", OG_OPTION_TEXT, NULL, "PATH",
      "what is written: train trained.onnx, export exported.onnx, new model.onnx, predict "
      "predictions.npy (one output; FILE.csv: a table with the names of samples and classes) or "
      "predictions/ (several); report report.html; man: the folder that every page is written to"},
     OG__TRAIN | OG__PREDICT | OG__EXPORT | OG__NEW | OG__REPORT | OG__MAN,
     output,
     0,
     'o'},
    {{"opset", OG_OPTION_INT, NULL, "N", "write the model in the form of this opset"},
     OG__EXPORT,
     output,
     13},
    {{"single_file", OG_OPTION_FLAG, "off", NULL,
      "tensors in the file itself, also above 1 GiB; from 2 GiB on an error"},
     OG__EXPORT,
     output},
    {{"amp", OG_OPTION_TEXT, "off", "MODE",
      "fp16: weights and products in float16; inputs, outputs, softmax, norms and reductions stay "
      "float32"},
     OG__EXPORT,
     precision,
     .apart = true},
    {{"overwrite", OG_OPTION_FLAG, "off", NULL, "replace the output where it exists"},
     OG__NEW,
     output},
    {{"log", OG_OPTION_TEXT, NULL, "FILE",
      "one JSON object an optimizer step, and one of the whole run; `ongrad report` draws it"},
     OG__TRAIN,
     output},
    {{"tensorboard", OG_OPTION_TEXT, NULL, "DIR",
      "write TensorBoard's event files there: tensorboard --logdir DIR"},
     OG__TRAIN,
     output},
    {{"checkpoint", OG_OPTION_TEXT, NULL, "PATH",
      "where checkpoints are written; default: beside the output, trained.ckpt.onnx"},
     OG__TRAIN,
     output},
    {{"checkpoint_every", OG_OPTION_TEXT, NULL, "WHEN",
      "write one after so many optimizer steps (500), epochs (2ep) or minutes (10m), and at the "
      "end; a signal writes one in any case"},
     OG__TRAIN,
     output},
    {{"keep", OG_OPTION_INT, "2", "N",
      "checkpoints that stay: the last, and N - 1 before it, trained.ckpt.1.onnx …"},
     OG__TRAIN,
     output,
     1},
    {{"resume", OG_OPTION_TEXT, NULL, "PATH",
      "go on from this checkpoint, with its data and options unless others are given; auto: from "
      "the one where this run would write its own, if there is one"},
     OG__TRAIN,
     run},
    {{"like", OG_OPTION_TEXT, NULL, "TRAINED.onnx",
      "the run that trained this model once more, with its model, data and options unless others "
      "are given"},
     OG__TRAIN,
     run},
    {{"profile", OG_OPTION_FLAG, "off", "FILE.json",
      "time every kernel call, and print where the time of a step goes; the file is a trace of "
      "three steps for chrome://tracing or Perfetto"},
     OG__TRAIN,
     output},
    {{"profile_by", OG_OPTION_TEXT, "op", "WHAT",
      "rows of the profile: op, node (of the model) or call (each one, with its shapes)"},
     OG__TRAIN,
     output},
    {{"json", OG_OPTION_FLAG, "off", NULL, "print JSON instead of a table"},
     OG__EVAL | OG__INSPECT | OG__PLAN | OG__CHECK | OG__DEVICES | OG__DATA,
     output},
    {{"dot", OG_OPTION_TEXT, NULL, "FILE", "write the graph as Graphviz DOT; - is stdout"},
     OG__INSPECT,
     output},
    {{"svg", OG_OPTION_TEXT, NULL, "FILE",
      "inspect: draw the graph with Graphviz's dot; plan: draw the memory over time"},
     OG__INSPECT | OG__PLAN,
     output},
    {{"weights", OG_OPTION_FLAG, "off", NULL,
      "list tensors instead of nodes: mean, standard deviation, least, most, zeros, what is not "
      "finite"},
     OG__INSPECT,
     output},
    {{"diff", OG_OPTION_TEXT, NULL, "BEFORE.onnx",
      "list what the model has other than this one: nodes, attributes, inputs, metadata, tensors "
      "and how much they changed; exit status 0: nothing, 1: something, 2: an error"},
     OG__INSPECT,
     output},
    {{"save_graph", OG_OPTION_TEXT, NULL, "DIR",
      "write micro.onnx and update.onnx, the training step"},
     OG__PLAN,
     output},
    {{"gradients", OG_OPTION_FLAG, "off", NULL,
      "compare gradients with finite differences in double, on the data or on random inputs"},
     OG__CHECK,
     run},
    {{"reference", OG_OPTION_TEXT, NULL, "FILE.npz",
      "replay another trainer's first steps, as tools/export_torch.py --reference saves them with "
      "their batch and options, and name the first tensor that differs"},
     OG__CHECK,
     run},
    {{"overfit", OG_OPTION_FLAG, "off", NULL,
      "train on one batch, of the data or made up, until its loss is a tenth: a model that cannot "
      "does not learn"},
     OG__CHECK,
     run},
    {{"elements", OG_OPTION_INT, "5", "N", "elements of each tensor that --gradients looks at"},
     OG__CHECK,
     run,
     1},
    {{"tolerance", OG_OPTION_FLOAT, "1e-3", "X", "largest relative difference that passes"},
     OG__CHECK,
     run},
    {{"ema", OG_OPTION_FLAG, "off", NULL,
      "of a checkpoint, the averages that train --ema keeps in place of the weights"},
     OG__EVAL | OG__PREDICT | OG__EXPORT,
     tuning,
     .apart = true},
    {{"device", OG_OPTION_TEXT, "auto", "NAME",
      "cpu, cuda:0 (see `ongrad devices`; it has run on no GPU yet), or auto: cpu"},
     WITH_SESSION,
     machine},
    {{"threads", OG_OPTION_INT, "0", "N", "compute threads; 0: as many as the process may use"},
     WITH_MODEL,
     machine},
    {{"pin_threads", OG_OPTION_FLAG, "off", NULL,
      "bind compute threads to processors of their own (for a machine that nothing else uses)"},
     WITH_MODEL,
     machine},
    {{"config", OG_OPTION_TEXT, NULL, "FILE", "options from a YAML file; the command line wins"},
     WITH_MODEL,
     general},
    {{"quiet", OG_OPTION_FLAG, "off", NULL, "only errors and warnings on stderr"},
     OG__ALL,
     general,
     0,
     'q'},
    {{"verbose", OG_OPTION_FLAG, "off", NULL, "the library's own messages, too"}, OG__ALL, general},
    {{"help", OG_OPTION_FLAG, "off", NULL, "this text"},
     OG__ALL | OG__MAN | OG__COMPLETION,
     general,
     0,
     'h'},
};

/* Where the library's rows belong; one that is not named here goes to every subcommand with a
 * session. */
static const struct {
    const char *name;
    unsigned commands;
    const char *group;
} places[] = {
    {"loss", WITH_LOSS, loss},
    {"label_smoothing", WITH_LOSS, loss},
    {"ignore_index", WITH_LOSS, loss},
    {"class_weights", WITH_LOSS, loss},
    {"optimizer", OG__TRAIN | OG__PLAN | OG__CHECK, optimizer},
    {"lr", OG__TRAIN | OG__PLAN | OG__CHECK, optimizer},
    {"weight_decay", OG__TRAIN | OG__PLAN | OG__CHECK, optimizer},
    {"momentum", OG__TRAIN | OG__PLAN | OG__CHECK, optimizer},
    {"nesterov", OG__TRAIN | OG__PLAN, optimizer},
    {"betas", OG__TRAIN | OG__PLAN, optimizer},
    {"eps", OG__TRAIN | OG__PLAN, optimizer},
    {"alpha", OG__TRAIN | OG__PLAN, optimizer},
    {"centered", OG__TRAIN | OG__PLAN, optimizer},
    {"lr_decay", OG__TRAIN | OG__PLAN, optimizer},
    {"initial_accumulator_value", OG__TRAIN | OG__PLAN, optimizer},
    {"max_norm", OG__TRAIN | OG__PLAN | OG__CHECK, optimizer},
    {"ema", OG__TRAIN | OG__PLAN, optimizer},
    {"ema_warmup", OG__TRAIN | OG__PLAN, optimizer},
    {"gradient_accumulation_steps", OG__TRAIN | OG__PLAN, optimizer},
    {"use_scheduler", OG__TRAIN | OG__PLAN, schedule},
    {"scheduler", OG__TRAIN | OG__PLAN, schedule},
    {"warmup_steps", OG__TRAIN | OG__PLAN, schedule},
    {"warmup_ratio", OG__TRAIN | OG__PLAN, schedule},
    {"num_cycles", OG__TRAIN | OG__PLAN, schedule},
    {"min_lr", OG__TRAIN | OG__PLAN, schedule},
    {"min_lr_rate", OG__TRAIN | OG__PLAN, schedule},
    {"lr_end", OG__TRAIN | OG__PLAN, schedule},
    {"power", OG__TRAIN | OG__PLAN, schedule},
    {"timescale", OG__TRAIN | OG__PLAN, schedule},
    {"decay_steps", OG__TRAIN | OG__PLAN, schedule},
    {"decay_type", OG__TRAIN | OG__PLAN, schedule},
    {"step_size", OG__TRAIN | OG__PLAN, schedule},
    {"milestones", OG__TRAIN | OG__PLAN, schedule},
    {"gamma", OG__TRAIN | OG__PLAN, schedule},
    {"pct_start", OG__TRAIN | OG__PLAN, schedule},
    {"div_factor", OG__TRAIN | OG__PLAN, schedule},
    {"final_div_factor", OG__TRAIN | OG__PLAN, schedule},
    {"anneal_strategy", OG__TRAIN | OG__PLAN, schedule},
    {"plateau_factor", OG__TRAIN | OG__PLAN, schedule},
    {"plateau_patience", OG__TRAIN | OG__PLAN, schedule},
    {"plateau_threshold", OG__TRAIN | OG__PLAN, schedule},
    {"plateau_cooldown", OG__TRAIN | OG__PLAN, schedule},
    {"freeze", OG__TRAIN | OG__PLAN | OG__CHECK | OG__INSPECT, tuning},
    {"trainable", OG__TRAIN | OG__PLAN | OG__CHECK | OG__INSPECT, tuning},
    {"freeze_bn", OG__TRAIN | OG__PLAN | OG__CHECK, tuning},
    {"lr_scale", OG__TRAIN | OG__PLAN | OG__CHECK, tuning},
    {"no_decay", OG__TRAIN | OG__PLAN | OG__CHECK, tuning},
    {"init_from", CHANGES, tuning},
    {"reinit", CHANGES, tuning},
    {"lora", OG__TRAIN | OG__PLAN | OG__CHECK | OG__INSPECT, tuning},
    {"device_memory", OG__PLAN, machine},
    {"tune", WITH_SESSION, machine},
    {"split_batch", WITH_DATA, machine},
    {"amp", WITH_SESSION & ~(unsigned)OG__EXPORT, precision},
    {"loss_scale", OG__TRAIN | OG__PLAN, precision},
    {"loss_scale_start", OG__TRAIN | OG__PLAN, precision},
    {"loss_scale_growth", OG__TRAIN | OG__PLAN, precision},
    {"loss_scale_backoff", OG__TRAIN | OG__PLAN, precision},
    {"loss_scale_interval", OG__TRAIN | OG__PLAN, precision},
    {"allow_tf32", WITH_SESSION, precision},
    {"deterministic", WITH_SESSION, precision},
};

static const struct {
    const char *alias, *name;
} aliases[] = {
    {"max_steps", "steps"},
    {"learning_rate", "lr"},
    {"max_grad_norm", "max_norm"},
    {"lr_scheduler_type", "scheduler"},
    {"gradient_checkpointing", "recompute"},
    {"o", "output"},
};

bool og__same_name(const char *a, const char *b)
{
    while (*a && (*a == *b || ((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))) {
        a++;
        b++;
    }
    return *a == *b;
}

const char *og__option_alias(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (og__same_name(name, aliases[i].alias))
            return aliases[i].name;
    return name;
}

static og__row library_row(const og_option_info *info)
{
    og__row row = {.info = *info, .commands = WITH_SESSION, .group = machine, .library = true};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (!strcmp(places[i].name, info->name)) {
            row.commands = places[i].commands;
            row.group = places[i].group;
        }
    if (og__is_model_option(info->name)) {
        row.commands = strcmp(info->name, "model_type") != 0 ? WITH_BUILTIN
                                                             : WITH_BUILTIN & ~(unsigned)OG__NEW;
        row.group = model;
    }
    return row;
}

og__row *og__option_rows(int *n)
{
    const og_option_info *library = og_option_table();
    size_t n_library = 0, n_own = sizeof own_rows / sizeof *own_rows;
    while (library[n_library].name)
        n_library++;
    og__row *rows = calloc(n_library + n_own, sizeof *rows);
    if (!rows)
        return NULL;
    *n = 0;
    for (size_t i = 0; i < n_own; i++) {
        og__row row = own_rows[i];
        row.own = true;
        /* An option of both is one row. */
        for (size_t k = 0; k < n_library; k++)
            row.library |= !row.apart && og__same_name(library[k].name, row.info.name);
        if (row.info.kind == OG_OPTION_INT && !strcmp(row.info.name, "seed"))
            row.least = INT64_MIN;
        rows[(*n)++] = row;
    }
    for (size_t k = 0; k < n_library; k++) {
        bool shared = false;
        for (size_t i = 0; i < n_own; i++)
            shared |= !own_rows[i].apart && og__same_name(library[k].name, own_rows[i].info.name);
        if (!shared)
            rows[(*n)++] = library_row(&library[k]);
    }
    return rows;
}
