# Warnings and sanitizers, for every target of this project and for none of the generated code.
add_library(overlay_options INTERFACE)
target_compile_options(overlay_options INTERFACE -Wall -Wextra)
if(OVERLAY_WERROR)
  target_compile_options(overlay_options INTERFACE -Werror)
endif()
target_include_directories(overlay_options INTERFACE ${CMAKE_SOURCE_DIR})

if(OVERLAY_SANITIZE)
  add_compile_options(-fsanitize=${OVERLAY_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${OVERLAY_SANITIZE})
  # The packaged Abseil is not instrumented; without this its header-only containers disagree with it
  # about sanitizer hooks and the first flat_hash_map insert may crash.
  add_compile_definitions(NDEBUG_SANITIZER)
  target_sources(overlay_options INTERFACE
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:${CMAKE_SOURCE_DIR}/cmake/asan_options.cc>)
endif()

if(OVERLAY_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "OVERLAY_FUZZ needs Clang: libFuzzer is its library")
  endif()
  # Coverage in every library, so that libFuzzer sees into what it feeds.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
