/* SPDX-License-Identifier: MIT */
/*
 * Calls of sockets by numbers of their own. See socketcall.c.
 */
#ifndef ISOLATE_SOCKETCALL_H
#define ISOLATE_SOCKETCALL_H

#include <stdbool.h>

/**
 * socketcall_is_avoided() - are the program's calls of sockets such that a filter
 *			     sees their arguments?
 *
 * Any thread.
 */
bool socketcall_is_avoided(void);

#endif /* ISOLATE_SOCKETCALL_H */
