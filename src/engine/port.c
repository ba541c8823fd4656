/* SPDX-License-Identifier: MIT */
/*
 * The port opens the sockets when the link goes up, and closes them when it
 * goes down. If opening fails, the tunnel must not stay without sockets for
 * good: perhaps another process has the port, and will give it up. Then
 * @wants_open is set, and port_tick() tries again until the sockets are open
 * or the link goes down.
 */
#include "engine/port.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "device/schedule.h"
#include "engine/bounds.h"
#include "engine/endpoint.h"
#include "engine/events.h"

/* The time from one attempt to open the sockets to the next. A choice. */
#define AGAIN_NS NSEC_PER_SEC

enum {
	/* Bytes of each buffer of a UDP socket: the library's own choice, which holds
	 * a burst of 100 full trains. */
	BUFFER_LEN = 7 << 20,
};

/* -------------------------------------------------------------- the log */

/* Put a notice of the library into the log. The thread that sends calls it. */
static void report_notice(void *arg, enum ug_notice notice,
			  const struct ug_endpoint *ep, int err, int value)
{
	static struct log_limit limit;
	char text[ENDPOINT_NUMERIC_TEXT] = "";

	if (!ep)
		return;
	endpoint_print_numeric(ep, text, sizeof(text));
	switch (notice) {
	case UG_NOTICE_ENDPOINT_UNSEGMENTED:
		events_segmentation(arg, ep, "unsegmented", value);
		log_limited(&limit, "%s: sending without segmentation: %s",
			    text, strerror(err));
		break;
	case UG_NOTICE_ENDPOINT_CAPPED:
		events_segmentation(arg, ep, "capped", value);
		log_limited(&limit, "%s: segments of %d bytes do not pass: %s",
			    text, value, strerror(err));
		break;
	case UG_NOTICE_ENDPOINT_RECOVERED:
		events_segmentation(arg, ep, "recovered", value);
		log_limited(&limit, "%s: segments of %d bytes pass again", text,
			    value);
		break;
	case UG_NOTICE_ENDPOINT_ASIDE:
		events_segmentation(arg, ep, "aside", value);
		log_limited(&limit, "%s: packets pile up: side socket %d", text,
			    value);
		break;
	default:
		break;
	}
}

static void report_family(const char *what, const struct ug_family_report *r)
{
	if (r->err && r->err != -ENOENT)
		log_event("%s is not there: %s: %s", what, r->step,
			  strerror(-r->err));
}

static void report_sides(const struct ug_socket *sock)
{
	if (ug_side_fd(sock, AF_INET, 0) == -ENOENT ||
	    ug_side_fd(sock, AF_INET6, 0) == -ENOENT)
		log_event("no side sockets: a slow peer may delay others");
}

/* @r: the family that has opened */
static void report_buffers(const struct ug_family_report *r)
{
	if (r->rcvbuf < BUFFER_LEN || r->sndbuf < BUFFER_LEN)
		log_event("the buffers of the UDP sockets are short: %zu and "
			  "%zu bytes of %d: net.core.rmem_max and wmem_max "
			  "limit them without CAP_NET_ADMIN",
			  r->rcvbuf, r->sndbuf, BUFFER_LEN);
}

static void report_failure(uint16_t number, int err)
{
	/* The process that opens sockets has ended. So does this one. */
	if (err != -EPIPE)
		log_error("cannot listen on port %u: %s", number,
			  strerror(-err));
}

static void report_mark_failure(uint32_t fwmark, int err)
{
	log_error("cannot set the fwmark %#x: %s%s", fwmark, strerror(-err),
		  err == -EPERM ? " (this takes CAP_NET_ADMIN where the UDP "
				  "sockets are)"
				: "");
}

/* ------------------------------------------------------------- the sockets */

void port_get_options(struct ug_options *opt, bool finds_mtu)
{
	*opt = (struct ug_options){
		.size = sizeof(*opt),
		/* IPv4 without DF ("do not fragment"), as the kernel module
		 * sends. To find path MTUs all datagrams have DF. The kernel
		 * does not use the path MTU that it knows itself, because it
		 * believes every ICMP message that quotes our ports. */
		.pmtu4 = finds_mtu ? UG_PMTU_PROBE : UG_PMTU_DONT,
		.pmtu6 = finds_mtu ? UG_PMTU_PROBE : UG_PMTU_DEFAULT,
		.buffer_len = BUFFER_LEN,
		.want = finds_mtu ? UG_WANT_ERRORS : 0,
		.side_sockets = SIDE_SOCKETS,
	};
}

static int open_sockets(struct port *p, uint16_t number, uint32_t fwmark,
			struct sock_group **out)
{
	struct ug_options opt;
	struct ug_report report = { .size = sizeof(report) };
	enum ug_reason reason = UG_REASON_NONE;

	port_get_options(&opt, p->finds_mtu);
	opt.port = number;
	opt.mark = fwmark;
	opt.notice = report_notice;
	opt.notice_arg = p->events;
	int err = sock_group_open(out, p->sockets->rights, p->n_sockets, &opt,
				  &report);

	report_family("IPv4", &report.v4);
	report_family("IPv6", &report.v6);
	if (err < 0)
		return err;
	if ((*out)->steering_err) {
		log_event("one UDP socket, not %u: no steering: %s",
			  p->n_sockets, strerror(-(*out)->steering_err));
		p->n_sockets = 1;
	}
	if (p->segments_off)
		ug_set_segments(sock_group_main(*out), UG_SEGMENTS_OFF);
	if (p->merging_off)
		sock_group_stop_merging(*out);
	report_sides(sock_group_main(*out));
	report_buffers(report.v4.err ? &report.v6 : &report.v4);
	if (ug_get_segments(sock_group_main(*out), AF_INET, &reason) > 0 &&
	    reason == UG_REASON_BAD_KERNEL)
		log_error("sending nearly all without segmentation: %s",
			  ug_reason_text(reason));
	return 0;
}

