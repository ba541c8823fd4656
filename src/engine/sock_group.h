/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets of the port. Usually there is one socket of the library (which has
 * a descriptor for each family, and side sockets). If the TUN has several queues,
 * there are as many sockets, all on one port (SO_REUSEPORT). The first one, the main
 * socket, sends everything. Each receives for an inbound lane of its own.
 *
 * Legend: [I] immutable after sock_group_open().
 */
#ifndef ENGINE_SOCK_GROUP_H
#define ENGINE_SOCK_GROUP_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/rights.h"
#include "udpgather.h"

/**
 * struct sock_group - the sockets of the port
 * @rights:	[I] by which they were opened, or NULL; see rights_open(). After
 *		sock_group_abandon(): NULL
 * @n:		[I] how many there are
 * @steering_err: [I] -errno of the steering program, because of which there is one
 *		socket; 0: there are as many as were asked for
 * @all:	[I] the first @n; @all[0] is the main socket
 */
struct sock_group {
	const struct rights *rights;
	unsigned int n;
	int steering_err;
	struct ug_socket *all[QUEUES_MAX];
};

/**
 * sock_group_open() - open the sockets of a port
 * @out:	set on success; free it with sock_group_close()
 * @rights:	borrowed until then; NULL: the library is called directly
 * @n:		how many, 1 to QUEUES_MAX
 * @opt:	as for ug_open(), without @reuse_port
 * @report:	as for ug_open()
 *
 * If several are opened, socket i gets the data messages whose receiver index belongs
 * to lane i (index_lane() in device/index.h), and the first one gets all other
 * messages. If the kernel refuses the program that decides this, or @rights cannot open
 * several, one socket is opened.
 * Control thread.
 *
 * Return: 0; -errno: nothing is open.
 */
int sock_group_open(struct sock_group **out, const struct rights *rights,
		    unsigned int n, const struct ug_options *opt,
		    struct ug_report *report);

enum {
	/* Instructions of the steering program. */
	SOCK_GROUP_PROGRAM_LEN = 6,
};

/* sock_group_write_program() - write the program that chooses one of @n sockets. Any
 * thread. */
void sock_group_write_program(struct sock_filter code[SOCK_GROUP_PROGRAM_LEN],
			      unsigned int n);

/* sock_group_close() - close all sockets; NULL is ok. No thread uses them. */
void sock_group_close(struct sock_group *group);

/* sock_group_abandon() - the sockets belong to another process now: sock_group_close()
 * will close our descriptors only. Control thread. */
void sock_group_abandon(struct sock_group *group);

/**
 * sock_group_set_mark() - ug_set_mark() for all sockets
 * @group:	sockets
 * @mark:	the mark
 * @old:	the mark until now
 *
 * Control thread.
 *
 * Return: 0; -errno: the marks of all sockets are as before.
 */
int sock_group_set_mark(struct sock_group *group, uint32_t mark, uint32_t old);

/* sock_group_stop_merging() - ug_set_merging() with false for all sockets */
void sock_group_stop_merging(struct sock_group *group);

/* sock_group_main() - the socket that sends; NULL for NULL. Any thread. */
static inline struct ug_socket *sock_group_main(const struct sock_group *group)
{
	return group ? group->all[0] : NULL;
}

/* sock_group_member() - socket @i; NULL if there are fewer, and for NULL. Any thread. */
static inline struct ug_socket *
sock_group_member(const struct sock_group *group, unsigned int i)
{
	return group && i < group->n ? group->all[i] : NULL;
}

#endif /* ENGINE_SOCK_GROUP_H */
