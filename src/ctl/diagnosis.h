/* SPDX-License-Identifier: MIT */
/*
 * A diagnosis of the command `why`: what the daemon and this host know of an interface
 * and of one peer, before and after an attempt to reach that peer.
 */
#ifndef CTL_DIAGNOSIS_H
#define CTL_DIAGNOSIS_H

#include "ctl/finding.h"
#include "ctl/network.h"
#include "ctl/snapshot.h"

/**
 * struct ctl_diagnosis - a diagnosis
 * @interface:	name of the interface; borrowed
 * @may_send:	probes may be sent
 * @first:	answer to get=stats before the attempt
 * @last:	the same after it
 * @trace:	answer to get=trace
 * @allowed:	answer to get=allowed_ips
 * @key:	public key of the peer; empty: there is none
 * @title:	the peer in words
 * @target:	address to be reached; AF_UNSPEC: none
 * @is_chosen:	@target was not asked for: it is an allowed IP of the peer
 * @ifindex:	number of the interface; 0: it is not in this network namespace
 * @began_ms:	when the attempt began, in ms of CLOCK_MONOTONIC
 * @spent_ms:	how long it took
 * @has_pinged:	the target was pinged
 * @answer:	result of the last ping, as of ctl_ping()
 * @handshake:	the peer's last handshake, as far as was seen, in seconds
 * @rx_bytes:	bytes received from the peer when that handshake was seen
 * @has_heard:	bytes came from the peer since then
 * @findings:	what was found
 */
struct ctl_diagnosis {
	const char *interface;
	bool may_send;
	struct ctl_snapshot first;
	struct ctl_snapshot last;
	struct ctl_snapshot trace;
	struct ctl_snapshot allowed;
	char key[CTL_KEY_CAP];
	char title[CTL_NAME_CAP];
	union ctl_address target;
	bool is_chosen;
	unsigned int ifindex;
	int64_t began_ms;
	int64_t spent_ms;
	bool has_pinged;
	int answer;
	uint64_t handshake;
	uint64_t rx_bytes;
	bool has_heard;
	struct ctl_findings findings;
};

/**
 * ctl_diagnosis_begin() - ask the daemon
 * @d:		@interface and @may_send are set, all else is zero;
 *		ctl_diagnosis_end() it, also after an error
 *
 * Return: 0; -errno as ctl_snapshot_read().
 */
int ctl_diagnosis_begin(struct ctl_diagnosis *d);

/**
 * ctl_diagnosis_aim() - choose the peer and the address
 * @d:		diagnosis
 * @token:	an address, the name of a peer, its public key, or the first
 *		characters of the key
 *
 * An address that no peer has, and a whole key that no peer has, are a finding.
 *
 * Return: NULL; else what is wrong with the token: a constant.
 */
const char *ctl_diagnosis_aim(struct ctl_diagnosis *d, const char *token);

/* ctl_diagnosis_try() - try to reach the target, for 1 s to 20 s, and ask the daemon
 * again. Return: 0; -errno as ctl_snapshot_read(). */
int ctl_diagnosis_try(struct ctl_diagnosis *d);

/* ctl_diagnosis_end() - free what the diagnosis has */
void ctl_diagnosis_end(struct ctl_diagnosis *d);

/* ctl_diagnosis_peer() - the peer as it was last seen; NULL: there is none */
const struct ctl_peer *ctl_diagnosis_peer(const struct ctl_diagnosis *d);

/* ctl_diagnosis_grew() - by how much a number of the device has grown meanwhile */
uint64_t ctl_diagnosis_grew(const struct ctl_diagnosis *d, const char *key);

/* ctl_diagnosis_has_session() - has the peer a session? */
bool ctl_diagnosis_has_session(const struct ctl_diagnosis *d);

/* ctl_diagnosis_is_unanswered() - was an initiation sent to the peer that had no answer
 * for 3 s? */
bool ctl_diagnosis_is_unanswered(const struct ctl_diagnosis *d);

/* ctl_diagnosis_endpoint() - the peer's endpoint. Return: false: it has none. */
bool ctl_diagnosis_endpoint(const struct ctl_diagnosis *d,
			    union ctl_address *endpoint);

#endif /* CTL_DIAGNOSIS_H */