static void note_open(struct port *p, const struct sock_group *group)
{
	p->number = ug_port(sock_group_main(group));
	log_event("listening on port %u", p->number);
	events_listening(p->events, p->number);
}

/* Open the new sockets before the old ones are closed. */
static int change_number(struct port *p, uint16_t number, uint32_t fwmark)
{
	struct sock_group *next;

	if (number && number == p->number)
		return 0;
	int err = open_sockets(p, number, fwmark, &next);

	if (err < 0)
		return err;
	note_open(p, next);
	sockets_replace(p->sockets, next, p->ops->poke, p->arg);
	return 0;
}

/* No sockets are open, and there may never be any with this mark: try it now. */
static int try_mark(struct port *p, uint32_t fwmark)
{
	struct sock_group *trial;
	int err;

	if (p->is_open || !fwmark)
		return 0;
	err = open_sockets(p, 0, fwmark, &trial);
	if (err == 0)
		sock_group_close(trial);
	return err;
}

/* No sockets are open: try the number now, and keep it for later. */
static int remember_number(struct port *p, uint16_t number, uint32_t fwmark)
{
	struct sock_group *trial;

	if (number || p->wants_open) {
		int err = open_sockets(p, number, fwmark, &trial);

		if (err < 0)
			return err;
		sock_group_close(trial);
	}
	if (p->wants_open) {
		p->again = 0;
		p->ops->wake(p->arg);
	}
	p->number = number;
	return 0;
}

/* Take port and mark that another process has accepted. The port is not tried here, because
 * another program may have it now. If a later change of the records gives the port up, it
 * does not matter; else it is tried until it is free. */
static void remember(struct port *p, const struct device_sockets *want,
		     uint32_t fwmark)
{
	if (want->has_port)
		p->number = want->port;
	p->fwmark = fwmark;
}

int port_set(struct port *p, const struct device_sockets *want,
	     uint16_t *number)
{
	struct sock_group *group = sockets_get_all(p->sockets);
	uint32_t fwmark = want->has_fwmark ? want->fwmark : p->fwmark;
	int err = 0;

	if (want->is_restored && !p->is_open) {
		remember(p, want, fwmark);
		*number = p->number;
		return 0;
	}
	/* The mark is set first: if the number then fails, it is set back. */
	if (want->has_fwmark)
		err = group ? sock_group_set_mark(group, fwmark, p->fwmark)
			    : try_mark(p, fwmark);
	if (err < 0) {
		report_mark_failure(fwmark, err);
		return err;
	}
	if (err == 0 && want->has_port && p->is_open) {
		err = change_number(p, want->port, fwmark);
		if (err < 0 && want->has_fwmark)
			sock_group_set_mark(group, p->fwmark, fwmark);
	} else if (err == 0 && want->has_port) {
		err = remember_number(p, want->port, fwmark);
	}
	if (err < 0) {
		report_failure(want->port, err);
		return err;
	}
	/* Packets with another mark may take another route, from another local
	 * address: the library must learn the sources anew. */
	if (fwmark != p->fwmark && sockets_get(p->sockets))
		ug_network_changed(sockets_get(p->sockets));
	p->fwmark = fwmark;
	*number = p->number;
	return 0;
}

/* ---------------------------------------------------------------- the link */

/* The log gets a line for the first failure, and when the errno changes. */
static void open_later(struct port *p, int err, uint64_t now)
{
	if (err != p->err)
		report_failure(p->number, err);
	p->err = err;
	p->wants_open = true;
	p->again = now + AGAIN_NS;
	p->ops->wake(p->arg);
}

void port_set_up(struct port *p, uint64_t now)
{
	struct sock_group *group;

	p->wants_open = false;
	if (p->is_open)
		return;
	int err = open_sockets(p, p->number, p->fwmark, &group);

	if (err < 0) {
		open_later(p, err, now);
		return;
	}
	p->is_open = true;
	p->err = 0;
	note_open(p, group);
	p->ops->set_up(p->arg, true);
	sockets_replace(p->sockets, group, p->ops->poke, p->arg);
	p->ops->wake(p->arg);
}

void port_set_down(struct port *p)
{
	p->wants_open = false;
	p->err = 0;
	if (!p->is_open)
		return;
	p->is_open = false;
	p->ops->set_up(p->arg, false);
	sockets_replace(p->sockets, NULL, p->ops->poke, p->arg);
}

int port_adopt(struct port *p)
{
	struct sock_group *group;
	int err = open_sockets(p, p->number, p->fwmark, &group);

	if (err < 0)
		return err;
	p->is_open = true;
	p->wants_open = false;
	p->err = 0;
	note_open(p, group);
	sockets_skip_drops(p->sockets, group);
	sockets_replace(p->sockets, group, p->ops->poke, p->arg);
	return 0;
}

void port_abandon(struct port *p)
{
	struct sock_group *group = sockets_get_all(p->sockets);

	p->is_open = false;
	p->wants_open = false;
	if (group)
		sock_group_abandon(group);
}

uint64_t port_tick(struct port *p, uint64_t now)
{
	if (p->wants_open && now >= p->again)
		port_set_up(p, now);
	return p->wants_open ? p->again : SCHEDULE_NEVER;
}
