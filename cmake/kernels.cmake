# The instruction set files: one object each, with the machine flags only there, optimised in every
# preset (a test at -O0 would wait for the kernels), and checked for symbols that the linker could
# pick for another processor.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(isa_flags_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
  set(isa_flags_avx512 ${isa_flags_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
    -mprefer-vector-width=512)
  foreach(isa avx2 avx512)
    add_library(kernels_${isa} OBJECT ${PROJECT_SOURCE_DIR}/src/kernels/cpu/isa_${isa}.cc)
    target_link_libraries(kernels_${isa} PRIVATE hadal_flags)
    target_compile_options(kernels_${isa} PRIVATE -O3 -ffp-contract=off $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized> ${isa_flags_${isa}})
    target_sources(kernels PRIVATE $<TARGET_OBJECTS:kernels_${isa}>)
    if(NOT HADAL_SANITIZE)  # sanitizers add weak symbols of their own
      add_test(NAME kernels_isa_symbols_${isa} COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM}
        -DOBJECT=$<TARGET_OBJECTS:kernels_${isa}> -P ${PROJECT_SOURCE_DIR}/cmake/isa_symbols.cmake)
    endif()
  endforeach()
  target_compile_definitions(kernels PRIVATE HADAL_X86_KERNELS=1)
endif()
