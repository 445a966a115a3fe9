# The libraries that ongrad is built with: those that pkg-config and CMake find, or the folder ONGRAD_PACK, which
# tools/gpu_check --pack makes for machines that have neither them nor a network: include/, lib/ and schema/.
set(ONGRAD_PACK "" CACHE PATH "Folder with the libraries that are needed; empty: those installed")

function(ongrad_packed target library)
    if(NOT EXISTS ${ONGRAD_PACK}/lib/${library})
        message(FATAL_ERROR "ONGRAD_PACK: ${ONGRAD_PACK} has no lib/${library}")
    endif()
    add_library(${target} STATIC IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION ${ONGRAD_PACK}/lib/${library}
        INTERFACE_INCLUDE_DIRECTORIES ${ONGRAD_PACK}/include)
endfunction()

if(ONGRAD_PACK)
    ongrad_packed(PkgConfig::PROTOBUF_C libprotobuf-c.a)
    ongrad_packed(PkgConfig::YAML libyaml.a)
    ongrad_packed(ZLIB::ZLIB libz.a)
else()
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
    pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
    # Without these, their readers say which package is missing.
    pkg_check_modules(TURBOJPEG IMPORTED_TARGET libturbojpeg)
    pkg_check_modules(FFMPEG IMPORTED_TARGET libavformat>=59 libavcodec>=59 libswscale libavutil)
    find_package(ZLIB REQUIRED)
endif()
find_package(OpenMP REQUIRED COMPONENTS C)
