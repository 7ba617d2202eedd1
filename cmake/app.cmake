# The web page: web/web.pack is embedded by the assembler. Without the file the program says so
# when asked for "/".
find_package(ZLIB REQUIRED)
set(hadal_web_pack ${PROJECT_SOURCE_DIR}/web/web.pack)
if(NOT EXISTS ${hadal_web_pack})
  set(hadal_web_pack ${PROJECT_BINARY_DIR}/empty.pack)
  file(WRITE ${hadal_web_pack} "")
endif()
target_sources(app PRIVATE ${PROJECT_SOURCE_DIR}/src/app/web_pack_data.S)
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/app/web_pack_data.S PROPERTIES
  OBJECT_DEPENDS ${hadal_web_pack}
  COMPILE_DEFINITIONS HADAL_WEB_PACK="${hadal_web_pack}")
target_link_libraries(app PUBLIC ZLIB::ZLIB)

# The model inside the program.
set(hadal_nano ${PROJECT_SOURCE_DIR}/src/app/nano/nano.gguf)
target_sources(app PRIVATE ${PROJECT_SOURCE_DIR}/src/app/embedded_model_data.S)
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/app/embedded_model_data.S PROPERTIES
  OBJECT_DEPENDS ${hadal_nano}
  COMPILE_DEFINITIONS HADAL_NANO="${hadal_nano}")
