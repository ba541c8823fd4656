/* SPDX-License-Identifier: MIT */
/* A device that lacks something is used all the same, and the log says what it lacks. */
#include "cli/interface.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/advice.h"
#include "cli/processors.h"
#include "tun/steering.h"

enum {
	/* How long to wait for an interface whose daemon may be ending, and how
	 * often to try. A choice. */
	BUSY_MS = 500,
	BUSY_PAUSE_MS = 10,
};

/* Queues that the TUN is to have. */
static unsigned int count_queues(const struct options *options)
{
	return options->n_queues ? options->n_queues
				 : processors_get_queues(processors_count());
}

/* The configuration borrows the name of @options. */
static struct tun_config configure_tun(const struct options *options)
{
	struct tun_config config = {
		.name = options->name,
		.mtu = TUN_MTU_DEFAULT,
		.txqlen = INTERFACE_TXQLEN,
		.has_queues = count_queues(options) > 1,
		.is_elsewhere = options->netlink_fd >= 0,
	};

	if (options->no_vnet_hdr)
		config.features_off |= TUN_FEATURES;
	if (options->no_tso) {
		config.features_off |= TUN_TSO4 | TUN_TSO6 | TUN_ECN;
		config.kinds_off |= MERGE_BIT(MERGE_TCP4) |
				    MERGE_BIT(MERGE_TCP6) | MERGE_TUNNELS;
	}
	if (options->no_uso) {
		config.features_off |= TUN_USO;
		config.kinds_off |=
			MERGE_BIT(MERGE_UDP4) | MERGE_BIT(MERGE_UDP6);
	}
	if (options->no_overlay) {
		config.features_off |= TUN_TUNNEL;
		config.kinds_off |= MERGE_TUNNELS;
	}
	return config;
}

/*
 * Make the device. A daemon that was killed and had an interface of this name has an
 * engine that ends some milliseconds later.
 */
static int make_tun(struct interface *t, const struct tun_config *config)
{
	const struct timespec pause = { .tv_nsec =
						BUSY_PAUSE_MS * NSEC_PER_MSEC };
	int err = 0;

	for (int i = 0; i <= BUSY_MS / BUSY_PAUSE_MS; i++) {
		err = tun_open(&t->tuns[0], &tun_sys_linux, config);
		if (err != -EBUSY)
			return err;
		nanosleep(&pause, NULL);
	}
	return err;
}

/* Use one queue that was kept. Return: 0; -errno; -ESTALE: another interface, or in
 * another namespace. */
static int use_queue(struct interface *t, const struct tun_config *config,
		     int fd)
{
	struct tun *tun = &t->tuns[t->n_queues];
	int err = tun_open_fd(tun, &tun_sys_linux, config, fd);

	/* The interface is in another namespace, where nobody hears of it. */
	if (err == 0 && !tun->ifindex)
		err = -ESTALE;
	if (err == 0 && strcmp(tun->name, t->n_queues ? t->tuns[0].name
						      : config->name) != 0)
		err = -ESTALE;
	return err;
}

/* Use the queues that were kept, if they are those of an interface of this name. The
 * interface may have been deleted or renamed meanwhile. */
static void use_kept(struct interface *t, const struct options *options,
		     struct stored *stored)
{
	const struct tun_config config = configure_tun(options);

	while (t->n_queues < stored->n_tuns &&
	       use_queue(t, &config, stored->tuns[t->n_queues]) == 0)
		t->n_queues++;
	if (t->n_queues && t->n_queues == stored->n_tuns) {
		stored->n_tuns = 0;
		t->is_kept = true;
		return;
	}
	t->n_queues = 0;
	stored_close_tuns(stored);
}

static int open_tun(struct interface *t, const struct options *options,
		    char *why, size_t cap)
{
	const struct tun_config config = configure_tun(options);
	int err;

	if (options->tun_fd < 0) {
		err = make_tun(t, &config);
		if (err < 0)
			advice_on_tun(why, cap, options->name, err);
		return err;
	}
	err = tun_open_fd(&t->tuns[0], &tun_sys_linux, &config,
			  options->tun_fd);
	if (err < 0)
		advice_on_tun_fd(why, cap, options->tun_fd, err);
	else
		fcntl(options->tun_fd, F_SETFD, FD_CLOEXEC);
	return err;
}

/*
 * Open the further queues. If one cannot be opened, the tunnel works with those
 * that are open. A queue that was opened later could be one of another device,
 * because the interface may be moved to another namespace.
 */
static void open_queues(struct interface *t, const struct options *options)
{
	unsigned int n = count_queues(options);
	int err = 0;

	if (options->tun_fd >= 0 || t->is_kept)
		n = t->n_queues;
	while (t->n_queues < n && err == 0) {
		err = tun_open_queue(&t->tuns[t->n_queues], &t->tuns[0]);
		t->n_queues += err == 0;
	}
	/* Without the option nobody expects more. */
	if (t->n_queues == 1 && n > 1 && options->n_queues)
		log_event("the interface has one queue, not %u: %s", n,
			  strerror(-err));
	if (t->n_queues == 1)
		return;
	log_event("the interface has %u queues", t->n_queues);
	err = steering_set(&tun_sys_linux, t->tuns[0].fd);
	t->is_steered = err == 0;
	if (err < 0)
		log_event("no steering by flow: the packets of a peer leave by "
			  "one queue: %s",
			  strerror(-err));
}

/* Log what the TUN device lacks. The tunnel works without it. */
static void log_device(const struct tun *tun, const struct options *options)
{
	if (tun->mtu_err)
		log_error("cannot set the MTU to %d: %s", TUN_MTU_DEFAULT,
			  strerror(-tun->mtu_err));
	if (!options->no_vnet_hdr && !(tun->features & TUN_VNET))
		log_event("%s has no virtio-net header: packets pass it one by "
			  "one",
			  tun->name);
}

int interface_open(struct interface *t, const struct options *options,
		   struct stored *stored, char *why, size_t cap)
{
	int err;

	if (stored && stored->n_tuns)
		use_kept(t, options, stored);
	if (!t->is_kept) {
		err = open_tun(t, options, why, cap);
		if (err < 0)
			return err;
		t->n_queues = 1;
	}
	log_init(options->level, t->tuns[0].name);
	log_device(&t->tuns[0], options);
	open_queues(t, options);
	return 0;
}

void interface_close(struct interface *t)
{
	while (t->n_queues)
		tun_close(&t->tuns[--t->n_queues]);
}
