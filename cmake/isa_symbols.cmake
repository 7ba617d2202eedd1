# Fails when an object compiled for one instruction set defines symbols that another object may
# share (weak or unique): the linker could pick this copy for every processor.
execute_process(COMMAND ${NM} -C --defined-only ${OBJECT} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
if(result)
  message(FATAL_ERROR "cannot list the symbols of ${OBJECT}")
endif()
if(NOT symbols MATCHES "kOps|::ops")
  message(FATAL_ERROR "${OBJECT} has no table: the check looks at the wrong file")
endif()
string(REGEX MATCHALL "[^\n]* [WVwvu] [^\n]*" shared "${symbols}")
if(shared)
  message(FATAL_ERROR "shared symbols in ${OBJECT}:\n${shared}")
endif()
