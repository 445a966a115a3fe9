# registry.c: one line a file that holds a table, so that a file's presence registers what is in it.
#   ops/<stem>.c                 const og_op og_ops_<stem>[]
#   kernels/<device>/<stem>.c    const og_kernel og_kernels_<device>_<stem>[]
#   models/<stem>.c              const og_builtin og_models_<stem>[]
# Of a device's tables, those of …_onednn, …_cudnn, …_bfloat and …_depthwise are asked first and that of `host` last.
function(ongrad_registry sources output)
    set(op_externs "")
    set(op_rows "")
    set(kernel_externs "")
    set(model_externs "")
    set(model_rows "")
    foreach(source IN LISTS ${sources})
        get_filename_component(stem ${source} NAME_WE)
        if(source MATCHES "/ops/[^/]*\\.c$")
            string(APPEND op_externs "extern const og_op og_ops_${stem}[];\n")
            string(APPEND op_rows "    {\"${stem}\", og_ops_${stem}},\n")
        elseif(source MATCHES "/kernels/(cpu|cuda)/[^/]*\\.c$")
            set(device ${CMAKE_MATCH_1})
            file(STRINGS ${source} table REGEX "^const og_kernel og_kernels_${device}_${stem}\\[\\]")
            if(table)
                set(rank middle)
                if(stem MATCHES "onednn|_cudnn$|_bfloat$|_depthwise$")
                    set(rank first)
                elseif(stem STREQUAL "host")
                    set(rank last)
                endif()
                string(APPEND kernel_externs "extern const og_kernel og_kernels_${device}_${stem}[];\n")
                string(APPEND ${device}_${rank} "    {\"${stem}\", og_kernels_${device}_${stem}},\n")
            endif()
        elseif(source MATCHES "/models/[^/]*\\.c$")
            file(STRINGS ${source} table REGEX "^const og_builtin og_models_${stem}\\[\\]")
            if(table)
                string(APPEND model_externs "extern const og_builtin og_models_${stem}[];\n")
                string(APPEND model_rows "    {\"${stem}\", og_models_${stem}},\n")
            endif()
        endif()
    endforeach()
    set(tables "")
    foreach(device cpu cuda)
        string(APPEND tables "const og_kernel_table og_${device}_kernel_tables[] = {\n"
            "${${device}_first}${${device}_middle}${${device}_last}    {NULL, NULL},\n};\n")
    endforeach()
    file(CONFIGURE OUTPUT ${output} @ONLY CONTENT
"/* Made by CMake from the files present. */
#include \"runtime/device/device.h\"
#include \"kernels/cpu/cpu.h\"
#include \"kernels/cuda/cuda.h\"
#include \"models/model.h\"
@op_externs@
const og_op_table og_op_tables[] = {
@op_rows@    {NULL, NULL},
};
@kernel_externs@
@tables@@model_externs@
const og_builtin_table og_builtin_tables[] = {
@model_rows@    {NULL, NULL},
};
")
endfunction()

# Each kernels/cpu/X_simd.c becomes three objects, with OG_SIMD_LEVEL 2, 3 and 4 and the suffix _v2, _v3, _v4 on what
# OG_SIMD(name) names. Elsewhere than on x86-64, one, level 2 without flags.
function(ongrad_simd_variants sources)
    set(rest "")
    foreach(source IN LISTS ${sources})
        if(source MATCHES "_simd\\.c$")
            get_filename_component(stem ${source} NAME_WE)
            set(levels 2)
            if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
                set(levels 2 3 4)
            endif()
            foreach(level IN LISTS levels)
                set(copy ${CMAKE_BINARY_DIR}/simd/${stem}_v${level}.c)
                file(CONFIGURE OUTPUT ${copy} @ONLY CONTENT
"#define OG_SIMD_LEVEL @level@\n#define OG_SIMD(name) name##_v@level@\n\
/* NOLINTNEXTLINE(bugprone-suspicious-include): a copy of this file for one instruction set */\n#include \"@source@\"\n")
                # Sanitizers leave nothing to gain from -O3, and a minute of compiling a file to lose.
                set(flags $<IF:$<BOOL:${ONGRAD_SANITIZE}>,-O1,-O3> -fopenmp-simd -fno-math-errno -fno-trapping-math)
                if(level EQUAL 3)
                    list(APPEND flags -march=x86-64-v3)
                elseif(level EQUAL 4)
                    list(APPEND flags -march=x86-64-v4 -mprefer-vector-width=512)
                endif()
                if(stem MATCHES "norm") # y = (x - mean) a + b to the bit as elementwise programs have it
                    list(APPEND flags -ffp-contract=off)
                endif()
                set_source_files_properties(${copy} PROPERTIES COMPILE_OPTIONS "${flags}" OBJECT_DEPENDS ${source})
                list(APPEND rest ${copy})
            endforeach()
        else()
            list(APPEND rest ${source})
        endif()
    endforeach()
    set(${sources} ${rest} PARENT_SCOPE)
endfunction()
