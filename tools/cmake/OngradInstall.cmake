# What `cmake --install` puts in place: library, header, pkg-config file, CMake package; manual pages and shell completion,
# which the command writes itself, so not when it cannot run on the machine that builds.
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

if(TARGET ongrad AND (NOT CMAKE_CROSSCOMPILING OR CMAKE_CROSSCOMPILING_EMULATOR))
    set(manual ${CMAKE_BINARY_DIR}/man)
    set(completion ${CMAKE_BINARY_DIR}/completion)
    add_custom_command(OUTPUT ${manual}/ongrad.1 ${completion}/ongrad ${completion}/_ongrad ${completion}/ongrad.fish
        COMMAND ${CMAKE_COMMAND} -E make_directory ${completion}
        COMMAND ongrad man --output ${manual}
        COMMAND ongrad completion bash > ${completion}/ongrad
        COMMAND ongrad completion zsh > ${completion}/_ongrad
        COMMAND ongrad completion fish > ${completion}/ongrad.fish
        DEPENDS ongrad VERBATIM COMMENT "Writing manual pages and shell completion")
    add_custom_target(ongrad_manual ALL DEPENDS ${manual}/ongrad.1)
    install(DIRECTORY ${manual}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
    install(FILES ${completion}/ongrad DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${completion}/_ongrad DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES ${completion}/ongrad.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
