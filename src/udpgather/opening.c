/* SPDX-License-Identifier: MIT */
/* The begin and the end of opening a socket: options, memory and report. */
#include "udpgather/opening.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/errors.h"
#include "udpgather/message.h"

enum {
	WANTS = UG_WANT_ERRORS | UG_WANT_TIME | UG_WANT_TTL |
		UG_WANT_DESTINATION
};

static bool valid_mode(enum ug_pmtu mode)
{
	return mode == UG_PMTU_DEFAULT || ug_opening_pmtu_value(mode) >= 0;
}

static bool valid_bind(const struct ug_endpoint *ep, int family)
{
	return !ep || ep->addr.any.sa_family == family;
}

/* The kernel would cut a name that is too long, and take an empty name for "any
 * interface". */
static bool valid_device(const char *name)
{
	return !name || (*name && strnlen(name, IFNAMSIZ) < IFNAMSIZ);
}

/* Copy and check the caller's options, which may be of another version. */
static int take_options(struct opening *o, const struct ug_options *opt)
{
	static const struct ug_options defaults = { .size = sizeof(defaults) };

	if (!opt)
		opt = &defaults;
	if (opt->size <
	    offsetof(struct ug_options, families) + sizeof(opt->families))
		return -EINVAL;
	/* Options that this version does not know must be 0. */
	const unsigned char *bytes = (const void *)opt;

	for (size_t i = sizeof(o->opt); i < opt->size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(&o->opt, opt, size_min(opt->size, sizeof(o->opt)));
	if (o->opt.families > UG_IPV6_ONLY || !valid_mode(o->opt.pmtu4) ||
	    !valid_mode(o->opt.pmtu6) || !valid_bind(o->opt.bind4, AF_INET) ||
	    !valid_bind(o->opt.bind6, AF_INET6) ||
	    !valid_device(o->opt.device) ||
	    o->opt.txtime_clock > UG_CLOCK_TAI ||
	    o->opt.side_sockets > UG_MAX_SIDE_SOCKETS ||
	    (o->opt.reuse_port && o->opt.side_sockets) ||
	    (o->opt.want & ~(uint32_t)WANTS))
		return -EINVAL;
	return 0;
}

/* The option copy_below, as ug_staging_take() takes it. */
static size_t copy_below(size_t option)
{
	if (!option)
		return MESSAGE_COPY_BELOW;
	return option == 1 ? 0 : option;
}

/* The options that change control data. */
static uint8_t control_flags(const struct ug_options *opt)
{
	unsigned int flags = 0;

	if (opt->clear_tos)
		flags |= CONTROL_CLEAR_TOS;
	if (opt->follow_interface)
		flags |= CONTROL_FOLLOW_INTERFACE;
	return (uint8_t)flags;
}

/* Make a socket without descriptors. */
int ug_opening_begin(struct opening *o, const struct ug_sys *sys,
		     const struct ug_options *opt)
{
	struct utsname name;
	int err = take_options(o, opt);

	if (err < 0)
		return err;
	struct ug_socket *sock = calloc(1, sizeof(*sock));

	if (!sock)
		return -ENOMEM;
	sock->paths = o->first ? ug_path_table_ref(o->first->paths)
			       : ug_path_table_new();
	if (o->opt.want & UG_WANT_ERRORS)
		sock->errors = ug_errors_new();
	if (!sock->paths || ((o->opt.want & UG_WANT_ERRORS) && !sock->errors)) {
		ug_path_table_put(sock->paths);
		ug_errors_free(sock->errors);
		free(sock);
		return -ENOMEM;
	}
	sock->sys = sys;
	sock->notice = o->opt.notice;
	sock->notice_arg = o->opt.notice_arg;
	sock->want = o->opt.want;
	sock->copy_below = copy_below(o->opt.copy_below);
	sock->control_flags = control_flags(&o->opt);
	sock->retry_eperm = o->opt.retry_eperm;
	sock->uses_times = o->opt.txtime_clock != UG_CLOCK_NONE;
	sock->bad_kernel = sys->uname(&name) == 0 &&
			   ug_kernel_corrupts_trains(name.release);
	/* Without attributes, making a mutex or an rwlock cannot fail in glibc
	 * or musl. */
	pthread_mutex_init(&sock->switching, NULL);
	ug_wake_init(&sock->wake);
	for (int f = 0; f < FAMILIES; f++) {
		sock->families[f].fd = -1;
		sock->families[f].af = f == FAMILY_V4 ? AF_INET : AF_INET6;
		pthread_rwlock_init(&sock->families[f].receive_lock, NULL);
		ug_side_init(&sock->families[f].sides, sock->paths->seed);
	}
	o->sock = sock;
	return 0;
}

static void give_report(const struct opening *o, struct ug_report *report)
{
	if (!report)
		return;
	size_t size = size_min(report->size, sizeof(*report));

	/* The caller's size stays. */
	if (size > sizeof(report->size))
		memcpy((char *)report + sizeof(report->size),
		       (const char *)&o->report + sizeof(report->size),
		       size - sizeof(report->size));
}

void ug_socket_free(struct ug_socket *sock)
{
	for (int f = 0; f < FAMILIES; f++) {
		ug_side_deinit(&sock->families[f].sides);
		pthread_rwlock_destroy(&sock->families[f].receive_lock);
	}
	ug_wake_deinit(&sock->wake, sock->sys);
	pthread_mutex_destroy(&sock->switching);
	ug_path_table_put(sock->paths);
	ug_errors_free(sock->errors);
	free(sock);
}

/*
 * Make the report agree with the result. A family that failed has an error and its
 * step, and nothing else. If the other family made opening fail, a family that was
 * open, or was not tried yet, has -ECANCELED.
 */
void ug_opening_complete(struct opening *o, int err)
{
	if (err < 0)
		o->report.port = 0;
	for (int f = 0; f < FAMILIES; f++) {
		struct ug_family_report *r = ug_opening_report(o, f);

		if (!o->wanted[f])
			*r = (struct ug_family_report){ .err = -ENOENT };
		else if (r->err)
			*r = (struct ug_family_report){
				.err = r->err,
				.step = r->step,
			};
		else if (err < 0)
			*r = (struct ug_family_report){
				.err = -ECANCELED,
				.step = "the other family",
			};
	}
}

/* The end of ug_open() and of ug_open_fds(). */
int ug_opening_end(struct opening *o, int err, struct ug_socket **out,
		   struct ug_report *report)
{
	ug_opening_complete(o, err);
	give_report(o, report);
	if (err < 0) {
		ug_socket_free(o->sock);
		return err;
	}
	*out = o->sock;
	return 0;
}
