# The CUDA device: which driver is built (ONGRAD_CUDA, and whether the toolkit is there), kernels/cuda/*.cu compiled into the
# library, and the texts that generated kernels begin with.
set(ONGRAD_CUDA_ARCHITECTURES "80;86;89;90" CACHE STRING "Compute capabilities that kernels are compiled for")
set(ONGRAD_HAS_CUDA FALSE)
if(NOT ONGRAD_CUDA STREQUAL "off")
    find_program(ONGRAD_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    mark_as_advanced(ONGRAD_NVCC)
    if(ONGRAD_NVCC)
        file(REAL_PATH ${ONGRAD_NVCC} nvcc)
        get_filename_component(ONGRAD_CUDA_HOME ${nvcc}/../.. REALPATH)
        find_path(ONGRAD_CUDA_INCLUDE cuda.h HINTS ${ONGRAD_CUDA_HOME}/include NO_DEFAULT_PATH)
        mark_as_advanced(ONGRAD_CUDA_INCLUDE)
        if(ONGRAD_CUDA_INCLUDE AND EXISTS ${ONGRAD_CUDA_INCLUDE}/nvrtc.h AND EXISTS ${ONGRAD_CUDA_INCLUDE}/cublasLt.h)
            set(ONGRAD_HAS_CUDA TRUE)
        endif()
    endif()
    if(ONGRAD_CUDA STREQUAL "on" AND NOT ONGRAD_HAS_CUDA)
        message(FATAL_ERROR "ONGRAD_CUDA is on, and nvcc with the headers cuda.h, nvrtc.h and cublasLt.h was not found "
            "(CUDA_HOME names the toolkit's folder)")
    endif()
endif()

# A C file that holds files as they are: symbol|path|terminator for each. Terminated texts are C strings.
function(ongrad_embed output)
    set(text "/* Made by CMake. */\n#include <stddef.h>\n")
    set(files "")
    foreach(entry IN LISTS ARGN)
        string(REPLACE "|" ";" entry ${entry})
        list(GET entry 0 symbol)
        list(GET entry 1 path)
        string(APPEND text "extern const char ${symbol}[], ${symbol}_end[];\n"
            "__asm__(\".section .rodata\\n.balign 16\\n.globl ${symbol}\\n.hidden ${symbol}\\n${symbol}:\\n\"\n"
            "        \".incbin \\\"${path}\\\"\\n.globl ${symbol}_end\\n.hidden ${symbol}_end\\n${symbol}_end:\\n"
            ".byte 0\\n.previous\\n\");\n")
        list(APPEND files ${path})
    endforeach()
    string(APPEND text "${ONGRAD_EMBED_MORE}")
    file(CONFIGURE OUTPUT ${output} @ONLY CONTENT "@text@")
    set_source_files_properties(${output} PROPERTIES OBJECT_DEPENDS "${files}")
endfunction()

# Adds to `sources` what the device needs beside kernels/cuda/*.c, and drops the drivers that are not built.
function(ongrad_cuda sources)
    set(embedded "og__cuda_text_kernel|${CMAKE_SOURCE_DIR}/kernels/cuda/kernel.h"
        "og__cuda_text_arithmetic|${CMAKE_SOURCE_DIR}/kernels/cpu/arithmetic.h")
    set(ONGRAD_EMBED_MORE "#include \"kernels/cuda/driver.h\"\n")
    file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu)
    file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.h)
    if(ONGRAD_HAS_CUDA)
        list(FILTER ${sources} EXCLUDE REGEX "/kernels/cuda/driver_none\\.c$")
        file(STRINGS ${ONGRAD_CUDA_INCLUDE}/cuda.h version REGEX "^#define CUDA_VERSION [0-9]+")
        string(REGEX REPLACE "^#define CUDA_VERSION ([0-9]+)[0-9][0-9][0-9]$" "\\1" major "${version}")
        set(driver "")
        foreach(part cuda library nvrtc cublas)
            list(APPEND driver ${CMAKE_SOURCE_DIR}/kernels/cuda/driver_${part}.c)
        endforeach()
        set_source_files_properties(${driver} PROPERTIES COMPILE_OPTIONS "-isystem;${ONGRAD_CUDA_INCLUDE}"
            COMPILE_DEFINITIONS "OG_CUDA_MAJOR=\"${major}\";OG_CUDA_LIBRARIES=\"${ONGRAD_CUDA_HOME}/lib64\"")
        set(targets "")
        foreach(architecture IN LISTS ONGRAD_CUDA_ARCHITECTURES)
            list(APPEND targets -gencode=arch=compute_${architecture},code=sm_${architecture})
            set(newest ${architecture})
        endforeach()
        list(APPEND targets -gencode=arch=compute_${newest},code=compute_${newest}) # for cards to come
    else()
        list(FILTER ${sources} EXCLUDE REGEX "/kernels/cuda/driver_(cuda|library|nvrtc|cublas)\\.c$")
    endif()
    foreach(kernel IN LISTS kernels)
        get_filename_component(stem ${kernel} NAME_WE)
        if(ONGRAD_HAS_CUDA)
            set(image ${CMAKE_BINARY_DIR}/cuda/${stem}.fatbin)
            add_custom_command(OUTPUT ${image}
                COMMAND ${ONGRAD_NVCC} -fatbin ${targets} -O3 -I${CMAKE_SOURCE_DIR} -o ${image} ${kernel}
                DEPENDS ${kernel} ${headers} VERBATIM COMMENT "Compiling ${stem}.cu")
            list(APPEND embedded "og__cuda_bytes_${stem}|${image}")
            string(APPEND ONGRAD_EMBED_MORE "extern const og_cuda_image og_cuda_image_${stem};\nconst og_cuda_image "
                "og_cuda_image_${stem} = {\"${stem}\", og__cuda_bytes_${stem}};\n")
        else()
            string(APPEND ONGRAD_EMBED_MORE "extern const og_cuda_image og_cuda_image_${stem};\nconst og_cuda_image "
                "og_cuda_image_${stem} = {\"${stem}\", NULL};\n")
        endif()
    endforeach()
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)
    ongrad_embed(${CMAKE_BINARY_DIR}/cuda/embedded.c ${embedded})
    set(${sources} ${${sources}} ${CMAKE_BINARY_DIR}/cuda/embedded.c PARENT_SCOPE)
endfunction()
