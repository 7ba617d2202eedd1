# A cross-compiled tree proves the arithmetic only: the rooms up to kernels and their tests. Their
# libraries are taken as headers from the build machine (headers know no processor), gtest from its
# sources, so nothing of the other architecture has to be installed but its compiler.
set(hadal_only_rooms base tensor kernels)

find_package(Threads REQUIRED)
add_library(header_only INTERFACE)
target_compile_definitions(header_only INTERFACE FMT_HEADER_ONLY SPDLOG_HEADER_ONLY
  SPDLOG_FMT_EXTERNAL)
foreach(library fmt::fmt spdlog::spdlog Boost::json)
  add_library(${library} ALIAS header_only)
endforeach()
add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
