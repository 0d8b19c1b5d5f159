# What `make install` puts where: library, headers, pkg-config and CMake package files, program, recipes, the demo's texts, documents.
include(CMakePackageConfigHelpers)
set(data ${CMAKE_INSTALL_DATADIR}/coterie)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/coterie)

install(TARGETS coterie EXPORT coterie LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS coterie_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/coterie DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY recipes claims DESTINATION ${data} FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY data/demo DESTINATION ${data}/data)
install(PROGRAMS tools/demo.sh DESTINATION ${data})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.bib")
install(FILES LICENSE CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.c")

# For those who build against it: pkg-config, and find_package(coterie) with the target coterie::coterie.
file(RELATIVE_PATH COTERIE_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/coterie.pc.in coterie.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/coterie.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT coterie NAMESPACE coterie:: FILE coterieConfig.cmake DESTINATION ${package})
write_basic_package_version_file(coterieConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/coterieConfigVersion.cmake DESTINATION ${package})

# Manual pages come from the tables of the program, which writes them; completion asks the program as one types.
set(ZSH_COMPLETIONS ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where zsh looks for completion functions")
# Their date is that of the release, so that they are the same whenever they are made.
file(STRINGS CHANGELOG.md release REGEX "^## ${PROJECT_VERSION} - ")
string(REGEX REPLACE ".* - " "" release "${release}")
set_source_files_properties(apps/coterie/manual.c PROPERTIES COMPILE_DEFINITIONS COTERIE_RELEASED="${release}")
if(NOT CMAKE_CROSSCOMPILING)
  set(manual ${CMAKE_BINARY_DIR}/manual)
  add_custom_command(OUTPUT ${manual}/coterie.1 DEPENDS coterie_program
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${manual} COMMAND ${CMAKE_COMMAND} -E make_directory ${manual}
    COMMAND coterie_program --manual ${manual})
  add_custom_target(manual ALL DEPENDS ${manual}/coterie.1)
  install(DIRECTORY ${manual}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
  install(DIRECTORY ${manual}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man5 FILES_MATCHING PATTERN "*.5")
endif()
install(FILES apps/completion/coterie.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME coterie)
install(FILES apps/completion/_coterie DESTINATION ${ZSH_COMPLETIONS})
