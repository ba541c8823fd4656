/* SPDX-License-Identifier: MIT */
/* Opening with another table of system calls, for tests. */
#ifndef UDPGATHER_OPEN_H
#define UDPGATHER_OPEN_H

#include "udpgather/socket.h"

/* ug_socket_open_with() - ug_open() with another table of system calls */
int ug_socket_open_with(const struct ug_sys *sys, struct ug_socket **out,
			const struct ug_options *opt, struct ug_report *report);

/* ug_socket_open_group_with() - ug_open_group() with another table of system calls */
int ug_socket_open_group_with(const struct ug_sys *sys, struct ug_socket **out,
			      unsigned int n, const struct ug_options *opt,
			      struct ug_report *report);

/* ug_socket_adopt_with() - ug_open_fds() with another table of system calls */
int ug_socket_adopt_with(const struct ug_sys *sys, struct ug_socket **out,
			 const int fds[FAMILIES], const struct ug_options *opt,
			 struct ug_report *report);

#endif /* UDPGATHER_OPEN_H */
