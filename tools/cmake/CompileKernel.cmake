# cmake -DCOMMAND=nvcc|… -DKERNEL=….cu -DIMAGE=….fatbin -DLOG=….log -P CompileKernel.cmake: an image for cards, and what the
# compiler says of registers, for the test cuda/compile_kernels. Shown where it fails.
string(REPLACE "|" ";" command "${COMMAND}")
execute_process(COMMAND ${command} -fatbin -O3 -Xptxas -v,-warn-spills,-warn-lmem-usage -o ${IMAGE} ${KERNEL}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
file(WRITE ${LOG} "${output}")
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${output}")
endif()
