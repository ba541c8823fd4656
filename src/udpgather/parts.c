/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of a socket go through a struct ug_socket on the stack, which has
 * neither paths nor locks: nothing but opening uses it.
 */
#include "udpgather/parts.h"

#include <errno.h>

#include "udpgather/opening.h"

enum {
	/* As a main socket's buffer is taken to be if its size is not known. */
	SNDBUF_DEFAULT = 1 << 20,
};

static void take_parts(struct ug_parts *parts, struct opening *o)
{
	parts->port = o->sock->port;
	for (int f = 0; f < FAMILIES; f++) {
		const struct family *fam = &o->sock->families[f];

		parts->fds[f] = fam->fd;
		parts->n_sides[f] = fam->sides.n;
		parts->sndbuf[f] = ug_opening_report(o, f)->sndbuf;
		for (unsigned int i = 0; i < fam->sides.n; i++)
			parts->sides[f][i] = fam->sides.fds[i];
	}
}

static void init_socket(struct ug_socket *sock)
{
	sock->sys = &ug_sys_linux;
	for (int f = 0; f < FAMILIES; f++) {
		sock->families[f].fd = -1;
		sock->families[f].af = f == FAMILY_V4 ? AF_INET : AF_INET6;
	}
}

int ug_parts_open(struct ug_parts *parts, const struct ug_options *opt,
		  struct ug_report *report)
{
	struct ug_socket sock = { 0 };
	struct opening o = { .sock = &sock, .opt = *opt };
	int err;

	init_socket(&sock);
	err = ug_opening_open(&o);
	ug_opening_complete(&o, err);
	*report = o.report;
	if (err == 0)
		take_parts(parts, &o);
	return err;
}

int ug_parts_open_group(struct ug_parts *parts, unsigned int n,
			const struct ug_options *opt, struct ug_report *report)
{
	struct ug_socket main = { 0 };
	struct opening first = { .sock = &main, .opt = *opt, .is_first = true };

	for (unsigned int i = 0; i < n; i++) {
		struct ug_socket sock = { 0 };
		struct opening more = { .sock = &sock, .opt = *opt };
		struct opening *o = i ? &more : &first;
		int err;

		init_socket(o->sock);
		o->n_group_sides = opt->side_sockets;
		o->opt.side_sockets = 0;
		o->opt.reuse_port = true;
		if (i)
			o->opt.port = parts[0].port;
		err = ug_opening_open(o);
		ug_opening_complete(o, err);
		*report = o->report;
		if (err < 0) {
			while (i)
				ug_parts_close(&parts[--i]);
			return err;
		}
		take_parts(&parts[i], o);
	}
	ug_opening_open_group_sides(&first);
	take_parts(&parts[0], &first);
	return 0;
}

void ug_parts_close(struct ug_parts *parts)
{
	for (int f = 0; f < FAMILIES; f++) {
		if (parts->fds[f] >= 0)
			ug_sys_linux.close(parts->fds[f]);
		parts->fds[f] = -1;
		for (unsigned int i = 0; i < parts->n_sides[f]; i++)
			ug_sys_linux.close(parts->sides[f][i]);
		parts->n_sides[f] = 0;
	}
}

int ug_parts_set_mark(const struct ug_parts *parts, uint32_t mark)
{
	for (int f = 0; f < FAMILIES; f++) {
		if (parts->fds[f] < 0)
			continue;
		for (unsigned int i = 0; i <= parts->n_sides[f]; i++)
			if (ug_sys_linux.setsockopt(i ? parts->sides[f][i - 1]
						      : parts->fds[f],
						    SOL_SOCKET, SO_MARK, &mark,
						    sizeof(mark)) < 0)
				return -errno;
	}
	return 0;
}

int ug_parts_get_mark(const struct ug_parts *parts, uint32_t *mark)
{
	int fd = parts->fds[parts->fds[FAMILY_V4] >= 0 ? FAMILY_V4 : FAMILY_V6];
	socklen_t len = sizeof(*mark);

	return ug_sys_linux.getsockopt(fd, SOL_SOCKET, SO_MARK, mark, &len) < 0
		       ? -errno
		       : 0;
}

static void adopt_family(struct opening *o, int f, const struct ug_parts *parts)
{
	struct family *fam = &o->sock->families[f];
	size_t sndbuf = parts->sndbuf[f] ? parts->sndbuf[f] : SNDBUF_DEFAULT;

	fam->sides.are_in_group = o->opt.reuse_port;
	fam->fd = parts->fds[f];
	ug_opening_set_offloads(o, f, fam->fd);
	fam->sides.n = parts->n_sides[f];
	for (unsigned int i = 0; i < parts->n_sides[f]; i++)
		fam->sides.fds[i] = parts->sides[f][i];
	/* SIOCOUTQ counts in twice the size. */
	fam->sides.main_cap = 2 * (int64_t)sndbuf;
}

int ug_parts_adopt(struct ug_socket **out, const struct ug_parts *parts,
		   const struct ug_options *opt, const struct ug_socket *first,
		   bool is_group)
{
	struct opening o = { .first = first };
	int err = ug_opening_begin(&o, &ug_sys_linux, opt);

	if (err < 0)
		return err;
	o.opt.reuse_port = is_group;
	for (int f = 0; f < FAMILIES; f++) {
		o.wanted[f] = parts->fds[f] >= 0;
		if (o.wanted[f])
			adopt_family(&o, f, parts);
	}
	o.sock->port = o.report.port = parts->port;
	return ug_opening_end(&o, 0, out, NULL);
}
