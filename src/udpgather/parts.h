/* SPDX-License-Identifier: MIT */
/*
 * A socket in two steps, for two processes: one that may open and bind sockets, and one
 * that sends and receives. The first step allocates no memory.
 */
#ifndef UDPGATHER_PARTS_H
#define UDPGATHER_PARTS_H

#include "udpgather/socket.h"

/**
 * struct ug_parts - the descriptors of a socket
 * @fds:	of the main socket of each family; -1: that family is not open
 * @sides:	of the side sockets
 * @n_sides:	number of side sockets of each family
 * @sndbuf:	bytes of send buffer of each main socket, 0: not known
 * @port:	of all of them
 */
struct ug_parts {
	int fds[FAMILIES];
	int sides[FAMILIES][UG_MAX_SIDE_SOCKETS];
	unsigned int n_sides[FAMILIES];
	size_t sndbuf[FAMILIES];
	uint16_t port;
};

/**
 * ug_parts_open() - open and bind the descriptors as ug_open() does
 * @parts:	filled on success; ug_parts_close() it
 * @opt:	of the size of this version, and valid
 * @report:	filled
 *
 * Return: 0; as ug_open().
 */
int ug_parts_open(struct ug_parts *parts, const struct ug_options *opt,
		  struct ug_report *report);

/**
 * ug_parts_open_group() - open and bind the descriptors as ug_open_group() does
 * @parts:	@n of them, filled on success; ug_parts_close() each
 * @n:		how many, at least 1
 * @opt:	of the size of this version, and valid
 * @report:	filled
 *
 * Return: 0; as ug_open_group().
 */
int ug_parts_open_group(struct ug_parts *parts, unsigned int n,
			const struct ug_options *opt, struct ug_report *report);

/* ug_parts_close() - close the descriptors */
void ug_parts_close(struct ug_parts *parts);

/* ug_parts_get_mark() - the mark of the descriptors. Return: 0; -errno. */
int ug_parts_get_mark(const struct ug_parts *parts, uint32_t *mark);

/* ug_parts_set_mark() - mark all descriptors. Return: 0; -errno: some may be marked. */
int ug_parts_set_mark(const struct ug_parts *parts, uint32_t mark);

/**
 * ug_parts_adopt() - make a socket of descriptors that ug_parts_open() has opened
 * @out:	set on success to the socket, which then owns the descriptors
 * @parts:	the descriptors, consumed on success only
 * @opt:	as they were opened with; may have other members for this process
 * @first:	the first socket of the group, or NULL if this is it
 * @is_group:	the descriptors are of ug_parts_open_group()
 *
 * Changes no option of the descriptors but UDP_GRO.
 *
 * Return: 0; -EINVAL; -ENOMEM.
 */
int ug_parts_adopt(struct ug_socket **out, const struct ug_parts *parts,
		   const struct ug_options *opt, const struct ug_socket *first,
		   bool is_group);

#endif /* UDPGATHER_PARTS_H */
