/* SPDX-License-Identifier: MIT */
/*
 * Socket calls, each by a number of its own. socketcall.c says why.
 */
#ifndef ISOLATE_SOCKETCALL_H
#define ISOLATE_SOCKETCALL_H

#include <stdbool.h>

/**
 * socketcall_is_avoided() - can a filter see the arguments of the program's
 *			     socket calls?
 *
 * Any thread.
 */
bool socketcall_is_avoided(void);

#endif /* ISOLATE_SOCKETCALL_H */
