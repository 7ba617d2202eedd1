# A cross-compiled tree proves the arithmetic only: the rooms up to kernels and their tests. Their
# libraries are taken as headers from the build machine (headers know no processor), gtest from its
# sources, so nothing of the other architecture has to be installed but its compiler.
set(hadal_only_rooms base tensor kernels)

find_package(Threads REQUIRED)
add_library(header_only INTERFACE)
target_compile_definitions(header_only INTERFACE FMT_HEADER_ONLY SPDLOG_HEADER_ONLY
  SPDLOG_FMT_EXTERNAL)
foreach(library fmt::fmt spdlog::spdlog)
  add_library(${library} ALIAS header_only)
endforeach()
# Boost.JSON brings its sources as one header, which one file of ours compiles.
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/boost_json.cc CONTENT "#include <boost/json/src.hpp>\n")
add_library(boost_json STATIC ${PROJECT_BINARY_DIR}/boost_json.cc)
add_library(Boost::json ALIAS boost_json)
add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
