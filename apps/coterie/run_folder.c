#include "run_folder.h"

#include <stdio.h>
#include <sys/stat.h>

cot_status run_recipe(const char *folder, cot_config **out)
{
    static const char *const places[] = {"recipe.yaml", "../recipe.yaml", "../../recipe.yaml"};
    *out = NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, places[i]);
        if (stat(path, &info) == 0) return cot_config_read(path, out);
    }
    return COT_OK;
}
