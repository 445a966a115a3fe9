# oneDNN 2.6 or 3.x as the target DNNL::dnnl, by its header and library (CMAKE_PREFIX_PATH is searched first). Its own CMake
# package is not asked: Debian's insists on the files of an OpenCL that a CPU does not need.
find_path(ONGRAD_ONEDNN_INCLUDE dnnl.h)
find_library(ONGRAD_ONEDNN_LIBRARY NAMES dnnl libdnnl.so.3 libdnnl.so.2)
mark_as_advanced(ONGRAD_ONEDNN_INCLUDE ONGRAD_ONEDNN_LIBRARY)
if(ONGRAD_ONEDNN_INCLUDE AND ONGRAD_ONEDNN_LIBRARY)
    add_library(DNNL::dnnl UNKNOWN IMPORTED)
    set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${ONGRAD_ONEDNN_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${ONGRAD_ONEDNN_INCLUDE})
    get_filename_component(folder ${ONGRAD_ONEDNN_LIBRARY} DIRECTORY)
    if(NOT folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
        list(APPEND CMAKE_INSTALL_RPATH ${folder}) # what is installed finds it again
    endif()
endif()
