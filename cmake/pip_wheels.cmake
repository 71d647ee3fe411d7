# Makes the CMake exports of the ROS 2 wheels usable: give this file as -DCMAKE_PROJECT_INCLUDE.
#
# 1. The wheels' imported targets name include directories of the machine they were built on, and CMake stops at a
#    directory that does not exist: those entries are dropped.
# 2. A virtual environment inside the source tree puts numpy's headers there, and CMake refuses to export a target that
#    points into its own source: those entries are kept for the build and left out of the export.
# Both are done when the whole project has been read, before it is generated.

function(repair_include_directories)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  get_property(built DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS imported built)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT directories)
      continue()
    endif()
    set(repaired)
    foreach(directory IN LISTS directories)
      if(directory MATCHES "^\\$<")
        list(APPEND repaired "${directory}")
      elseif(target IN_LIST built)
        list(APPEND repaired "$<BUILD_INTERFACE:${directory}>")
      elseif(EXISTS "${directory}")
        list(APPEND repaired "${directory}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${repaired}")
  endforeach()
endfunction()

cmake_language(DEFER CALL repair_include_directories)
