# What `cmake --install` puts in place: library, header, pkg-config file, CMake package.
include(CMakePackageConfigHelpers)
install(TARGETS ongrad_shared EXPORT ongrad LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/runtime/ongrad.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ongrad NAMESPACE ongrad:: FILE ongradTargets.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ongrad)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/ongradConfig.cmake @ONLY CONTENT
"include(\"\${CMAKE_CURRENT_LIST_DIR}/ongradTargets.cmake\")\n")
write_basic_package_version_file(${CMAKE_BINARY_DIR}/ongradConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/ongradConfig.cmake ${CMAKE_BINARY_DIR}/ongradConfigVersion.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ongrad)
# Relative to the file itself, so that the prefix can be chosen, and changed, when installing.
file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" to_prefix "${to_prefix}")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/ongrad.pc @ONLY CONTENT
"prefix=\${pcfiledir}/@to_prefix@
libdir=\${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=\${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: ongrad
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Libs: -L\${libdir} -longrad
Cflags: -I\${includedir}
")
install(FILES ${CMAKE_BINARY_DIR}/ongrad.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
