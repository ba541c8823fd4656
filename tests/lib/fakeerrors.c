/* SPDX-License-Identifier: MIT */
/* The error queues of fakesys. */
#include "tests/lib/fakesys.h"

#include <errno.h>
#include <time.h> /* linux/errqueue.h uses struct timespec */
#include <linux/errqueue.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"

void fake_push_error(const struct fake_error *e)
{
	assert_true(fake.n_errors < FAKE_ERRORS);
	fake.errors[fake.n_errors++] = *e;
}

/* The first entry of a descriptor's error queue; @n_errors if there is none. */
static size_t find_error(int fd)
{
	size_t i = 0;

	while (i < fake.n_errors && fake.errors[i].fd != fd)
		i++;
	return i;
}

/* An address as a socket of a family has it: IPv6 sockets map IPv4. */
static socklen_t write_address(void *out, const struct ug_endpoint *ep, bool v6)
{
	struct sockaddr_in6 six = ep->addr.v6;
	const struct sockaddr_in *four = &ep->addr.v4;

	if (v6 && ug_endpoint_family(ep) == AF_INET) {
		six = (struct sockaddr_in6){
			.sin6_family = AF_INET6,
			.sin6_port = four->sin_port,
			.sin6_addr.s6_addr = { [10] = 0xff, 0xff },
		};
		memcpy(six.sin6_addr.s6_addr + 12, &four->sin_addr, 4);
	}
	memcpy(out, v6 ? (const void *)&six : four,
	       v6 ? sizeof(six) : sizeof(*four));
	return v6 ? sizeof(six) : sizeof(*four);
}

/* Write an entry as the kernel does (ip(7)): after the packet info. */
static void write_error(const struct fake_error *e, struct msghdr *msg)
{
	bool v6 = fake_family(e->fd) == AF_INET6;
	struct {
		struct sock_extended_err ee;
		unsigned char offender[sizeof(struct sockaddr_in6)];
	} data = { .ee = {
			   .ee_errno = (uint32_t)e->error.err,
			   .ee_origin = e->error.origin,
			   .ee_type = e->error.icmp_type,
			   .ee_code = e->error.icmp_code,
			   .ee_info = e->info,
		   } };
	struct in6_pktinfo info = { 0 };
	struct cmsghdr *head = msg->msg_control;
	socklen_t offender_len =
		write_address(data.offender, &e->error.offender, v6);
	size_t len = sizeof(data.ee) + offender_len;

	assert_true(msg->msg_controllen >=
		    CMSG_SPACE(sizeof(info)) + CMSG_SPACE(len));
	assert_true(msg->msg_namelen >= sizeof(struct sockaddr_in6));
	msg->msg_namelen =
		e->nameless ? 0
			    : write_address(msg->msg_name, &e->error.to, v6);
	*head = (struct cmsghdr){
		.cmsg_level = IPPROTO_IPV6,
		.cmsg_type = IPV6_PKTINFO,
		.cmsg_len = CMSG_LEN(sizeof(info)),
	};
	memcpy(CMSG_DATA(head), &info, sizeof(info));
	head = (void *)((char *)head + CMSG_SPACE(sizeof(info)));
	*head = (struct cmsghdr){
		.cmsg_level = v6 ? IPPROTO_IPV6 : IPPROTO_IP,
		.cmsg_type = v6 ? IPV6_RECVERR : IP_RECVERR,
		.cmsg_len = CMSG_LEN(len),
	};
	memcpy(CMSG_DATA(head), &data, len);
	msg->msg_controllen =
		CMSG_SPACE(sizeof(info)) + (e->broken ? 0 : CMSG_SPACE(len));
	msg->msg_flags = MSG_ERRQUEUE | MSG_TRUNC;
}

ssize_t fake_read_error(int fd, struct msghdr *msg)
{
	size_t i = find_error(fd), n = 0;

	errno = EAGAIN;
	if (i == fake.n_errors && !fake.error_queue)
		return -1;
	if (i == fake.n_errors) {
		fake.error_queue--;
		msg->msg_namelen = 0;
		msg->msg_controllen = 0;
		return 0;
	}
	/* A caller that drops the entry gives no memory for it. */
	if (msg->msg_control)
		write_error(&fake.errors[i], msg);
	if (msg->msg_iovlen) {
		n = size_min(msg->msg_iov->iov_len,
			     fake.errors[i].error.quote_len);
		memcpy(msg->msg_iov->iov_base, fake.errors[i].error.quote, n);
	}
	fake.n_errors--;
	memmove(&fake.errors[i], &fake.errors[i + 1],
		(fake.n_errors - i) * sizeof(fake.errors[0]));
	return (ssize_t)n;
}

bool fake_has_error(int fd)
{
	return find_error(fd) < fake.n_errors;
}
