# find_package(dal_fast 1 CONFIG) gives dal_fast::dal_fast, wherever this tree lies, and
# dal_fast_BUNDLE, the file of the default weights.
get_filename_component(_dal_fast_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET dal_fast::dal_fast)
  add_library(dal_fast::dal_fast SHARED IMPORTED)
  set_target_properties(dal_fast::dal_fast PROPERTIES
    IMPORTED_LOCATION "${_dal_fast_root}/lib/libdal_fast.so.1"
    IMPORTED_SONAME libdal_fast.so.1
    INTERFACE_INCLUDE_DIRECTORIES "${_dal_fast_root}/include")
endif()
set(dal_fast_BUNDLE "${_dal_fast_root}/share/dal_fast/default.dalb")
unset(_dal_fast_root)
