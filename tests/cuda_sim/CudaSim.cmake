# cuda_sim: the simulated card and, as C, the kernels of kernels/cuda/ and those of tests. What links it has the simulated
# driver instead of the library's. ongrad_sim: the command, with it.
file(GLOB sim_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
list(FILTER sim_sources EXCLUDE REGEX "/stub_driver\\.c$")
file(GLOB sim_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu ${CMAKE_SOURCE_DIR}/tests/cuda/*.cu)
set_source_files_properties(${sim_kernels} PROPERTIES LANGUAGE C
    COMPILE_OPTIONS "-O2;-fwrapv;-fno-strict-aliasing;-ffp-contract=off")
add_library(cuda_sim OBJECT ${sim_sources} ${sim_kernels})
target_link_libraries(cuda_sim PUBLIC ongrad_flags ${CMAKE_DL_LIBS})
target_compile_definitions(cuda_sim PRIVATE OG_SIM_CC="${CMAKE_C_COMPILER}" OG_SIM_INCLUDE="${CMAKE_SOURCE_DIR}"
    OG_SIM_CACHE="${CMAKE_BINARY_DIR}/tests/cuda_sim_cache"
    OG_SIM_CFLAGS="-O1$<$<BOOL:${ONGRAD_SANITIZE}>: -fsanitize=address,undefined -fno-sanitize-recover=undefined>")

# Files of fusions hold for the driver.h that they were made with.
file(SHA1 ${CMAKE_SOURCE_DIR}/kernels/cuda/driver.h driver_hash)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/driver.h)
set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/fusions.c PROPERTIES
    COMPILE_DEFINITIONS "OG_SIM_DRIVER=\"${driver_hash}\"")

# Plans by cuDNN, without a card: over a driver library that has nothing behind it.
if(ONGRAD_HAS_CUDA AND ONGRAD_CUDNN_INCLUDE)
    add_library(cuda_stub_driver SHARED ${CMAKE_CURRENT_LIST_DIR}/stub_driver.c)
    set_target_properties(cuda_stub_driver PROPERTIES OUTPUT_NAME cuda SOVERSION 1
        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/stub_driver)
    add_dependencies(cuda_sim cuda_stub_driver)
    set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/cudnn.c PROPERTIES
        COMPILE_OPTIONS "-isystem;${ONGRAD_CUDA_INCLUDE};-isystem;${ONGRAD_CUDNN_INCLUDE}"
        COMPILE_DEFINITIONS "OG_HAS_CUDNN;OG_SIM_STUB_DRIVER=\"${CMAKE_BINARY_DIR}/tests/stub_driver/libcuda.so.1\"")
endif()

if(TARGET ongrad)
    add_executable(ongrad_sim ${ONGRAD_COMMAND_SOURCES})
    target_link_libraries(ongrad_sim PRIVATE cuda_sim ongrad_data ongrad_static PkgConfig::YAML)
    set_target_properties(ongrad_sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
