/* SPDX-License-Identifier: MIT */
/*
 * The files that a program needs between its execution and the moment when it gives up
 * all files: its own file, its libraries, and what these read.
 */
#ifndef ISOLATE_PLACES_H
#define ISOLATE_PLACES_H

#include "isolate/landlock.h"

/**
 * places_allow() - let the running program and its libraries be loaded again
 * @landlock:	landlock
 * @program_fd:	the program's file
 *
 * A rule belongs to a file, and an upgrade puts another file in the place of a program or
 * library. So all files may be executed that are in the directory of the program, of a
 * library that is loaded, or in a directory in which the dynamic linker looks. A file or
 * directory that is not there, or may not be reached, is left out.
 *
 * Return: 0; -errno: descriptors or memory ran out, or the kernel refuses.
 */
int places_allow(const struct landlock *landlock, int program_fd);

#endif /* ISOLATE_PLACES_H */
