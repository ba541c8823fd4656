/* SPDX-License-Identifier: MIT */
/* Writing messages: see message.h. */
#include "udpgather/message.h"

#include <stdlib.h>

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

unsigned char *ug_staging_take(struct staging *s, size_t n_iov, size_t len,
			       size_t copy_below)
{
	if (n_iov < 2 || len / n_iov >= copy_below || len > s->cap - s->used)
		return NULL;
	if (!s->bytes) {
		s->bytes = malloc(s->cap);
		if (!s->bytes)
			return NULL;
	}
	s->used += len;
	return s->bytes + s->used - len;
}
