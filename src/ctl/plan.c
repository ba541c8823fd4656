/* SPDX-License-Identifier: MIT */
/*
 * conf.h has checked the values of the file. So a value that cannot be read here is
 * left out without a word.
 */
#include "ctl/plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/commands.h"

enum {
	/* Bytes that the tunnel adds to a packet over IPv6: headers of IPv6 (40)
	 * and UDP (8), of a data message (16), and its tag (16). */
	OVERHEAD = 80,
	/* The MTU if no endpoint tells: that of Ethernet, less the overhead. */
	MTU_DEFAULT = 1500 - OVERHEAD,
	/* IPv6 takes no less (RFC 8200, section 5). */
	MTU_MIN = 1280,
	/* Bytes of an endpoint as text: an address with its zone, and a port. */
	ENDPOINT_CAP = 80,
	/* Bytes of a line of the request that are no list: keys of 64 digits, and
	 * names of keys. */
	LINE_CAP = 128,
	/* The most name servers that resolv.conf(5) takes. */
	SERVERS_MAX = 3,
};

/* ----------------------------------------------------------------- prefixes */

/* Make the bits behind the prefix 0: the kernel takes no route with others. */
static void mask(struct conf_prefix *prefix)
{
	for (unsigned int i = 0; i < sizeof(prefix->addr); i++) {
		unsigned int first = 8 * i;

		if (first >= prefix->len)
			prefix->addr[i] = 0;
		else if (prefix->len - first < 8)
			prefix->addr[i] &=
				(uint8_t)(0xff << (8 - (prefix->len - first)));
	}
}

/* Can packets of this family have a source? */
static bool has_address(const struct plan *plan, int family)
{
	for (size_t i = 0; i < plan->n_addresses; i++)
		if (plan->addresses[i].family == family)
			return true;
	return false;
}

static size_t count(const struct conf_section *section, enum conf_key key)
{
	const struct conf_entry *entry = NULL;
	size_t n = 0;

	while ((entry = conf_next(section, key, entry)))
		n++;
	return n;
}

static int plan_addresses(struct plan *plan)
{
	const struct conf_section *section = &plan->conf->interface;
	const struct conf_entry *entry = NULL;

	plan->addresses = calloc(count(section, CONF_ADDRESS) + 1,
				 sizeof(*plan->addresses));
	if (!plan->addresses)
		return -ENOMEM;
	while ((entry = conf_next(section, CONF_ADDRESS, entry)))
		plan->n_addresses += conf_read_prefix(
			&plan->addresses[plan->n_addresses], entry->value);
	return 0;
}

/* A family in which the interface has no address gets no route: packets would have no
 * source, and programs would wait for answers that cannot come. */
static int plan_routes(struct plan *plan)
{
	const struct conf *conf = plan->conf;
	const char *table = conf_get(&conf->interface, CONF_TABLE);
	size_t n = 1;

	for (size_t i = 0; i < conf->n_peers; i++)
		n += count(&conf->peers[i], CONF_ALLOWED_IPS);
	plan->routes = calloc(n, sizeof(*plan->routes));
	if (!plan->routes)
		return -ENOMEM;
	if (table && strcasecmp(table, "off") == 0)
		return 0;
	for (size_t i = 0; i < conf->n_peers; i++) {
		const struct conf_entry *entry = NULL;

		while ((entry = conf_next(&conf->peers[i], CONF_ALLOWED_IPS,
					  entry))) {
			struct conf_prefix *route =
				&plan->routes[plan->n_routes];
			const char *text = entry->value;

			if (*text == '-' ||
			    !conf_read_prefix(route, text + (*text == '+')) ||
			    !has_address(plan, route->family))
				continue;
			mask(route);
			plan->n_routes++;
		}
	}
	return 0;
}

/* -------------------------------------------------------------- name servers */

/* The name servers of the file. */
static size_t print_servers(const struct conf_section *section, FILE *out)
{
	const struct conf_entry *entry = NULL;
	size_t n = 0;

	while ((entry = conf_next(section, CONF_DNS, entry)))
		if (conf_address_bits(entry->value) && n < SERVERS_MAX) {
			fprintf(out, "nameserver %s\n", entry->value);
			n++;
		}
	return n;
}

/* The domains of the file. The last line of its kind counts. */
static void print_domains(const struct conf_section *section, FILE *out)
{
	const struct conf_entry *entry = NULL;
	const char *before = "search ";

	while ((entry = conf_next(section, CONF_DNS, entry)))
		if (!conf_address_bits(entry->value)) {
			fprintf(out, "%s%s", before, entry->value);
			before = " ";
		}
	if (*before == ' ')
		fputc('\n', out);
}

/* Is the line of resolv.conf(5) about a name server of this host? It cannot be
 * reached from the namespace of the command. */
