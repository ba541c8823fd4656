/* SPDX-License-Identifier: MIT */
/*
 * The parts of opening a socket. open.c opens sockets and binds them, adopt.c takes
 * descriptors that somebody else opened. Both begin and end in opening.c, which
 * checks the options and completes the report. prepare.c sets the socket options.
 */
#ifndef UDPGATHER_OPENING_H
#define UDPGATHER_OPENING_H

#include "udpgather/socket.h"

/**
 * struct opening - one call of ug_open() or ug_open_fds()
 * @sock:	the socket that is being made
 * @opt:	a copy of the caller's options
 * @report:	what has happened so far
 * @wanted:	the families that the caller asked for
 * @is_first:	with the option reuse_port: fail if another socket has the port
 * @first:	the first socket of the group that the socket will be one of, or NULL
 * @n_group_sides: side sockets of each family that the group's first socket will have
 */
struct opening {
	struct ug_socket *sock;
	struct ug_options opt;
	struct ug_report report;
	bool wanted[FAMILIES];
	bool is_first;
	const struct ug_socket *first;
	unsigned int n_group_sides;
};

/* ug_opening_report() - the report of family @f */
static inline struct ug_family_report *ug_opening_report(struct opening *o,
							 int f)
{
	return f == FAMILY_V4 ? &o->report.v4 : &o->report.v6;
}

/* ug_opening_fail() - note the step that failed. Return: @err. */
static inline int ug_opening_fail(struct ug_family_report *r, const char *step,
				  int err)
{
	r->err = err;
	r->step = step;
	return err;
}

/* ug_opening_set_int() - set an option. Return: 0; -1 with errno. */
static inline int ug_opening_set_int(const struct opening *o, int fd, int level,
				     int name, int value)
{
	return o->sock->sys->setsockopt(fd, level, name, &value, sizeof(value));
}

/* ug_opening_get_int() - read an option. Return: 0; -1 with errno. */
static inline int ug_opening_get_int(const struct opening *o, int fd, int level,
				     int name, int *value)
{
	socklen_t len = sizeof(*value);

	*value = 0;
	return o->sock->sys->getsockopt(fd, level, name, value, &len);
}

/**
 * ug_opening_begin() - make a socket without descriptors
 * @o:		all zero but @is_first and @first; filled on success
 * @sys:	the system calls
 * @opt:	the caller's options, which may be of another version, or NULL
 *
 * Return: 0; -EINVAL for options that make no sense; -ENOMEM.
 */
int ug_opening_begin(struct opening *o, const struct ug_sys *sys,
		     const struct ug_options *opt);

/**
 * ug_opening_end() - give the caller the report, and the socket or nothing
 * @o:		what ug_opening_begin() made. If @err is not 0, its socket has no
 *		descriptors, and is freed.
 * @err:	0, or the -errno that opening ends with
 * @out:	set to the socket if @err is 0
 * @report:	filled, or NULL
 *
 * Return: @err.
 */
int ug_opening_end(struct opening *o, int err, struct ug_socket **out,
		   struct ug_report *report);

/* ug_opening_open() - open and bind the sockets that the options ask for. On failure
 * none is open. Return: 0; -errno. */
int ug_opening_open(struct opening *o);

/* ug_opening_open_group_sides() - open the side sockets of a group's first socket. It
 * goes without them if that fails. */
void ug_opening_open_group_sides(struct opening *o);

/* ug_opening_complete() - make the report agree with the result @err */
void ug_opening_complete(struct opening *o, int err);

/* ug_socket_free() - free a socket that has no descriptors (any more) */
void ug_socket_free(struct ug_socket *sock);

/* ug_opening_pmtu_value() - what the kernel calls @mode; -1 for "leave it" and for
 * modes that do not exist */
int ug_opening_pmtu_value(enum ug_pmtu mode);

/* ug_opening_buffer_len() - what an option for the length of a buffer means: a number
 * of bytes, or UG_BUFFER_KEEP */
size_t ug_opening_buffer_len(const struct opening *o, size_t len);

/**
 * ug_opening_set_common() - set the options that every socket needs
 * @o:		the opening; a failure is in its report
 * @f:		the family
 * @fd:		its descriptor
 *
 * Return: 0; -errno.
 */
int ug_opening_set_common(struct opening *o, int f, int fd);

/* ug_opening_set_offloads() - switch merging on, unless the port is shared, and note
 * what the kernel can do */
void ug_opening_set_offloads(struct opening *o, int f, int fd);

#endif /* UDPGATHER_OPENING_H */
