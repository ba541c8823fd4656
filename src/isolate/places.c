/* SPDX-License-Identifier: MIT */
/*
 * The loader opens a library by the name that the program or another library gives, or
 * that dlopen(3) was called with. It looks in the directories of LD_LIBRARY_PATH and of
 * DT_RUNPATH, in those that ldconfig(8) has put into /etc/ld.so.cache, and in those that
 * it has been built with. The directories of ldconfig(8) that are not in the list below
 * are known only as far as a library was loaded from them.
 */
#include "isolate/places.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

/* The loader itself is executed: the kernel opens it. */
#define LOADED (LANDLOCK_EXECUTE | LANDLOCK_READ)

static const struct place {
	const char *path;
	uint64_t rights;
} fixed[] = {
	{ "/lib", LOADED },
	{ "/lib32", LOADED },
	{ "/lib64", LOADED },
	{ "/usr/lib", LOADED },
	{ "/usr/lib32", LOADED },
	{ "/usr/lib64", LOADED },
	{ "/usr/local/lib", LOADED },
	{ "/usr/local/lib64", LOADED },
	/* Of the loader. */
	{ "/etc/ld.so.cache", LANDLOCK_READ },
	{ "/etc/ld.so.preload", LANDLOCK_READ },
	/* For the time of day in the log. */
	{ "/etc/localtime", LANDLOCK_READ },
	{ "/usr/share/zoneinfo", LANDLOCK_READ },
	/* The number of processors, of glibc and liburcu. */
	{ "/sys/devices/system/cpu", LANDLOCK_READ | LANDLOCK_LIST },
	/* Settings of the kernel that glibc's malloc(3) and some builds of libcrypto
	 * look at. */
	{ "/proc/sys", LANDLOCK_READ },
	/* An engine lists its own threads. */
	{ "/proc", LANDLOCK_LIST },
};

static int allow(const struct landlock *landlock, const char *path,
		 uint64_t rights)
{
	int err = landlock_allow_path(landlock, path, rights);

	return err == -EMFILE || err == -ENFILE || err == -ENOMEM ? err : 0;
}

/* The directory of a file, whose name may lead there by links. */
static int allow_directory_of(const struct landlock *landlock, const char *path)
{
	char real[PATH_MAX], *last;

	if (!realpath(path, real))
		return 0;
	last = strrchr(real, '/');
	/* A rule for the root directory would allow everything. */
	if (last && last != real)
		*last = 0;
	return allow(landlock, real, LOADED);
}

/* musl reads its directories from a file whose name is like that of its loader. */
static int allow_list_of_musl(const struct landlock *landlock,
			      const char *loader)
{
	static const char head[] = "ld-musl-", tail[] = ".so.1";
	const char *slash = strrchr(loader, '/');
	const char *name = slash ? slash + 1 : loader;
	size_t len = strlen(name);
	char path[PATH_MAX];

	if (strncmp(name, head, strlen(head)) != 0 || len <= strlen(tail))
		return 0;
	snprintf(path, sizeof(path), "/etc/%.*s.path",
		 (int)(len - strlen(tail)), name);
	return allow(landlock, path, LANDLOCK_READ);
}

/* For dl_iterate_phdr(3). The program itself has an empty name. Return: 0, to go on;
 * -errno. */
static int allow_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	const struct landlock *landlock = arg;
	int err;

	(void)size;
	if (!info->dlpi_name || info->dlpi_name[0] != '/')
		return 0;
	err = allow_directory_of(landlock, info->dlpi_name);
	return err < 0 ? err : allow_list_of_musl(landlock, info->dlpi_name);
}

#ifdef __GLIBC__

/* The directories in which the loader looks for libraries of the program. The working
 * directory, which an empty name in LD_LIBRARY_PATH stands for, may be the root. */
static int allow_search_path(const struct landlock *landlock)
{
	void *program = dlopen(NULL, RTLD_LAZY);
	Dl_serinfo size, *all = NULL;
	int err = 0;

	if (program && dlinfo(program, RTLD_DI_SERINFOSIZE, &size) == 0)
		all = malloc(size.dls_size);
	if (all && dlinfo(program, RTLD_DI_SERINFOSIZE, all) == 0 &&
	    dlinfo(program, RTLD_DI_SERINFO, all) == 0)
		for (unsigned int i = 0; err == 0 && i < all->dls_cnt; i++) {
			const char *path = all->dls_serpath[i].dls_name;

			if (path[0] == '/' && path[1])
				err = allow(landlock, path, LOADED);
		}
	free(all);
	if (program)
		dlclose(program);
	return err;
}

#else

static int allow_search_path(const struct landlock *landlock)
{
	(void)landlock;
	return 0;
}

#endif

static int allow_program(const struct landlock *landlock, int program_fd)
{
	int err = landlock_allow(landlock, program_fd, LOADED);
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *last;

	/* A program in memory that has no path needs no rule. */
	if (err < 0 && err != -EBADFD)
		return err;
	if (len <= 0)
		return 0;
	path[len] = 0;
	/* Not by realpath(3): the file may have been replaced already. */
	last = strrchr(path, '/');
	if (!last || last == path)
		return 0;
	*last = 0;
	return allow(landlock, path, LOADED);
}

/* A library that the program loads by its path, not by its name. */
static int allow_own_library(const struct landlock *landlock)
{
#ifdef PLACES_LIBRARY
	return allow_directory_of(landlock, PLACES_LIBRARY);
#else
	(void)landlock;
	return 0;
#endif
}

int places_allow(const struct landlock *landlock, int program_fd)
{
	int err = allow_program(landlock, program_fd);

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(fixed); i++)
		err = allow(landlock, fixed[i].path, fixed[i].rights);
	if (err == 0)
		err = allow_search_path(landlock);
	if (err == 0)
		err = allow_own_library(landlock);
	if (err == 0)
		err = dl_iterate_phdr(allow_object,
				      (void *)(uintptr_t)landlock);
	return err;
}
