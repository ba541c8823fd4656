/* SPDX-License-Identifier: MIT */
/*
 * Network namespaces for a test, made by the test itself.
 *
 * A namespace is a descriptor of /proc/thread-self/ns/net. The calling thread
 * is in one of them at a time; a socket stays in the one that it was made in. A
 * namespace and its devices vanish with its last descriptor, socket and thread,
 * so a program that dies leaves nothing behind.
 *
 * Functions return 0 or a descriptor; -errno; or the exit status of ip(8), tc(8) or
 * ethtool(8), 1 or more. In the last case ip(8) or tc(8) has printed a message to
 * stderr.
 */
#ifndef TESTS_LIB_NETNS_H
#define TESTS_LIB_NETNS_H

/**
 * netns_require() - end the program as skipped if it can make no namespace
 *
 * Call it first in main(). It also keeps the process on one CPU: two
 * datagrams sent from two CPUs wait in two queues, and may swap places on
 * their way even over loopback.
 */
void netns_require(void);

/**
 * netns_new() - make a namespace and enter it
 *
 * Loopback is up. IPv6 addresses may be used at once (no duplicate address
 * detection) and no path filter is on.
 *
 * Return: its descriptor; -errno, or the exit status of ip(8) negated.
 */
int netns_new(void);

/* netns_enter() - take the calling thread into a namespace. */
int netns_enter(int ns);

/**
 * netns_ip() - run "ip ARGUMENTS" in the current namespace
 * @fmt:	the arguments, as for printf(3)
 */
int netns_ip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* netns_tc() - run "tc ARGUMENTS" in the current namespace, as netns_ip() */
int netns_tc(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* netns_cut_early() - have the kernel cut trains before it gives them to @device, by
 * ethtool(8): what is behind the device sees single datagrams, as on a wire */
int netns_cut_early(const char *device);

/**
 * netns_add_address() - add an address, and wait until it can be used
 * @device:	the name of a device of the current namespace
 * @prefix:	such as "10.1.0.1/24" or "fd00::1/64"
 *
 * An IPv6 address can be bound at once, but the kernel adds its route a little
 * later, from a work queue. Datagrams to it are lost until then.
 *
 * Return: as above; -ETIMEDOUT.
 */
int netns_add_address(const char *device, const char *prefix);

/**
 * netns_set() - write a file below /proc/sys/net in the current namespace
 * @key:	such as "ipv4/ip_forward"
 * @value:	what to write
 */
int netns_set(const char *key, const char *value);

/**
 * netns_move() - move a device of the current namespace to another one
 * @device:	its name
 * @ns:		the namespace that it goes to; the device is down afterwards
 */
int netns_move(const char *device, int ns);

/**
 * netns_rename() - rename a device that is up, in the current namespace
 * @device:	its name
 * @name:	its new name
 *
 * A kernel before 6.2 refuses to rename a device that is up. There the device
 * is taken down, renamed, and set up again. A comment in the TAP output says
 * so.
 */
int netns_rename(const char *device, const char *name);

/**
 * netns_join() - connect two namespaces by a veth pair
 * @a:		a namespace; the calling thread is in it afterwards
 * @b:		another one
 * @name:	the name of the device in both
 * @net:	a number of 0 to 255
 * @mtu:	of both ends
 *
 * The end in @a has the addresses 10.@net.0.1/24 and fd00:@net::1/64, the end
 * in @b 10.@net.0.2/24 and fd00:@net::2/64 (@net in decimal digits).
 */
int netns_join(int a, int b, const char *name, unsigned int net,
	       unsigned int mtu);

#endif /* TESTS_LIB_NETNS_H */
