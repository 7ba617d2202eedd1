# The instruction set files: one object each, with the machine flags only there, optimised in every
# preset (a test at -O0 would wait for the kernels), and checked for symbols that the linker could
# pick for another processor. Other processors than these compute with the reference versions.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(isas avx2 avxvnni avx512 amx)
  set(isa_flags_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
  set(isa_flags_avxvnni ${isa_flags_avx2} -mavxvnni)
  set(isa_flags_avx512 ${isa_flags_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
    -mprefer-vector-width=512)
  set(isa_flags_amx ${isa_flags_avx512} -mamx-tile -mamx-int8)
  target_compile_definitions(kernels PRIVATE HADAL_X86_KERNELS=1)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(isas neon_dot neon_i8mm)
  # GCC's scheduling before the allocation of registers costs a fifth more instructions in spills.
  set(neon_flags $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>)
  set(isa_flags_neon_dot -march=armv8.2-a+dotprod ${neon_flags})
  set(isa_flags_neon_i8mm -march=armv8.2-a+dotprod+i8mm ${neon_flags})
  target_compile_definitions(kernels PRIVATE HADAL_NEON_KERNELS=1)
endif()

function(hadal_isa_object target isa)
  set(source ${PROJECT_SOURCE_DIR}/src/kernels/cpu/isa_${isa}.cc)
  add_library(${target} OBJECT ${source})
  if(HADAL_SANITIZE MATCHES "address")
    # Addresses only, large functions checked through calls: with UBSan, coverage and every check in
    # place each of these files takes clang over six minutes; like this, a third of one.
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
      "-O1;-fno-sanitize=undefined,fuzzer-no-link;-mllvm;-asan-instrumentation-with-call-threshold=500")
  endif()
  target_link_libraries(${target} PRIVATE hadal_flags)
  target_compile_options(${target} PRIVATE -O3 -ffp-contract=off "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>" ${ARGN})
endfunction()

foreach(isa ${isas})
  hadal_isa_object(kernels_${isa} ${isa} ${isa_flags_${isa}})
  target_sources(kernels PRIVATE $<TARGET_OBJECTS:kernels_${isa}>)
  if(NOT HADAL_SANITIZE)  # sanitizers add weak symbols of their own
    add_test(NAME kernels_isa_symbols_${isa} COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM}
      -DOBJECT=$<TARGET_OBJECTS:kernels_${isa}> -P ${PROJECT_SOURCE_DIR}/cmake/isa_symbols.cmake)
  endif()
endforeach()

# For tests on processors with AVX-512 but without AVX-VNNI or AMX: the same source, the other
# encoding; tiles in software.
if("avxvnni" IN_LIST isas)
  hadal_isa_object(kernels_avxvnni_stand_in avxvnni ${isa_flags_avx2} -mavx512vl -mavx512vnni)
  target_compile_definitions(kernels_avxvnni_stand_in PRIVATE HADAL_STAND_IN=1)
  hadal_isa_object(kernels_amx_stand_in amx ${isa_flags_avx512})
  target_compile_definitions(kernels_amx_stand_in PRIVATE HADAL_STAND_IN=1)
  set(hadal_test_libs_kernels kernels_avxvnni_stand_in kernels_amx_stand_in)
endif()
