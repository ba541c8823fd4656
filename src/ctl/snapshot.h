/* SPDX-License-Identifier: MIT */
/*
 * What the statistics socket of an interface tells (docs/statistics.md): asked for
 * once, and cut into keys and values.
 *
 * One thread.
 */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Characters of a public key in base64, with the final 0. */
	CTL_KEY_CAP = 45,
	/* Bytes of a peer's name, with the final 0. A choice: a longer one is cut. */
	CTL_NAME_CAP = 64,
	/* A daemon that does not answer for so long is not asked any longer. A
	 * choice. */
	CTL_PATIENCE_S = 10,
};

/* The directory of the sockets of all tunnels but those of directory.h. */
#define CTL_DIRECTORY "/var/run/wireguard"

/* The sockets of an interface. */
enum ctl_socket {
	CTL_CONFIG,  /* its configuration */
	CTL_STATS,   /* its statistics */
	CTL_UPGRADE, /* requests to its keeper (base/upgrade.h) */
};

/* A line of an answer. */
struct ctl_line {
	const char *key;
	const char *value;
};

/**
 * struct ctl_lines - the lines of a device or of a peer
 * @all:	the lines, in their order
 * @n:		how many
 */
struct ctl_lines {
	struct ctl_line *all;
	size_t n;
};

/**
 * struct ctl_peer - a peer
 * @key:	its public key in base64
 * @name:	its name from the configuration; empty: it has none
 * @lines:	its other lines
 */
struct ctl_peer {
	char key[CTL_KEY_CAP];
	char name[CTL_NAME_CAP];
	struct ctl_lines lines;
};

/**
 * struct ctl_snapshot - an answer
 * @interface:	the interface that was asked for
 * @device:	lines of the device
 * @peers:	@n_peers peers
 * @n_peers:	how many
 * @text:	private: the memory of all lines
 */
struct ctl_snapshot {
	char interface[32];
	struct ctl_lines device;
	struct ctl_peer *peers;
	size_t n_peers;
	char *text;
};

/**
 * ctl_connect() - connect to the statistics socket of an interface
 * @interface:	its name
 *
 * A tunnel of this user (directory.h) comes before another one of the same name.
 *
 * Return: the socket, for read(2) and write(2); -errno, such as -ENOENT and
 * -ECONNREFUSED: no such daemon runs; -EACCES: this user may not.
 */
int ctl_connect(const char *interface);

/* ctl_connect_to() - the same with another socket of an interface */
int ctl_connect_to(const char *interface, enum ctl_socket which);

/**
 * ctl_set() - send a request to the configuration socket of an interface
 * @interface:	its name
 * @request:	lines of the UAPI, with the empty one at the end
 * @len:	its length
 *
 * Return: 0; -errno of the daemon, which then has changed nothing; -errno as
 * ctl_connect(); -EPROTO: the answer makes no sense; -ETIMEDOUT.
 */
int ctl_set(const char *interface, const char *request, size_t len);

/**
 * ctl_snapshot_read() - ask an interface, and read the names of its peers
 * @snapshot:	filled on success; ctl_snapshot_free() it
 * @interface:	its name
 * @request:	"get=stats" or "get=trace"
 *
 * Return: 0; -EPROTO: the answer makes no sense; -ETIMEDOUT; -ENOMEM; another
 * -errno as ctl_connect().
 */
int ctl_snapshot_read(struct ctl_snapshot *snapshot, const char *interface,
		      const char *request);

/* ctl_snapshot_free() - free what ctl_snapshot_read() has made */
void ctl_snapshot_free(struct ctl_snapshot *snapshot);

/* ctl_get() - the value of the first line with a key; NULL: there is none */
const char *ctl_get(const struct ctl_lines *lines, const char *key);

/* ctl_number() - the value as a number; 0 if there is none */
uint64_t ctl_number(const struct ctl_lines *lines, const char *key);

/**
 * ctl_key_from_hex() - a key in base64
 * @out:	filled on success
 * @hex:	64 hex digits, and whatever follows
 *
 * Return: false if these are no 64 hex digits.
 */
bool ctl_key_from_hex(char out[CTL_KEY_CAP], const char *hex);

/**
 * ctl_interfaces() - the interfaces that have a statistics socket
 * @n:		set to how many
 *
 * Return: their names, sorted, in one block that free(3) frees; NULL: there are none.
 */
char **ctl_interfaces(size_t *n);

/* ctl_interfaces_with() - the same with another socket. Sockets of daemons that were
 * killed count, too. */
char **ctl_interfaces_with(enum ctl_socket which, size_t *n);

#endif /* CTL_SNAPSHOT_H */
