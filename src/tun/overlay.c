/* SPDX-License-Identifier: MIT */
/*
 * The devices are read from rtnetlink, where a link says its kind, its port and
 * its addresses (drivers/net/vxlan/vxlan_core.c, drivers/net/geneve.c). A device
 * that is configured by other programs for each packet ("external", as Cilium
 * and Open vSwitch have it) listens on both IP versions.
 */
#include "tun/overlay.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "base/netlink.h"

enum {
	/* The header of VXLAN, and that of Geneve without options. */
	TUNNEL_LEN = 8,
	VXLAN_HAS_VNI = 0x08,
	GENEVE_VERSION = 0xc0,
	GENEVE_OPTIONS = 0x3f, /* in units of 4 bytes */
	GENEVE_CONTROL = 0x80,
	ETHERNET_LEN = 14,
	/* Values of the type field of an Ethernet frame; Geneve uses them,
	 * too. */
	TYPE_IPV4 = 0x0800,
	TYPE_IPV6 = 0x86dd,
	TYPE_ETHERNET = 0x6558,
};

/**
 * struct link_info - what one message says about a link
 * @kind:	kind of the link, or NULL
 * @data:	attributes of that kind, or NULL
 * @is_foreign:	the link's socket is in another namespace
 */
struct link_info {
	const char *kind;
	const struct nlattr *data;
	bool is_foreign;
};

static void parse_info(struct link_info *link, const struct nlattr *info)
{
	struct netlink_attrs attrs;
	const struct nlattr *attr;

	netlink_attrs_init_nested(&attrs, info);
	while ((attr = netlink_attrs_next(&attrs))) {
		if (netlink_attr_type(attr) == IFLA_INFO_KIND)
			link->kind = netlink_attr_string(attr, UINT16_MAX);
		else if (netlink_attr_type(attr) == IFLA_INFO_DATA)
			link->data = attr;
	}
}

/* Is the attribute a flag without a value, or a byte that is not 0? */
static bool is_on(const struct nlattr *attr)
{
	const uint8_t *byte = netlink_attr_data(attr);

	return netlink_attr_len(attr) == 0 || *byte != 0;
}

static void set_port(struct overlay *o, const struct nlattr *attr)
{
	if (netlink_attr_len(attr) == sizeof(o->port))
		memcpy(&o->port, netlink_attr_data(attr), sizeof(o->port));
}

static void set_local(struct overlay *o, const struct nlattr *attr, size_t len)
{
	if (netlink_attr_len(attr) != len)
		return;
	memcpy(o->local, netlink_attr_data(attr), len);
	o->local_len = (uint8_t)len;
}

/* Return: false if the device carries no Ethernet. */
static bool parse_vxlan(struct overlay *o, const struct nlattr *data)
{
	struct netlink_attrs attrs;
	const struct nlattr *attr;
	bool is_external = false;

	netlink_attrs_init_nested(&attrs, data);
	while ((attr = netlink_attrs_next(&attrs))) {
		switch (netlink_attr_type(attr)) {
		case IFLA_VXLAN_PORT:
			set_port(o, attr);
			break;
		case IFLA_VXLAN_LOCAL:
			set_local(o, attr, 4);
			break;
		case IFLA_VXLAN_LOCAL6:
			set_local(o, attr, 16);
			o->versions = OVERLAY_V6;
			break;
		case IFLA_VXLAN_GROUP6:
			o->versions = OVERLAY_V6;
			break;
		case IFLA_VXLAN_COLLECT_METADATA:
			is_external = is_on(attr);
			break;
		case IFLA_VXLAN_UDP_ZERO_CSUM6_RX:
			o->takes_unsummed6 = is_on(attr);
			break;
		case IFLA_VXLAN_GPE:
			return false;
		default:
			break;
		}
	}
	if (is_external)
		o->versions = OVERLAY_V4 | OVERLAY_V6;
	return true;
}

static void parse_geneve(struct overlay *o, const struct nlattr *data)
{
	struct netlink_attrs attrs;
	const struct nlattr *attr;
	bool is_external = false;

	o->is_geneve = true;
	netlink_attrs_init_nested(&attrs, data);
	while ((attr = netlink_attrs_next(&attrs))) {
		switch (netlink_attr_type(attr)) {
		case IFLA_GENEVE_PORT:
			set_port(o, attr);
			break;
		case IFLA_GENEVE_REMOTE6:
			o->versions = OVERLAY_V6;
			break;
		case IFLA_GENEVE_COLLECT_METADATA:
			is_external = is_on(attr);
			break;
		case IFLA_GENEVE_UDP_ZERO_CSUM6_RX:
			o->takes_unsummed6 = is_on(attr);
			break;
		default:
			break;
		}
	}
	if (is_external)
		o->versions = OVERLAY_V4 | OVERLAY_V6;
}

