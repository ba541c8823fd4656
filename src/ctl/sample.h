/* SPDX-License-Identifier: MIT */
/*
 * The counters of all interfaces at one moment, and how fast they have grown since an
 * earlier moment. A sample keeps numbers only, so that two of them take little memory.
 *
 * One thread.
 */
#ifndef CTL_SAMPLE_H
#define CTL_SAMPLE_H

#include "ctl/snapshot.h"

enum {
	/* Bytes of a title and of an endpoint, with the final 0. Choices: longer ones
	 * are cut. */
	CTL_SAMPLE_TITLE_CAP = 40,
	CTL_SAMPLE_ENDPOINT_CAP = 56,
	/* Bytes of the name of a counter of drops. */
	CTL_SAMPLE_REASON_CAP = 48,
	/* Bytes of what ctl_sample_print() prints. */
	CTL_SAMPLE_NUMBER_CAP = 16,
};

/* Counters of an interface that have rates. */
enum ctl_quantity {
	CTL_IN_BYTES,
	CTL_IN_DATAGRAMS,
	CTL_IN_MESSAGES,
	CTL_OUT_BYTES,
	CTL_OUT_DATAGRAMS,
	CTL_OUT_MESSAGES,
	CTL_DROPS, /* all counters of drops together */
	CTL_QUANTITIES,
};

/**
 * struct ctl_reason - a counter of drops
 * @key:	its key in get=stats
 * @total:	its value
 * @rate:	growth for each second
 */
struct ctl_reason {
	char key[CTL_SAMPLE_REASON_CAP];
	uint64_t total;
	double rate;
};

/**
 * struct ctl_device - an interface
 * @interface:	its name
 * @err:	0; -errno: it does not answer, and nothing else is set
 * @is_up:	the interface is up
 * @n_peers:	peers that are configured
 * @n_sessions:	those of them that have a session
 * @n_attention: things to look at
 * @totals:	the counters
 * @rates:	their growth for each second; 0 in the first sample
 * @reasons:	the counters of drops
 * @n_reasons:	how many
 */
struct ctl_device {
	char interface[32];
	int err;
	bool is_up;
	size_t n_peers;
	size_t n_sessions;
	size_t n_attention;
	uint64_t totals[CTL_QUANTITIES];
	double rates[CTL_QUANTITIES];
	struct ctl_reason *reasons;
	size_t n_reasons;
};

/**
 * struct ctl_row - a peer
 * @interface:	name of its interface
 * @key:	its public key in base64
 * @title:	its name, or the start of its key
 * @endpoint:	"-": it has none
 * @handshake:	when the last session began, in seconds since 1970; 0: never
 * @rx:		bytes received
 * @tx:		bytes sent
 * @dropped:	packets dropped because of their inner source
 * @in:		growth of @rx for each second
 * @out:	growth of @tx for each second
 * @drops:	growth of @dropped for each second
 */
struct ctl_row {
	char interface[32];
	char key[CTL_KEY_CAP];
	char title[CTL_SAMPLE_TITLE_CAP];
	char endpoint[CTL_SAMPLE_ENDPOINT_CAP];
	uint64_t handshake;
	uint64_t rx;
	uint64_t tx;
	uint64_t dropped;
	double in;
	double out;
	double drops;
};

/* What rows are sorted by. */
enum ctl_order {
	CTL_BY_IN,
	CTL_BY_OUT,
	CTL_BY_HANDSHAKE, /* the youngest first */
	CTL_BY_DROPS,
	CTL_BY_NAME,
	CTL_ORDERS,
};

/**
 * struct ctl_sample - all interfaces and peers at one moment; at first all zero
 * @devices:	@n_devices interfaces, in the order in which they were added
 * @n_devices:	how many
 * @rows:	@n_rows peers
 * @n_rows:	how many
 */
struct ctl_sample {
	struct ctl_device *devices;
	size_t n_devices;
	struct ctl_row *rows;
	size_t n_rows;
};

/**
 * ctl_sample_add() - add an interface
 * @sample:	gets it; ctl_sample_free() it
 * @snapshot:	answer to get=stats
 * @before:	an earlier sample, which ctl_sample_end() has ended
 * @seconds:	how much earlier; 0: there is no earlier one
 *
 * A counter that is smaller than before belongs to a daemon that was started anew, so
 * all of it is growth.
 *
 * Return: 0; -ENOMEM.
 */
int ctl_sample_add(struct ctl_sample *sample,
		   const struct ctl_snapshot *snapshot,
		   const struct ctl_sample *before, double seconds);

/* ctl_sample_add_error() - add an interface that does not answer. Return: 0; -ENOMEM. */
int ctl_sample_add_error(struct ctl_sample *sample, const char *interface,
			 int err);

/* ctl_sample_end() - all interfaces were added; the next sample may compare with it */
void ctl_sample_end(struct ctl_sample *sample);

/**
 * ctl_sample_order() - the peers in an order
 * @sample:	sample
 * @order:	what they are sorted by; peers that are equal are sorted by name
 * @is_reversed: the other way round
 *
 * Return: @n_rows pointers into the sample, which free(3) frees; NULL: there is no
 * memory.
 */
const struct ctl_row **ctl_sample_order(const struct ctl_sample *sample,
					enum ctl_order order, bool is_reversed);

/* ctl_sample_free() - free what is in it, and set it to zero */
void ctl_sample_free(struct ctl_sample *sample);

/**
 * ctl_sample_print() - a number of at most four digits with a prefix of 1,000s
 * @out:	filled, such as "3.1 G", "412" or "19 k"
 * @value:	not negative
 *
 * Return: @out.
 */
const char *ctl_sample_print(char out[CTL_SAMPLE_NUMBER_CAP], double value);

/**
 * ctl_sample_order_from() - an order by its name
 * @name:	"in", "out", "handshake", "drops" or "name"
 *
 * Return: enum ctl_order; -1: it is none of these.
 */
int ctl_sample_order_from(const char *name);

#endif /* CTL_SAMPLE_H */
