/* Manual pages, for whoever builds a package: `coterie --manual DIR`. */
#ifndef COTERIE_APP_MANUAL_H
#define COTERIE_APP_MANUAL_H

#include "cli.h"

/* Writes coterie.1, coterie-COMMAND.1 for every command, and coterie-recipe.5 into a folder that exists. Returns an
 * exit code. */
int manual_write(const cli_command *const *commands, const char *folder);

#endif
