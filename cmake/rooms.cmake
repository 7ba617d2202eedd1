# How a room becomes a library and a test program. Nothing is listed by hand: sources and tests are
# found by name, the layer table of tools/layers.txt says what a room links.

add_library(hadal_flags INTERFACE)
target_include_directories(hadal_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
# GCC 12 sees overlaps and overruns in std::string's own concatenation (GCC bugs 105651, 105329);
# the clang builds keep these warnings.
target_compile_options(hadal_flags INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow>)
target_compile_options(hadal_flags INTERFACE -Wall -Wextra -Wshadow -Wvla -fno-strict-aliasing
  $<$<BOOL:${HADAL_WERROR}>:-Werror> $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
target_compile_definitions(hadal_flags INTERFACE
  $<$<BOOL:${HADAL_DCHECK}>:HADAL_DCHECK=1> HADAL_VERSION="${PROJECT_VERSION}")
# So that ccache can tell one precompiled header from another.
target_compile_options(hadal_flags INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>
  "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:SHELL:-Xclang -fno-pch-timestamp>")
if(HADAL_SANITIZE)
  target_compile_options(hadal_flags INTERFACE -fsanitize=${HADAL_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  string(REPLACE ",fuzzer-no-link" "" link_sanitize "${HADAL_SANITIZE}")
  target_link_options(hadal_flags INTERFACE -fsanitize=${link_sanitize})
endif()

# Libraries from outside, by room. A room also sees what the rooms below it link.
set(hadal_libs_base fmt::fmt spdlog::spdlog Boost::json Threads::Threads)
set(hadal_libs_store sqlite3 xxhash OpenSSL::Crypto)
set(hadal_libs_model xxhash)
set(hadal_libs_net Boost::url OpenSSL::SSL OpenSSL::Crypto CURL::libcurl)
set(hadal_libs_app CLI11::CLI11 yaml-cpp edit zip)

# What nearly every file includes, compiled once per library and program. Files still name what they
# use: the arm64 tree has no such header.
set(hadal_common_headers <algorithm> <array> <atomic> <chrono> <cstdint> <filesystem> <functional>
  <map> <memory> <mutex> <optional> <span> <string> <string_view> <thread> <unordered_map> <variant>
  <vector> <boost/json.hpp> <fmt/format.h>)
function(hadal_precompile target)
  if(NOT CMAKE_CROSSCOMPILING)
    target_precompile_headers(${target} PRIVATE ${hadal_common_headers} ${ARGN})
  endif()
endfunction()

# One test program per room keeps linking cheap.
function(hadal_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE ${T_LINK} GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE HADAL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  hadal_precompile(${name} <gtest/gtest.h>)
  add_test(NAME ${name} COMMAND ${name})
  if(T_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT})
  endif()
endfunction()

function(hadal_room name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "/isa_[^/]*$")     # compiled per ISA, see cmake/isa.cmake
  list(FILTER sources EXCLUDE REGEX "/testing/")        # for tests only
  list(FILTER sources EXCLUDE REGEX "/app/main\\.cc$")  # the program itself
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC hadal_flags ${ARGN} ${hadal_libs_${name}})
  hadal_precompile(${name})
  if(EXISTS ${PROJECT_SOURCE_DIR}/cmake/${name}.cmake)
    include(${PROJECT_SOURCE_DIR}/cmake/${name}.cmake)  # what only this room needs
  endif()
  if(tests)
    hadal_test(${name}_test SOURCES ${tests} LINK ${name} ${hadal_test_libs_${name}} TIMEOUT 300)
  endif()
endfunction()

# Reads "room: rooms below it" lines. A room without sources yet is skipped, and so are those that
# hadal_only_rooms leaves out.
function(hadal_rooms table)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
  file(STRINGS ${table} lines REGEX "^[a-z]+:")
  foreach(line ${lines})
    string(REGEX MATCH "^([a-z]+):(.*)$" _ "${line}")
    set(room ${CMAKE_MATCH_1})
    string(REGEX MATCHALL "[a-z]+" below "${CMAKE_MATCH_2}")
    file(GLOB_RECURSE present CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*.cc)
    if(hadal_only_rooms AND NOT room IN_LIST hadal_only_rooms)
      continue()
    endif()
    if(present)
      set(existing "")
      foreach(other ${below})
        if(TARGET ${other})
          list(APPEND existing ${other})
        endif()
      endforeach()
      hadal_room(${room} ${existing})
    endif()
  endforeach()
endfunction()