static bool is_local_server(const char *line)
{
	char address[INET6_ADDRSTRLEN];

	return sscanf(line, "nameserver %45s", address) == 1 &&
	       (strncmp(address, "127.", 4) == 0 ||
		strcmp(address, "::1") == 0);
}

/*
 * Without name servers in the file: those of the system. They are asked through the
 * tunnel, or not at all.
 */
static size_t copy_resolv_conf(FILE *out)
{
	FILE *file = fopen("/etc/resolv.conf", "re");
	char *line = NULL;
	size_t cap = 0, n = 0;

	if (!file)
		return 0;
	while (getline(&line, &cap, file) >= 0) {
		if (is_local_server(line))
			continue;
		n += strncmp(line, "nameserver", strlen("nameserver")) == 0;
		fputs(line, out);
	}
	free(line);
	fclose(file);
	return n;
}

static int plan_resolver(struct plan *plan)
{
	const struct conf_section *section = &plan->conf->interface;
	size_t len, n;
	FILE *out = open_memstream(&plan->resolv_conf, &len);

	if (!out)
		return -ENOMEM;
	n = print_servers(section, out);
	if (!n)
		n = copy_resolv_conf(out);
	print_domains(section, out);
	if (!n)
		/* Without a name server the C library asks this host, which in the
		 * namespace is nobody. */
		ctl_fail("%s: no name server can be reached: names will not "
			 "resolve: add DNS = ADDRESS",
			 plan->path);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

/* ----------------------------------------------------------------- endpoints */

/* The MTU of the path to an endpoint, as the kernel knows it; 0: unknown. */
static unsigned int find_mtu(const struct addrinfo *info)
{
	bool is_v4 = info->ai_family == AF_INET;
	int fd = socket(info->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	if (fd < 0)
		return 0;
	if (connect(fd, info->ai_addr, info->ai_addrlen) < 0 ||
	    getsockopt(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6,
		       is_v4 ? IP_MTU : IPV6_MTU, &mtu, &len) < 0)
		mtu = 0;
	close(fd);
	return mtu > 0 ? (unsigned int)mtu : 0;
}

static char *print_endpoint(const struct addrinfo *info, uint16_t port)
{
	char host[ENDPOINT_CAP / 2 + 8], *text;

	if (getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host),
			NULL, 0, NI_NUMERICHOST) != 0)
		return NULL;
	if (asprintf(&text, info->ai_family == AF_INET ? "%s:%u" : "[%s]:%u",
		     host, port) < 0)
		return NULL;
	return text;
}

/* Resolve the endpoint of a peer. @mtu grows to that of the path. */
static int resolve(struct plan *plan, size_t peer, unsigned int *mtu)
{
	const struct conf_section *section = &plan->conf->peers[peer];
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
	const struct conf_entry *entry = NULL, *next = NULL;
	char host[CONF_HOST_CAP], service[8];
	struct addrinfo *found;
	unsigned int path_mtu;
	uint16_t port;
	int rc;

	/* The last line counts. */
	while ((next = conf_next(section, CONF_ENDPOINT, next)))
		entry = next;
	if (!entry || !conf_split_endpoint(entry->value, host, &port))
		return 0;
	snprintf(service, sizeof(service), "%u", port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc != 0) {
		ctl_fail("%s: line %u: Endpoint: %s: %s", plan->path,
			 entry->line, host, gai_strerror(rc));
		return -EHOSTUNREACH;
	}
	path_mtu = find_mtu(found);
	*mtu = path_mtu > *mtu ? path_mtu : *mtu;
	plan->endpoints[peer] = print_endpoint(found, port);
	freeaddrinfo(found);
	return plan->endpoints[peer] ? 0 : -ENOMEM;
}

static int plan_endpoints(struct plan *plan)
{
	const char *text = conf_get(&plan->conf->interface, CONF_MTU);
	unsigned int mtu = 0;
	int err = 0;

	plan->endpoints =
		calloc(plan->conf->n_peers + 1, sizeof(*plan->endpoints));
	if (!plan->endpoints)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < plan->conf->n_peers; i++)
		err = resolve(plan, i, &mtu);
	plan->mtu = mtu < MTU_MIN + OVERHEAD ? MTU_DEFAULT : mtu - OVERHEAD;
	if (text)
		plan->mtu = (unsigned int)strtoul(text, NULL, 10);
	return err;
}

/* ------------------------------------------------------------------ the plan */