static void add(struct overlays *set, const struct overlay *o)
{
	for (unsigned int i = 0; i < set->cnt; i++)
		if (!memcmp(&set->list[i], o, sizeof(*o)))
			return;
	if (set->cnt < OVERLAYS_MAX)
		set->list[set->cnt++] = *o;
}

static void parse_link(struct overlays *set, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = netlink_get_body(nlh, sizeof(*ifi));
	struct link_info link = { 0 };
	struct netlink_attrs attrs;
	const struct nlattr *attr;
	struct overlay o;

	if (!ifi || !(ifi->ifi_flags & IFF_UP))
		return;
	netlink_attrs_init(&attrs, nlh, sizeof(*ifi));
	while ((attr = netlink_attrs_next(&attrs))) {
		if (netlink_attr_type(attr) == IFLA_LINKINFO)
			parse_info(&link, attr);
		else if (netlink_attr_type(attr) == IFLA_LINK_NETNSID)
			link.is_foreign = true;
	}
	if (!link.kind || !link.data || link.is_foreign)
		return;
	/* Padding is 0, too: entries are compared as bytes. */
	memset(&o, 0, sizeof(o));
	o.versions = OVERLAY_V4;
	if (!strcmp(link.kind, "geneve"))
		parse_geneve(&o, link.data);
	else if (strcmp(link.kind, "vxlan") != 0 || !parse_vxlan(&o, link.data))
		return;
	if (be16_get(o.port))
		add(set, &o);
}

int overlays_parse(struct overlays *set, const void *buf, size_t len,
		   uint32_t seq)
{
	struct netlink_messages messages;
	const struct nlmsghdr *nlh;

	netlink_messages_init(&messages, buf, len);
	while ((nlh = netlink_messages_next(&messages))) {
		if (nlh->nlmsg_seq != seq)
			continue;
		/* A device that changes during the dump may be missing. The
		 * change is also an event of link.h, after which the caller
		 * asks again. */
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 0;
		if (nlh->nlmsg_type == NLMSG_ERROR)
			return -EBADMSG;
		if (nlh->nlmsg_type == RTM_NEWLINK)
			parse_link(set, nlh);
	}
	return -EAGAIN;
}

const struct overlay *overlays_lookup(const struct overlays *set,
				      const uint8_t *pkt)
{
	bool is_v4 = ip_get_version(pkt) == IP_V4;
	const uint8_t *to =
		is_v4 ? ipv4_view(pkt)->daddr : ipv6_view(pkt)->daddr;
	const struct udp_hdr *udp =
		(const void *)(pkt + (is_v4 ? sizeof(struct ipv4_hdr)
					    : sizeof(struct ipv6_hdr)));

	for (unsigned int i = 0; i < set->cnt; i++) {
		const struct overlay *o = &set->list[i];

		if (memcmp(&o->port, &udp->dport, sizeof(o->port)) != 0 ||
		    !(o->versions & (is_v4 ? OVERLAY_V4 : OVERLAY_V6)))
			continue;
		/* An external device has at most one address, of one of its two
		 * IP versions. */
		if (!o->local_len || (o->local_len == 4) != is_v4 ||
		    !memcmp(o->local, to, o->local_len))
			return o;
	}
	return NULL;
}

static unsigned int get_be16(const uint8_t *at)
{
	return (unsigned int)(at[0] << 8 | at[1]);
}

size_t overlay_inner_off(const struct overlay *overlay, const uint8_t *pkt,
			 size_t len, size_t udp_off)
{
	size_t off = udp_off + sizeof(struct udp_hdr), hdr_len = TUNNEL_LEN;
	const uint8_t *hdr = pkt + off;
	unsigned int type, version;

	if (len - off < TUNNEL_LEN)
		return 0;
	if (overlay->is_geneve) {
		if (hdr[0] & GENEVE_VERSION || hdr[1] & GENEVE_CONTROL ||
		    get_be16(hdr + 2) != TYPE_ETHERNET)
			return 0;
		hdr_len += (size_t)(hdr[0] & GENEVE_OPTIONS) * 4;
	} else if (!(hdr[0] & VXLAN_HAS_VNI)) {
		return 0;
	}
	if (len - off <= hdr_len + ETHERNET_LEN)
		return 0;
	off += hdr_len + ETHERNET_LEN;
	type = get_be16(pkt + off - 2);
	version = ip_get_version(pkt + off);
	if (type == TYPE_IPV4)
		return version == IP_V4 ? off : 0;
	return type == TYPE_IPV6 && version == IP_V6 ? off : 0;
}
