/* SPDX-License-Identifier: MIT */
/*
 * The receiver of the UDP benchmark: one thread that reads and counts all
 * datagrams, the same for every way of sending.
 *
 * It takes up to 64 messages with each recvmmsg(2), with UDP_GRO on, and has
 * the kernel copy the payload out as a real receiver would. Two rules keep the
 * receiver from affecting the sender's figures:
 *
 *  - It never sleeps on the socket. The sender would pay for waking it, on a
 *    virtual machine more than for the datagram itself. The number of wake-ups
 *    would depend on which of the two happens to be faster. When the socket is
 *    empty the thread sleeps on a timer instead.
 *
 *  - It counts what it has read, and the sender never has more datagrams on the
 *    way than the socket's buffer holds (see udp_receiver_window()). So nothing
 *    is dropped. A dropped datagram would cost the sender less than a delivered
 *    one, and make the fastest way look even faster.
 *
 * Members: [I] immutable once the thread runs, [a] atomic.
 */
#ifndef BENCH_UDP_RECEIVER_H
#define BENCH_UDP_RECEIVER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slots;

/**
 * struct udp_receiver - the receiving thread
 * @fd:		[I] its socket
 * @cpu:	[I] the core that it stays on
 * @slots:	[I] memory to receive into, used by the thread only
 * @thread:	[I] the thread
 * @address:	[I] where to send to
 * @rcvbuf:	[I] bytes of receive buffer that the kernel granted
 * @size:	[a] the size that every datagram must have
 * @n_arrived:	[a] datagrams that came, of that size
 * @n_odd:	[a] datagrams that came, of another size
 * @err:	[a] 0, or the -errno that ended the thread
 * @stop:	[a] asks the thread to end
 */
struct udp_receiver {
	int fd;
	int cpu;
	struct slots *slots;
	pthread_t thread;
	struct sockaddr_in address;
	size_t rcvbuf;
	_Atomic size_t size;
	_Atomic uint64_t n_arrived;
	_Atomic uint64_t n_odd;
	_Atomic int err;
	_Atomic bool stop;
};

/**
 * udp_receiver_start() - open the socket and start the thread
 * @d:		the caller's storage; it must not move until udp_receiver_stop()
 * @address:	the address to bind to; the kernel chooses the port
 * @cpu:	the core to stay on
 *
 * Call it in the receiver's namespace.
 *
 * Return: 0 or -errno.
 */
int udp_receiver_start(struct udp_receiver *d,
		       const struct sockaddr_in *address, int cpu);

/* udp_receiver_stop() - end the thread and free what udp_receiver_start() took. */
void udp_receiver_stop(struct udp_receiver *d);

/**
 * udp_receiver_window() - how many datagrams may be on the way at once
 * @d:		the receiver
 * @size:	their size
 *
 * Return: a number that the socket's buffer holds even if each datagram comes
 * in a message of its own.
 */
uint64_t udp_receiver_window(const struct udp_receiver *d, size_t size);

/**
 * udp_receiver_wait() - sleep until so many datagrams have come
 * @d:		the receiver
 * @n:		a number to compare with @n_arrived
 *
 * Return: true; false if nothing came for a long time, so the rest is lost.
 */
bool udp_receiver_wait(struct udp_receiver *d, uint64_t n);

#endif /* BENCH_UDP_RECEIVER_H */
