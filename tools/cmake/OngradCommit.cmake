# The commit that is built, for logs and reports.

# ongrad_commit(SOURCE): defines OG_COMMIT for one source file, "" where this is no git checkout. Configures again when
# another commit is checked out.
function(ongrad_commit source)
    set(commit "")
    find_package(Git QUIET)
    if(Git_FOUND AND EXISTS ${CMAKE_SOURCE_DIR}/.git)
        execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --short=12 HEAD WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
            OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
        execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --path-format=absolute --git-path logs/HEAD
            WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
        if(EXISTS "${log}")
            set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${log}")
        endif()
    endif()
    set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS OG_COMMIT="${commit}")
endfunction()
