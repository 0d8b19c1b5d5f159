/* Recipe and claim files by name. */
#define _POSIX_C_SOURCE 200809L
#include <coterie/claims.h>
#include <coterie/recipes.h>

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/data_folder.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/options.h"

static bool is_folder(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static bool is_file(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && !S_ISDIR(s.st_mode);
}

/* A kind of file that comes with Coterie. */
typedef struct {
    const char *folder, *variable, *singular;
} shelf;

static const shelf recipes_shelf = {"recipes", "COTERIE_RECIPES", "recipe"},
                   claims_shelf = {"claims", "COTERIE_CLAIMS", "claim"};

/* Writes the index-th folder that may hold them, "" for an unknown one; false past the end. */
static bool folder_at(const shelf *s, size_t index, char *out, size_t bytes)
{
    const char *own = getenv(s->variable);
    char place[PATH_MAX - 16];
    if (index > 0 && !cot_data_folder(index - 1, place, sizeof place)) return false;
    if (index == 0) snprintf(out, bytes, "%s", own ? own : "");
    else snprintf(out, bytes, "%s%s%s", place, *place ? "/" : "", *place ? s->folder : "");
    return true;
}

/* Writes the folder with the files; false when there is none. */
static bool find_folder(const shelf *s, char *out, size_t bytes)
{
    for (size_t i = 0; folder_at(s, i, out, bytes); i++)
        if (is_folder(out)) return true;
    return false;
}

static cot_status fail_folder(const shelf *s)
{
    char place[PATH_MAX], list[1024] = "";
    size_t used = 0;
    for (size_t i = 1; used < sizeof list && folder_at(s, i, place, sizeof place); i++)
        if (*place) used += (size_t)snprintf(list + used, sizeof list - used, ", %s", place);
    return cot_fail(COT_IO, "no folder with %s; looked at $%s%s", s->folder, s->variable, list);
}

static char *join(const char *directory, const char *file)
{
    const size_t bytes = strlen(directory) + strlen(file) + 2;
    char *path = cot_malloc(bytes);
    if (path) snprintf(path, bytes, "%s/%s", directory, file);
    return path;
}

/* The first line, where it is a comment, without its mark; a copy. */
static char *read_summary(const char *path)
{
    char line[512] = "";
    FILE *f = fopen(path, "r");
    if (f && !fgets(line, sizeof line, f)) line[0] = '\0';
    if (f) fclose(f);
    line[strcspn(line, "\r\n")] = '\0';
    return cot_strdup(line[0] == '#' ? line + 1 + strspn(line + 1, " ") : "");
}

static int is_recipe(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 5 && entry->d_name[0] != '.' && strcmp(entry->d_name + length - 5, ".yaml") == 0;
}

void cot_recipes_destroy(cot_recipe *recipes, size_t count)
{
    for (size_t i = 0; recipes && i < count; i++) {
        cot_free(recipes[i].name);
        cot_free(recipes[i].path);
        cot_free(recipes[i].summary);
    }
    cot_free(recipes);
}

static bool fill(cot_recipe *recipe, const char *place, const char *file)
{
    recipe->name = cot_strndup(file, strlen(file) - 5);
    recipe->path = join(place, file);
    recipe->summary = recipe->path ? read_summary(recipe->path) : NULL;
    return recipe->name && recipe->summary;
}

static cot_status list_files(const shelf *s, cot_recipe **out, size_t *count)
{
    *out = NULL;
    *count = 0;
    char place[PATH_MAX];
    if (!find_folder(s, place, sizeof place)) return fail_folder(s);
    struct dirent **files;
    const int n = scandir(place, &files, is_recipe, alphasort);
    if (n < 0) return cot_fail(COT_IO, "%s: cannot be listed", place);
    cot_recipe *recipes = cot_calloc(((size_t)n + 1) * sizeof *recipes);
    bool complete = recipes != NULL;
    for (int i = 0; i < n; i++) {
        complete = complete && fill(&recipes[i], place, files[i]->d_name);
        free(files[i]);  /* scandir's own memory */
    }
    free(files);
    if (!complete) {
        cot_recipes_destroy(recipes, (size_t)n);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory to list the %s in %s", s->folder, place);
    }
    *out = recipes;
    *count = (size_t)n;
    return COT_OK;
}

static const char *recipe_name(const void *recipes, size_t index) { return ((const cot_recipe *)recipes)[index].name; }

static cot_status find_by_name(const shelf *s, const char *name, const cot_recipe *recipes, size_t count, char **path)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(recipes[i].name, name) != 0) continue;
        *path = cot_plain_strdup(recipes[i].path);
        return *path ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory to find %s '%s'", s->singular, name);
    }
    char help[512];
    cot_suggest(s->folder, name, count, recipe_name, recipes, help, sizeof help);
    return cot_fail(COT_NOT_FOUND, "'%.200s' is neither a file nor a %s%s", name, s->singular, help);
}

static cot_status find_file(const shelf *s, const char *name, char **path)
{
    *path = NULL;
    if (!name || !*name) return cot_fail(COT_INVALID, "no %s named", s->singular);
    if (is_file(name)) {
        *path = cot_plain_strdup(name);
        return *path ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory to find %s '%s'", s->singular, name);
    }
    cot_recipe *recipes;
    size_t count;
    COT_TRY(list_files(s, &recipes, &count));
    const cot_status status = find_by_name(s, name, recipes, count, path);
    cot_recipes_destroy(recipes, count);
    return status;
}

cot_status cot_recipes_list(cot_recipe **out, size_t *count) { return list_files(&recipes_shelf, out, count); }
cot_status cot_recipes_find(const char *name, char **path) { return find_file(&recipes_shelf, name, path); }
cot_status cot_claims_list(cot_recipe **out, size_t *count) { return list_files(&claims_shelf, out, count); }
cot_status cot_claims_find(const char *name, char **path) { return find_file(&claims_shelf, name, path); }
