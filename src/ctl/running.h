/* SPDX-License-Identifier: MIT */
/* The program that a daemon runs. One thread. */
#ifndef CTL_RUNNING_H
#define CTL_RUNNING_H

#include <stdbool.h>

/**
 * running_is_current() - is the engine of a daemon made of the file that now has the path
 * of the daemon's program?
 * @fd:		a connection to a socket of the daemon's keeper
 *
 * The keeper is not replaced by an upgrade, so its program has the path that the daemon
 * was started from.
 *
 * Return: false also if it cannot be found out, such as by a user who may not look.
 */
bool running_is_current(int fd);

#endif /* CTL_RUNNING_H */
