/* SPDX-License-Identifier: MIT */
#include "bench/udp_receiver.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, Linux 5.0 */
#endif

enum {
	/* Messages in one system call. A choice. */
	N_SLOTS = 64,
	/* A message has at most 65,535 bytes. The other bytes keep two slots
	 * from using the same lines of the cache. */
	SLOT_LEN = 65536 + 128,
	/* Room for many datagrams on the way (udp_receiver_window()). A choice.
	 */
	RCVBUF_LEN = 32 << 20,
	/* Time that the thread sleeps when the socket is empty. A choice: a
	 * receiver that sleeps on the socket would have to be woken. */
	NAP_NS = 20000,
	/* After this many naps without an arrival, the missing datagrams are
	 * lost: 200 ms, or more if naps last longer than asked for. */
	MAX_NAPS = 10000,
};

struct slots {
	struct mmsghdr msgs[N_SLOTS];
	struct iovec iov[N_SLOTS];
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control[N_SLOTS];
	unsigned char data[N_SLOTS][SLOT_LEN];
};

static void nap(void)
{
	static const struct timespec ts = { .tv_nsec = NAP_NS };

	nanosleep(&ts, NULL);
}

static void slots_prepare(struct slots *s)
{
	for (size_t i = 0; i < N_SLOTS; i++) {
		s->iov[i].iov_base = s->data[i];
		s->iov[i].iov_len = SLOT_LEN;
		s->msgs[i].msg_hdr =
			(struct msghdr){ .msg_iov = &s->iov[i],
					 .msg_iovlen = 1,
					 .msg_control = s->control[i].buf,
					 .msg_controllen =
						 sizeof(s->control[i].buf) };
	}
}

/* The size of the datagrams that were merged into this message, or 0. */
static size_t segment_size(struct msghdr *hdr)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(hdr);
	int size;

	if (!c || c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
		return 0;
	memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size > 0 ? (size_t)size : 0;
}

/* Count the datagrams in the first @n slots, and prepare the slots again. */
static void count(struct udp_receiver *d, size_t n)
{
	size_t size = atomic_load_explicit(&d->size, memory_order_relaxed);
	uint64_t n_good = 0;
	uint64_t n_odd = 0;

	for (size_t i = 0; i < n; i++) {
		struct msghdr *hdr = &d->slots->msgs[i].msg_hdr;
		size_t len = d->slots->msgs[i].msg_len;
		size_t cut = segment_size(hdr);

		/* Before the first row @size is 0, and every datagram counts as
		 * odd. */
		if (size > 0 && ((cut == 0 && len == size) ||
				 (cut == size && len % size == 0)))
			n_good += len / size;
		else
			n_odd++;
		hdr->msg_controllen = sizeof(d->slots->control[i].buf);
	}
	atomic_fetch_add_explicit(&d->n_odd, n_odd, memory_order_relaxed);
	/* Pairs with the loads in udp_receiver_wait() and the sender's window. */
	atomic_fetch_add_explicit(&d->n_arrived, n_good, memory_order_release);
}

static int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static void *run(void *arg)
{
	struct udp_receiver *d = arg;
	int err = pin(d->cpu);

	/* Without timer slack, naps are as short as NAP_NS. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	while (!err && !atomic_load_explicit(&d->stop, memory_order_relaxed)) {
		int n = recvmmsg(d->fd, d->slots->msgs, N_SLOTS, MSG_DONTWAIT,
				 NULL);

		if (n > 0)
			count(d, (size_t)n);
		else if (errno == EAGAIN)
			nap();
		else if (errno != EINTR)
			err = -errno;
	}
	atomic_store_explicit(&d->err, err, memory_order_relaxed);
	return NULL;
}

static int open_socket(struct udp_receiver *d)
{
	static const int on = 1;
	static const int len = RCVBUF_LEN;
	socklen_t address_len = sizeof(d->address);
	socklen_t int_len = sizeof(int);
	int granted;

	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		return -errno;
	if (setsockopt(d->fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0 ||
	    setsockopt(d->fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len)) <
		    0 ||
	    getsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &granted, &int_len) < 0 ||
	    bind(d->fd, (struct sockaddr *)&d->address, address_len) < 0 ||
	    getsockname(d->fd, (struct sockaddr *)&d->address, &address_len) <
		    0) {
		int err = -errno;

		close(d->fd);
		return err;
	}
	d->rcvbuf = (size_t)granted;
	return 0;
}

int udp_receiver_start(struct udp_receiver *d,
		       const struct sockaddr_in *address, int cpu)
{
	int err;

	memset(d, 0, sizeof(*d));
	d->address = *address;
	d->cpu = cpu;
	d->slots = calloc(1, sizeof(*d->slots));
	if (!d->slots)
		return -ENOMEM;
	slots_prepare(d->slots);
	err = open_socket(d);
	if (err)
		goto err_slots;
	err = -pthread_create(&d->thread, NULL, run, d);
	if (err)
		goto err_socket;
	return 0;

err_socket:
	close(d->fd);
err_slots:
	free(d->slots);
	return err;
}

void udp_receiver_stop(struct udp_receiver *d)
{
	atomic_store_explicit(&d->stop, true, memory_order_relaxed);
	pthread_join(d->thread, NULL);
	close(d->fd);
	free(d->slots);
}

uint64_t udp_receiver_window(const struct udp_receiver *d, size_t size)
{
	/* A lone datagram takes of the buffer its bytes, rounded up to a power
	 * of two in the worst case, and the kernel's header. Only half of the
	 * buffer counts, because the kernel gives back the memory of datagrams
	 * that were read only when it is a quarter of the buffer
	 * (udp_rmem_release()). */
	return d->rcvbuf / 2 / (2 * size + 1280);
}

bool udp_receiver_wait(struct udp_receiver *d, uint64_t n)
{
	uint64_t last = 0;

	for (unsigned int naps = 0; naps < MAX_NAPS; naps++) {
		/* Pairs with the store in count(). */
		uint64_t now = atomic_load_explicit(&d->n_arrived,
						    memory_order_acquire);

		if (now >= n)
			return true;
		if (now != last)
			naps = 0;
		last = now;
		nap();
	}
	return false;
}
