/*
 * replay.c: the inputs kept in a folder (the seeds, and whatever a fuzzer has found once), each
 * given to the target of the same name. Without a fuzzer, so that every build runs them.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *folder, const char *name)
{
	char path[4096];
	FILE *file;
	uint8_t *data;
	long size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		return -1;
	rewind(file);
	/* No byte more than there is: a sanitizer sees what reads beyond. */
	data = malloc(size > 0 ? (size_t)size : 1);
	if (data == NULL || fread(data, 1, (size_t)size, file) != (size_t)size)
		return -1;
	fclose(file);
	printf("%s: %ld bytes\n", name, size);
	fflush(stdout);
	(void)LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	const struct dirent *entry;
	unsigned count = 0;
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

	if (dir == NULL) {
		fprintf(stderr, "usage: replay FOLDER\n");
		return 2;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (replay(argv[1], entry->d_name) != 0) {
			perror(entry->d_name);
			return 1;
		}
		count++;
	}
	closedir(dir);
	/* A folder without inputs proves nothing. */
	return count > 0 ? 0 : 1;
}
