/* SPDX-License-Identifier: MIT */
/* Writing messages: see message.h. */
#include "udpgather/message.h"

#include <stdlib.h>

#include "base/bytes.h"

static void map_address(struct sockaddr_in6 *out, const struct sockaddr_in *in)
{
	*out = (struct sockaddr_in6){
		.sin6_family = AF_INET6,
		.sin6_port = in->sin_port,
		.sin6_addr.s6_addr = { [10] = 0xff, [11] = 0xff },
	};
	memcpy(out->sin6_addr.s6_addr + 12, &in->sin_addr, 4);
}

const struct sockaddr *ug_message_name(const struct ug_endpoint *to, int family,
				       struct sockaddr_in6 *mapped,
				       socklen_t *len)
{
	bool v4 = ug_endpoint_family(to) == AF_INET;

	if (v4 && family == AF_INET6) {
		map_address(mapped, &to->addr.v4);
		*len = sizeof(*mapped);
		return (const struct sockaddr *)mapped;
	}
	*len = v4 ? sizeof(to->addr.v4) : sizeof(to->addr.v6);
	return &to->addr.any;
}

bool ug_is_own_source(const struct ug_endpoint *peer,
		      const struct ug_source *source)
{
	const struct ug_source *own = &peer->source;
	struct in6_addr addr;

	memcpy(&addr, own->addr, sizeof(addr));
	/* An own address that is not known equals no source, not even one that is an
	 * interface without an address. */
	if (IN6_IS_ADDR_UNSPECIFIED(&addr) ||
	    memcmp(source->addr, own->addr, sizeof(own->addr)) != 0)
		return false;
	/* Only with a link-local address does the interface decide anything. */
	return !IN6_IS_ADDR_LINKLOCAL(&addr) || source->ifindex == own->ifindex;
}

void ug_message_write_head(struct msghdr *h, struct message_space *space,
			   const struct ug_endpoint *to,
			   const struct ug_endpoint *peer,
			   const struct control_out *out)
{
	struct control_out with = *out;
	bool v4 = ug_endpoint_family(to) == AF_INET;

	with.family = v4 ? AF_INET : AF_INET6;
	with.mapped = !v4 && IN6_IS_ADDR_V4MAPPED(&to->addr.v6.sin6_addr);
	*h = (struct msghdr){ .msg_control = space->control.bytes };
	if (!ug_is_peer(peer, to))
		h->msg_name = unconst(ug_message_name(
			to, out->family, &space->mapped, &h->msg_namelen));
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
