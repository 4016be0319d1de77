# find_package(dal_fast 1 CONFIG) gives dal_fast::dal_fast, wherever this tree lies, and dal_fast_BUNDLE, the file of
# the default weights. With COMPONENTS openvino it finds OpenVINO as well, by OpenVINO's own package (OpenVINO_DIR) or
# beside this one, as pip installs both, and gives dal_fast_ENGINE: what dal_options.engine_path takes.
get_filename_component(_dal_fast_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET dal_fast::dal_fast)
  add_library(dal_fast::dal_fast SHARED IMPORTED)
  set_target_properties(dal_fast::dal_fast PROPERTIES
    IMPORTED_LOCATION "${_dal_fast_root}/lib/libdal_fast.so.1"
    IMPORTED_SONAME libdal_fast.so.1
    INTERFACE_INCLUDE_DIRECTORIES "${_dal_fast_root}/include")
endif()
set(dal_fast_BUNDLE "${_dal_fast_root}/share/dal_fast/default.dalb")

foreach(_dal_fast_component IN LISTS dal_fast_FIND_COMPONENTS)
  set(_dal_fast_missing "there is no component ${_dal_fast_component}")
  if(_dal_fast_component STREQUAL "openvino")
    set(_dal_fast_missing "OpenVINO was not found; name the folder of its OpenVINOConfig.cmake in OpenVINO_DIR")
    find_package(OpenVINO QUIET CONFIG COMPONENTS Runtime HINTS "${_dal_fast_root}/../openvino/cmake")
    if(OpenVINO_FOUND AND TARGET openvino::runtime::c)
      get_target_property(dal_fast_ENGINE openvino::runtime::c LOCATION)
      set(dal_fast_openvino_FOUND TRUE)
    endif()
  endif()
  if(NOT dal_fast_${_dal_fast_component}_FOUND AND dal_fast_FIND_REQUIRED_${_dal_fast_component})
    set(dal_fast_FOUND FALSE)
    set(dal_fast_NOT_FOUND_MESSAGE "dal_fast: ${_dal_fast_missing}")
  endif()
endforeach()
unset(_dal_fast_component)
unset(_dal_fast_missing)
unset(_dal_fast_root)
