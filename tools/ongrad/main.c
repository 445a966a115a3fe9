/* ongrad SUBCOMMAND …: finds the subcommand and hands over. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/builtin.h"
#include "tools/ongrad/complete.h"
#include "tools/ongrad/say.h"

const og__command og__command_table[] = {
    {"train", OG__TRAIN, "[MODEL.onnx]", "Train a model and write it as ONNX, ready for inference.",
     "ongrad train model.onnx --data x.npy --target y.npy --loss cross_entropy -o trained.onnx",
     og__command_train},
    {"eval", OG__EVAL, "[MODEL.onnx]",
     "Print the loss, and the accuracy where there is one, on data.",
     "ongrad eval trained.onnx --data x.npy --target y.npy --loss cross_entropy", og__command_eval},
    {"predict", OG__PREDICT, "MODEL.onnx", "Write the model's outputs for data as .npy or .csv.",
     "ongrad predict trained.onnx --data x.npy -o y.npy", og__command_predict},
    {"inspect", OG__INSPECT, "[MODEL.onnx]",
     "List nodes, shapes, parameters and FLOPs, or draw the graph.",
     "ongrad inspect model.onnx --batch_size 32 --svg model.svg", og__command_inspect},
    {"plan", OG__PLAN, "[MODEL.onnx]",
     "Show the memory that training would take, without training; write the training step.",
     "ongrad plan model.onnx --loss cross_entropy --batch_size 64", og__command_plan},
    {"check", OG__CHECK, "[MODEL.onnx]",
     "Say what would be trained, and why, and which nodes are in the way; check gradients.",
     "ongrad check model.onnx --loss cross_entropy --gradients", og__command_check},
    {"data", OG__DATA, "[MODEL.onnx]",
     "Show what training would read: shapes, values, labels, pairs; a contact sheet of pictures.",
     "ongrad data model.onnx --data image=photos --target photos --loss cross_entropy "
     "--contact_sheet sheet.png",
     og__command_data},
    {"export", OG__EXPORT, "MODEL.onnx", "Write a copy of the model in inference form.",
     "ongrad export trained.onnx -o exported.onnx", og__command_export},
    {"new", OG__NEW, "TYPE", "Write a built-in model with random weights as ONNX.",
     "ongrad new resnet --depth 34 --num_classes 10 -o model.onnx", og__command_new},
    {"report", OG__REPORT, "LOG",
     "Draw a run from its log: one HTML page of curves, memory, time, graph and settings.",
     "ongrad report run.jsonl -o report.html", og__command_report},
    {"devices", OG__DEVICES, "", "List the devices that can train.", "ongrad devices --json",
     og__command_devices},
    {"completion", OG__COMPLETION, "SHELL",
     "Print what makes bash, zsh or fish complete ongrad's subcommands and options.",
     "eval \"$(ongrad completion bash)\"", og__command_completion},
    {"man", OG__MAN, "[SUBCOMMAND]",
     "Print a manual page of ongrad, or write them all to a folder.", "ongrad man train | man -l -",
     og__command_man},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const og__command *og__command_find(const char *name)
{
    for (const og__command *c = og__command_table; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

int og__unknown_command(const char *command, const char *name)
{
    const char *nearest = NULL;
    int best = 3;
    for (const og__command *c = og__command_table; c->name; c++) {
        int distance = og_edit_distance(name, c->name);
        if (distance < best) {
            best = distance;
            nearest = c->name;
        }
    }
    if (nearest)
        return og__say_error(command, OG__EXIT_USAGE, "unknown subcommand \"%s\"; did you mean %s?",
                             name, nearest);
    return og__say_error(command, OG__EXIT_USAGE, "unknown subcommand \"%s\"; see ongrad --help",
                         name);
}

static int run(const og__command *command, int argc, char **argv)
{
    og__arguments arguments;
    int status = og__arguments_parse(&arguments, command, argc, argv);
    const og_model_type *type =
        status == OG__EXIT_DONE && command->bit == OG__NEW && arguments.model
            ? og__model_type_find(arguments.model)
            : NULL;
    if (type)
        og__rows_for_type(arguments.rows, arguments.n_rows, type);
    og__say_after_errors(og__arguments_say_where, &arguments);
    if (status == OG__EXIT_DONE)
        status = og__complete(&arguments);
    if (status == OG__EXIT_DONE)
        status = arguments.help ? og__help_command(command, arguments.rows, arguments.n_rows)
                                : command->run(&arguments);
    og__say_after_errors(NULL, NULL);
    og__arguments_free(&arguments);
    return status;
}

static int print_version(void)
{
    og_text text = {0};
    og_text_printf(&text, "ongrad %s\n", og_version());
    return og__write_stdout(NULL, &text);
}

int main(int argc, char **argv)
{
    /* A reader that goes away is an error of the write, which has its message. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file beyond its limit, too */
    if (argc < 2)
        return og__say_error(NULL, OG__EXIT_USAGE, "no subcommand given; see ongrad --help");
    const char *name = argv[1];
    bool help = !strcmp(name, "help");
    if (!strcmp(name, "--version") || !strcmp(name, "-V"))
        return print_version();
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || (help && argc == 2))
        return og__help_overview();
    if (help)
        name = argv[2];
    const og__command *command = og__command_find(name);
    if (!command && name[0] == '-')
        return og__say_error(NULL, OG__EXIT_USAGE,
                             "unknown option \"%s\" before the subcommand; see ongrad --help",
                             name);
    if (!command)
        return og__unknown_command(NULL, name);
    char *help_option = (char[]){"--help"};
    return help ? run(command, 1, &help_option) : run(command, argc - 2, argv + 2);
}
