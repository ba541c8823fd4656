/* SPDX-License-Identifier: MIT */
/*
 * The UDP port of the device: its number, its mark (SO_MARK), and whether its
 * sockets are open.
 *
 * The sockets are open while the link is up. If they cannot be opened (another
 * process has the port, or memory or descriptors are short), port_tick() tries
 * again each second. sockets.h publishes the open sockets to the threads.
 *
 * Everything here is for the control thread.
 */
#ifndef ENGINE_PORT_H
#define ENGINE_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "device/device.h"
#include "engine/sockets.h"

struct events;

/**
 * struct port_ops - what the port asks of its owner
 * @set_up:	true: the sockets are open, and the threads get them after this
 *		call; false: the sockets will be closed after this call
 * @poke:	wake each user of the sockets, so that it calls sockets_enter()
 * @wake:	see to it that port_tick() is called soon
 *
 * The control thread calls them. All get the @arg of struct port.
 */
struct port_ops {
	void (*set_up)(void *arg, bool up);
	void (*poke)(void *arg);
	void (*wake)(void *arg);
};

/**
 * struct port - the port
 * @ops:	[I]
 * @arg:	[I] for @ops
 * @sockets:	[I] where the open sockets are published
 * @events:	[I] is told what happens to the sockets, or NULL; locked inside
 * @segments_off: [I] send no trains
 * @merging_off: [I] do not let the kernel merge received datagrams
 * @finds_mtu:	[I] send with DF, and keep the errors of the sockets
 * @n_sockets:	[c] how many sockets share the port; set by the owner, and to 1 if the
 *		kernel refuses to steer
 * @number:	[c] listened on while the link is up; 0: the kernel chooses one
 * @fwmark:	[c] SO_MARK of the sockets
 * @is_open:	[c] the link is up, and the sockets are open
 * @wants_open:	[c] the link is up, but the sockets could not be opened
 * @again:	[c] with @wants_open: when to try again, in ns; 0: at the next
 *		port_tick()
 * @err:	[c] the -errno of opening the sockets that was logged last; 0:
 *		they were opened since, or the link went down
 *
 * [I] set by the owner before the first call, [c] the port's own.
 */
struct port {
	const struct port_ops *ops;
	void *arg;
	struct sockets *sockets;
	struct events *events;
	bool segments_off;
	bool merging_off;
	bool finds_mtu;
	unsigned int n_sockets;
	uint16_t number;
	uint32_t fwmark;
	bool is_open;
	bool wants_open;
	uint64_t again;
	int err;
};

/**
 * port_get_options() - how the sockets are opened
 * @opt:	filled, without port, mark and notice function
 * @finds_mtu:	send with DF, and keep the errors of the sockets
 */
void port_get_options(struct ug_options *opt, bool finds_mtu);

/**
 * port_set() - change the number, the mark or both
 * @p:		port
 * @want:	the change
 * @number:	set on success to the number of the port; 0: the kernel will
 *		choose one when the sockets are opened
 *
 * If the sockets are open, the new sockets are open before the old ones are
 * closed. If the link is down, a socket is opened on the new number and closed
 * again, as a test: so `wg setconf` reports a taken port before the interface
 * is up, as wg-quick expects. If the link is up, but the sockets could not be
 * opened, they are opened soon, with the new number. What is restored is not tried while
 * the sockets are not open.
 *
 * Return: 0; -errno (such as -EADDRINUSE): nothing has changed.
 */
int port_set(struct port *p, const struct device_sockets *want,
	     uint16_t *number);

/* port_set_up() - the link is up: open the sockets, now or later */
void port_set_up(struct port *p, uint64_t now);

/* port_set_down() - the link is down: close the sockets */
void port_set_down(struct port *p);

/**
 * port_adopt() - go on with sockets that another process has opened
 * @p:		port that is not open; the rights give its sockets, as they are
 *
 * The owner is not told by @set_up. Control thread.
 *
 * Return: 0; -errno.
 */
int port_adopt(struct port *p);

/* port_abandon() - the sockets belong to another process now: port_set_down() will do
 * nothing, and when the sockets are closed, only our descriptors are. Control thread. */
void port_abandon(struct port *p);

/**
 * port_tick() - open the sockets if it is time to try again
 * @p:		port
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Return: when to call again, in the same clock; SCHEDULE_NEVER.
 */
uint64_t port_tick(struct port *p, uint64_t now);

#endif /* ENGINE_PORT_H */
