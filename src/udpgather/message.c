/* SPDX-License-Identifier: MIT */
/* Writing messages: see message.h. */
#include "udpgather/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather/endpoint.h"

static void map_address(struct sockaddr_in6 *out, const struct sockaddr_in *in)
{
	*out = (struct sockaddr_in6){
		.sin6_family = AF_INET6,
		.sin6_port = in->sin_port,
		.sin6_addr.s6_addr = { [10] = 0xff, [11] = 0xff },
	};
	memcpy(out->sin6_addr.s6_addr + 12, &in->sin_addr, 4);
}

void ug_message_write_head(struct msghdr *h, struct message_space *space,
			   const struct ug_endpoint *to,
			   const struct control_out *out)
{
	struct control_out with = *out;
	bool v4 = ug_endpoint_family(to) == AF_INET;

	with.family = v4 ? AF_INET : AF_INET6;
	with.mapped = !v4 && IN6_IS_ADDR_V4MAPPED(&to->addr.v6.sin6_addr);
	*h = (struct msghdr){
		.msg_name = unconst(&to->addr),
		.msg_namelen = v4 ? sizeof(to->addr.v4) : sizeof(to->addr.v6),
		.msg_control = space->control.bytes,
	};
	if (v4 && out->family == AF_INET6) {
		map_address(&space->mapped, &to->addr.v4);
		h->msg_name = &space->mapped;
		h->msg_namelen = sizeof(space->mapped);
	}
	h->msg_controllen = ug_control_build(&space->control, &with);
}

/* Is there room for @len bytes? Allocates the staging at first use. */
static bool has_room(struct staging *s, size_t len)
{
	if (len > s->cap - s->used)
		return false;
	if (!s->bytes)
		s->bytes = malloc(s->cap);
	return s->bytes;
}

size_t ug_message_set_bytes(struct msghdr *h, struct iovec *iov, size_t n,
			    size_t len, struct staging *staging,
			    size_t copy_below)
{
	h->msg_iov = iov;
	h->msg_iovlen = n;
	if (n < 2 || len / n >= copy_below || !has_room(staging, len))
		return n;
	unsigned char *start = staging->bytes + staging->used, *at = start;

	for (size_t i = 0; i < n; i++) {
		memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	staging->used += len;
	iov[0] = (struct iovec){ .iov_base = start, .iov_len = len };
	h->msg_iovlen = 1;
	return 1;
}
