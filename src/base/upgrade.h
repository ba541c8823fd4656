/* SPDX-License-Identifier: MIT */
/*
 * The messages between `wiregatherctl upgrade` and the keeper of a tunnel. The keeper
 * listens on a Unix socket of the kind SOCK_SEQPACKET beside the configuration socket:
 * DIRECTORY/NAME.upgrade is a symbolic link to DIRECTORY/upgrade/NAME.upgrade, since
 * some programs take each socket in DIRECTORY itself for one that configures an
 * interface. The keeper serves its own user and root, by SO_PEERCRED.
 *
 * A connection has one request, of exactly sizeof(struct upgrade_request) bytes, and one
 * reply, of exactly sizeof(struct upgrade_reply) bytes. The reply comes when the upgrade
 * is over: when the new engine serves, or when the old one goes on. Then the keeper
 * closes the connection. Both ends run on one machine, so numbers have its byte order.
 *
 * Each end checks what comes from the other one. Nothing in this file changes without
 * UPGRADE_VERSION, but the version, which stays the first member of both structs: the
 * two programs may be of different releases.
 */
#ifndef BASE_UPGRADE_H
#define BASE_UPGRADE_H

#include <assert.h>
#include <stdint.h>

/* The socket's file is NAME.UPGRADE_SUFFIX. */
#define UPGRADE_SUFFIX "upgrade"

enum {
	UPGRADE_VERSION = 1,
	/* Bytes of the reason of a failure, with the final 0. */
	UPGRADE_WHY_CAP = 400,
	/* Seconds that wiregatherctl waits for the reply. The keeper gives an upgrade up
	 * before that. A choice: an upgrade takes less than a second. */
	UPGRADE_PATIENCE_S = 30,
};

/**
 * struct upgrade_request - have another program go on for the engine
 * @version:	UPGRADE_VERSION
 * @has_program: 1: the message has one descriptor (SCM_RIGHTS), opened with O_RDONLY, of
 *		the program; 0: it has none, and the program is the file that now has the
 *		path of the running one
 */
struct upgrade_request {
	uint32_t version;
	uint32_t has_program;
};

/**
 * struct upgrade_reply - what became of it
 * @version:	UPGRADE_VERSION of the keeper. It also answers a request of another
 *		version or length, by @err -EPROTONOSUPPORT
 * @err:	0: the new engine serves; -errno: the old one goes on
 * @why:	on failure: one printable line without a newline, which says why; it ends
 *		with a 0, and all bytes behind it are 0. On success: all bytes are 0
 */
struct upgrade_reply {
	uint32_t version;
	int32_t err;
	char why[UPGRADE_WHY_CAP];
};

static_assert(sizeof(struct upgrade_request) == 8, "no padding");
static_assert(sizeof(struct upgrade_reply) == 8 + UPGRADE_WHY_CAP,
	      "no padding");

#endif /* BASE_UPGRADE_H */
