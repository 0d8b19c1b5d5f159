/* Runs files, and all files of folders, through the fuzz target that it is linked with. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

/* Exactly as long as the file, so that a step beyond its end is one beyond the block. */
static void run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || stat(path, &info) != 0) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    const size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size ? size : 1);
    FUZZ_CHECK(data && fread(data, 1, size, file) == size);
    fclose(file);
    const int64_t blocks = cot_memory_blocks();
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    if (cot_memory_blocks() == blocks) return;
    fprintf(stderr, "%s: %lld blocks are not given back\n", path, (long long)(cot_memory_blocks() - blocks));
    exit(1);
}

/* Returns how many files there are. */
static int run_all(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        run_file(path);
        return 1;
    }
    int count = 0;
    DIR *folder = opendir(path);
    FUZZ_CHECK(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char name[1024];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        count += run_all(name);
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    for (int i = 1; i < argc; i++) count += run_all(argv[i]);
    printf("%d inputs\n", count);
    return count > 0 ? 0 : 1;
}
