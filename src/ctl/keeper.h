/* SPDX-License-Identifier: MIT */
/*
 * An interface whose endpoints are kept current: its configuration file, its peers that
 * have an endpoint by name or a backup, the events of its daemon, and the endpoints that
 * are set.
 *
 * One thread. Points of time are those of ctl/choice.h.
 */
#ifndef CTL_KEEPER_H
#define CTL_KEEPER_H

#include <sys/types.h>
#include <time.h>

#include "ctl/hosts.h"
#include "ctl/stream.h"

struct keeper_peer;

/**
 * struct keeper - an interface. All members but @stream.fd, which is to be waited for,
 *		   are private.
 * @interface:	its name
 * @path:	its configuration file
 * @hosts:	the names of all interfaces
 * @stream:	the daemon's events; closed: there is no daemon
 * @peers:	@n peers, sorted by their keys
 * @n:		how many
 * @stamp:	when the file was changed that was read last
 * @size:	and its size and inode
 * @inode:
 * @interval_ms: time between two looks
 * @look_ms:	when to look at all peers, or to look for a daemon
 * @error:	-errno of the last attempt to reach the daemon; 0: it was reached
 */
struct keeper {
	const char *interface;
	char *path;
	struct hosts *hosts;
	struct stream stream;
	struct keeper_peer *peers;
	size_t n;
	struct timespec stamp;
	off_t size;
	ino_t inode;
	int64_t interval_ms;
	int64_t look_ms;
	int error;
};

/* keeper_now() - the present, as ctl/choice.h has it */
int64_t keeper_now(void);

/**
 * keeper_init() - read the configuration of an interface
 * @keeper:	caller's storage; keeper_deinit() it in any case
 * @interface:	the interface; borrowed
 * @path:	its configuration file; NULL: that of wg-quick(8)
 * @hosts:	names; borrowed
 * @interval_s:	time between two looks at all peers
 *
 * Return: true; false: the file cannot be used, and a line on stderr says why.
 */
bool keeper_init(struct keeper *keeper, const char *interface, const char *path,
		 struct hosts *hosts, unsigned int interval_s);

/* keeper_deinit() - let go of the interface */
void keeper_deinit(struct keeper *keeper);

/* keeper_reload() - look now, and read the file again if it has changed */
void keeper_reload(struct keeper *keeper);

/* keeper_read() - read events; the stream can be read */
void keeper_read(struct keeper *keeper);

/* keeper_answer() - a name was resolved, or could not be */
void keeper_answer(struct keeper *keeper, const struct host *host,
		   const struct resolver_answer *answer);

/**
 * keeper_work() - do what is due: connect, look, and set endpoints
 * @keeper:	an interface
 * @due:	set to when to call it again without news
 *
 * Return: false: the daemon cannot be reached, or has refused something; a line on
 * stderr has said why.
 */
bool keeper_work(struct keeper *keeper, int64_t *due);

#endif /* CTL_KEEPER_H */
