/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that the service manager keeps over a restart (sd_notify(3), FDSTORE=1):
 * the queues of the TUN, the UDP sockets, and the journal. If the daemon is started
 * again, it gets them back by LISTEN_FDS (sd_listen_fds(3)), and goes on with the same
 * interface and port. Other descriptors that come in this way are not used.
 *
 * A descriptor that comes may be of any kind, whatever its name says. The interface and
 * the service look at it before they use it.
 *
 * Main thread.
 */
#ifndef CLI_STORED_H
#define CLI_STORED_H

#include "cli/notify.h"
#include "engine/bounds.h"
#include "keeper/service.h"
#include "tun/tun.h"

/* The name of the journal's memory (FDNAME=). */
#define STORED_JOURNAL "journal"

enum {
	/* The most descriptors. */
	STORED_MAX = QUEUES_MAX + 1 + SERVICE_FDS_MAX,
	/* Bytes of a name, with the final 0. */
	STORED_NAME_CAP = 16,
};

/**
 * struct stored - what has come back
 * @tuns:	queues of the TUN; the first @n_tuns
 * @n_tuns:	their count
 * @journal:	memory of the journal; -1: none
 * @set:	the UDP sockets, of which only descriptors and their counts are set; its n
 *		is 0 if there are none
 * @has_any:	something has come back
 */
struct stored {
	int tuns[QUEUES_MAX];
	unsigned int n_tuns;
	int journal;
	struct service_set set;
	bool has_any;
};

/* stored_init() - nothing has come back */
void stored_init(struct stored *stored);

/* stored_receive() - take what the service manager has passed to this process */
void stored_receive(struct stored *stored);

/* stored_list() - the descriptors, into STORED_MAX places. Return: their count. */
unsigned int stored_list(const struct stored *stored, int *fds);

/* stored_close_tuns() - close the queues: they are not used */
void stored_close_tuns(struct stored *stored);

/**
 * struct storing - what the service manager is to keep
 * @slots:	a place for each name
 * @n:		their count
 * @dropped_at:	when it was told last to forget one, of now_monotonic(); 0: never
 * @waits_since: when the first of the last @n_waits of storing_wait() was, or 0
 * @n_waits:	their count
 */
struct storing {
	struct storing_slot {
		char name[STORED_NAME_CAP];
		int fd;
		bool is_kept;
		bool is_due;
	} slots[STORED_MAX];
	unsigned int n;
	uint64_t dropped_at;
	uint64_t waits_since;
	unsigned int n_waits;
};

/**
 * storing_init() - nothing is to be kept yet
 * @storing:	caller's storage
 * @stored:	what has come back. The service manager has it still, and forgets it unless
 *		it is to be kept.
 */
void storing_init(struct storing *storing, const struct stored *stored);

/**
 * storing_set() - what is to be kept now, in place of all that was kept before
 * @storing:	storing
 * @tuns:	queues of the TUN
 * @n_tuns:	their count
 * @journal:	memory of the journal; -1: none
 * @set:	UDP sockets; NULL: none
 *
 * The descriptors are borrowed until the next call.
 */
void storing_set(struct storing *storing, const struct tun *tuns,
		 unsigned int n_tuns, int journal,
		 const struct service_set *set);

/* storing_send() - tell the service manager. Return: true; false: its queue is full, so
 * call this again later. */
bool storing_send(struct storing *storing, const struct notify *n);

/* storing_wait() - wait for some milliseconds, if the service manager may still hold a
 * descriptor that it is to forget. Return: false: it does not, or there were too many waits
 * in the last seconds. */
bool storing_wait(struct storing *storing);

#endif /* CLI_STORED_H */
