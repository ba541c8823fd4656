/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over the files of a corpus, so that the test suite replays
 * all inputs that fuzzing found. An empty corpus is an error, because such a
 * test would test nothing.
 */
#include <dirent.h>
#include <stdio.h>

#include "fuzz/fuzz.h"

enum {
	/* More than any file of a corpus. A choice. */
	INPUT_MAX = 1 << 20
};

static int run_file(const char *dir, const char *name)
{
	char path[4096];
	uint8_t *data;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return -1;
	}
	/* The buffer is on the heap, so that a sanitizer sees reads past its
	 * end. */
	data = malloc(INPUT_MAX);
	len = data ? fread(data, 1, INPUT_MAX, f) : 0;
	fclose(f);
	uint8_t *exact = malloc(len ? len : 1);

	if (data && exact) {
		memcpy(exact, data, len);
		LLVMFuzzerTestOneInput(exact, len);
	}
	free(exact);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		if (!dir) {
			perror(argv[i]);
			return 1;
		}
		while ((entry = readdir(dir))) {
			if (entry->d_name[0] == '.')
				continue;
			if (run_file(argv[i], entry->d_name) < 0)
				return 1;
			n++;
		}
		closedir(dir);
	}
	printf("%zu inputs\n", n);
	return n ? 0 : 1;
}
