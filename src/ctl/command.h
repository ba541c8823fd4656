/* SPDX-License-Identifier: MIT */
/*
 * The command that runs in the tunnel. The process becomes the command, so its exit
 * status, its signals, its terminal and its place among the jobs of a shell are those of
 * the command.
 *
 * One thread.
 */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include <stdbool.h>

enum {
	/* Exit statuses for a command that cannot be started, as of env(1). */
	COMMAND_NOT_EXECUTABLE = 126,
	COMMAND_NOT_FOUND = 127,
};

/**
 * struct command - what is to be started
 * @words:	the command and its arguments, NULL behind the last; without any: a
 *		shell
 * @directory:	the working directory
 * @was_closed:	which of the descriptors 0 to 2 were closed
 */
struct command {
	char **words;
	char *directory;
	bool was_closed[3];
};

/**
 * command_init() - note the surroundings, and close what the command does not get
 * @command:	filled
 * @words:	borrowed
 *
 * Descriptors from 3 on are closed: a socket of the caller would lead past the tunnel.
 * Those of 0 to 2 that are closed lead to /dev/null until the command starts, so that no
 * file gets their numbers.
 *
 * Return: 0; -errno: a line on stderr says why.
 */
int command_init(struct command *command, char **words);

/**
 * command_exec() - become the command
 * @command:	of command_init()
 *
 * In a user namespace the command keeps the rights to raw sockets and to ports below
 * 1024 of its network namespace.
 *
 * Return: COMMAND_NOT_FOUND or COMMAND_NOT_EXECUTABLE; a line on stderr says why.
 */
int command_exec(const struct command *command);

/* command_free() - free what command_init() has made */
void command_free(struct command *command);

#endif /* CTL_COMMAND_H */