/* Name the lines that cannot be honoured. */
static void note(const struct plan *plan)
{
	static const struct {
		enum conf_key key;
		const char *name;
		const char *why;
	} keys[] = {
		{ CONF_PRE_UP, "PreUp", "no command of the file is run" },
		{ CONF_POST_UP, "PostUp", "no command of the file is run" },
		{ CONF_PRE_DOWN, "PreDown", "no command of the file is run" },
		{ CONF_POST_DOWN, "PostDown", "no command of the file is run" },
		{ CONF_FW_MARK, "FwMark",
		  "a mark takes rights outside, and the namespace needs none" },
	};
	const struct conf_section *section = &plan->conf->interface;
	const char *table = conf_get(section, CONF_TABLE);
	const struct conf_entry *entry = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		while ((entry = conf_next(section, keys[i].key, entry)))
			ctl_fail("%s: line %u: %s is left out: %s", plan->path,
				 entry->line, keys[i].name, keys[i].why);
	if (table && strcasecmp(table, "off") != 0 &&
	    strcasecmp(table, "auto") != 0) {
		entry = conf_next(section, CONF_TABLE, NULL);
		ctl_fail("%s: line %u: Table is left out: the namespace has "
			 "one table",
			 plan->path, entry->line);
	}
	entry = NULL;
	while ((entry = conf_next(section, CONF_SAVE_CONFIG, entry)))
		if (strcmp(entry->value, "true") == 0)
			ctl_fail("%s: line %u: SaveConfig is left out: the "
				 "file is only read",
				 plan->path, entry->line);
}

int plan_make(struct plan *plan, const struct conf *conf, const char *path)
{
	int err;

	*plan = (struct plan){ .conf = conf, .path = path };
	note(plan);
	err = plan_addresses(plan);
	if (err == 0)
		err = plan_routes(plan);
	if (err == 0)
		err = plan_endpoints(plan);
	if (err == 0)
		err = plan_resolver(plan);
	if (err == -ENOMEM)
		ctl_fail("%s", strerror(ENOMEM));
	if (err < 0)
		plan_free(plan);
	return err;
}

void plan_free(struct plan *plan)
{
	for (size_t i = 0; plan->endpoints && i < plan->conf->n_peers; i++)
		free(plan->endpoints[i]);
	free(plan->endpoints);
	free(plan->addresses);
	free(plan->routes);
	free(plan->resolv_conf);
	*plan = (struct plan){ 0 };
}

/* --------------------------------------------------------------- the request */

/**
 * struct text - a text that grows to a length that is known before
 * @at:		the text
 * @len:	its length
 * @cap:	bytes at @at
 */
struct text {
	char *at;
	size_t len;
	size_t cap;
};

static __attribute__((format(printf, 2, 3))) void print(struct text *text,
							const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text->at + text->len, text->cap - text->len, fmt, args);
	va_end(args);
	if (n > 0 && (size_t)n < text->cap - text->len)
		text->len += (size_t)n;
}

static void print_key(struct text *text, const char *name, const char *value)
{
	char hex[CONF_HEX_CAP];

	if (value && conf_key_to_hex(hex, value))
		print(text, "%s=%s\n", name, hex);
	explicit_bzero(hex, sizeof(hex));
}

static void print_peer(struct text *text, const struct plan *plan, size_t i)
{
	const struct conf_section *peer = &plan->conf->peers[i];
	const char *keepalive = conf_get(peer, CONF_PERSISTENT_KEEPALIVE);
	const struct conf_entry *entry = NULL;

	print_key(text, "public_key", conf_get(peer, CONF_PUBLIC_KEY));
	print_key(text, "preshared_key", conf_get(peer, CONF_PRESHARED_KEY));
	if (plan->endpoints[i])
		print(text, "endpoint=%s\n", plan->endpoints[i]);
	if (keepalive && strcasecmp(keepalive, "off") != 0)
		print(text, "persistent_keepalive_interval=%s\n", keepalive);
	while ((entry = conf_next(peer, CONF_ALLOWED_IPS, entry))) {
		const char *value = entry->value;
		struct conf_prefix prefix;

		if (*value != '-' &&
		    conf_read_prefix(&prefix, value + (*value == '+'))) {
			char addr[INET6_ADDRSTRLEN];

			inet_ntop(prefix.family, prefix.addr, addr,
				  sizeof(addr));
			print(text, "allowed_ip=%s/%u\n", addr, prefix.len);
		}
	}
}

char *plan_print_request(const struct plan *plan, size_t *len)
{
	const struct conf *conf = plan->conf;
	const char *port = conf_get(&conf->interface, CONF_LISTEN_PORT);
	struct text text = { .cap = 4 * LINE_CAP };

	/* The text is never moved, since a copy of the keys would stay behind. */
	for (size_t i = 0; i < conf->n_peers; i++)
		text.cap += LINE_CAP * (conf->peers[i].n + 1);
	text.at = malloc(text.cap);
	if (!text.at)
		return NULL;
	print(&text, "set=1\n");
	print_key(&text, "private_key",
		  conf_get(&conf->interface, CONF_PRIVATE_KEY));
	if (port)
		print(&text, "listen_port=%s\n", port);
	for (size_t i = 0; i < conf->n_peers; i++)
		print_peer(&text, plan, i);
	print(&text, "\n");
	*len = text.len;
	return text.at;
}
