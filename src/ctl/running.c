/* SPDX-License-Identifier: MIT */
/* The engine is a child of the starter, and the starter a child of the keeper. */
#include "ctl/running.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* Bytes of a path in /proc of a process, and of any path. */
	PROC_CAP = 64,
	PATH_CAP = 4096,
	/* Children that are looked at. A keeper has one, and a starter one or, during an
	 * upgrade, two. */
	CHILDREN_MAX = 4,
};

/* The children of a process with one thread. Return: how many. */
static size_t find_children(int pid, int children[CHILDREN_MAX])
{
	char path[PROC_CAP];
	size_t n = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (n < CHILDREN_MAX && fscanf(file, "%d", &children[n]) == 1)
		n++;
	fclose(file);
	return n;
}

static bool is_engine(int pid)
{
	char path[PROC_CAP], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		*name = 0;
	fclose(file);
	return strcmp(name, "wg-engine\n") == 0;
}

/* Return: the process; 0: there is none, or more than one. */
static int find_engine(int keeper)
{
	int starters[CHILDREN_MAX], children[CHILDREN_MAX], engine = 0;
	size_t n_starters = find_children(keeper, starters);

	for (size_t i = 0; i < n_starters; i++) {
		size_t n = find_children(starters[i], children);

		for (size_t j = 0; j < n; j++) {
			if (!is_engine(children[j]))
				continue;
			if (engine)
				return 0;
			engine = children[j];
		}
	}
	return engine;
}

/* The file that now has the path of a process's program. */
static bool find_file(int pid, struct stat *out)
{
	/* proc(5): what the path of a file ends with that has lost it. */
	static const char mark[] = " (deleted)";
	char path[PROC_CAP], text[PATH_CAP];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	len = readlink(path, text, sizeof(text) - 1);
	if (len < 0)
		return false;
	text[len] = 0;
	if (len > (ssize_t)strlen(mark) &&
	    strcmp(text + len - strlen(mark), mark) == 0)
		text[len - (ssize_t)strlen(mark)] = 0;
	return stat(text, out) == 0;
}

bool running_is_current(int fd)
{
	struct ucred keeper = { 0 };
	socklen_t len = sizeof(keeper);
	struct stat now, running;
	char path[PROC_CAP];
	int engine;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &keeper, &len) < 0 ||
	    keeper.pid <= 0)
		return false;
	engine = find_engine(keeper.pid);
	snprintf(path, sizeof(path), "/proc/%d/exe", engine);
	return engine && find_file(keeper.pid, &now) &&
	       stat(path, &running) == 0 && now.st_dev == running.st_dev &&
	       now.st_ino == running.st_ino;
}
