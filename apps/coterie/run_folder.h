/* What a run's folder says besides its model. */
#ifndef COTERIE_APP_RUN_FOLDER_H
#define COTERIE_APP_RUN_FOLDER_H

#include <coterie/config.h>

/* The recipe of the run that `folder` is or lies in (RUN, RUN/best, RUN/kept/step-100); *out NULL when there is
 * none. */
cot_status run_recipe(const char *folder, cot_config **out);

#endif
