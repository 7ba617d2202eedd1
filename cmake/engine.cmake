# The simulator (./dev sim); a short run of it is among the room's tests.
add_library(engine_simulator STATIC EXCLUDE_FROM_ALL
  ${PROJECT_SOURCE_DIR}/src/engine/testing/simulator.cc)
target_link_libraries(engine_simulator PUBLIC engine)
add_executable(sim EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/src/engine/testing/sim_main.cc)
target_link_libraries(sim PRIVATE engine_simulator)
set(hadal_test_libs_engine engine_simulator)
