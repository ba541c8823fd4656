/* SPDX-License-Identifier: MIT */
/*
 * If the kernel does not steer, it moves a flow to the queue that last wrote a
 * packet of it. Then the inbound lanes write to all queues, and each peer's
 * packets to the same queue, so its flows stay there. If the kernel steers, it
 * does not matter which queue is written to. Then the lanes of each socket write to a
 * queue of their own, so that no lane waits for those of another socket.
 */
#include "engine/lanes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int init_outbound(struct lanes *l, const struct lanes_config *config)
{
	l->out = calloc(config->n_queues, sizeof(*l->out));
	l->writers = calloc(config->n_queues, sizeof(*l->writers));
	if (!l->out || !l->writers)
		return -ENOMEM;
	for (; l->n_queues < config->n_queues; l->n_queues++) {
		struct outbound_lane *out = &l->out[l->n_queues];
		struct tun *tun = &config->tuns[l->n_queues];
		int err;

		out->first = l->n_queues ? &l->out[0] : NULL;
		out->paths = l->paths;
		out->clamps_mss = config->clamps_mss;
		err = outbound_lane_init(out, config->device, tun,
					 config->n_slots);
		if (err < 0)
			return err;
		writer_init(&l->writers[l->n_queues], tun, &out->source);
	}
	return 0;
}

static int init_inbound(struct lanes *l, const struct lanes_config *config)
{
	l->in = calloc((size_t)2 * config->n_queues, sizeof(*l->in));
	if (!l->in)
		return -ENOMEM;
	for (; l->n_in < 2 * config->n_queues; l->n_in++) {
		struct inbound_lane *in = &l->in[l->n_in];
		unsigned int number = l->n_in / 2;
		int err = inbound_lane_init(
			in, config->device,
			&l->writers[config->is_steered ? number : 0],
			config->is_steered ? 1 : config->n_queues,
			config->handshaker, l->n_in % 2 ? AF_INET6 : AF_INET,
			config->n_slots);

		if (err < 0)
			return err;
		in->number = number;
		in->trains = &l->out[0].trains;
		in->paths = l->paths;
		in->mtu = config->clamps_mss ? &l->out[0].mtu : NULL;
	}
	return 0;
}

/* Make the path MTUs. @hash_key: random bytes. */
static int init_paths(struct lanes *l, const uint8_t *hash_key)
{
	uint64_t seed;

	memcpy(&seed, hash_key, sizeof(seed));
	l->paths = paths_new(seed);
	return l->paths ? 0 : -ENOMEM;
}

int lanes_init(struct lanes *l, const struct lanes_config *config)
{
	int err = 0;

	if (config->finds_mtu)
		err = init_paths(l, config->device->hash_key);
	if (err == 0)
		err = init_outbound(l, config);
	if (err == 0)
		err = init_inbound(l, config);
	if (err < 0)
		lanes_deinit(l);
	return err;
}

void lanes_deinit(struct lanes *l)
{
	while (l->n_in)
		inbound_lane_deinit(&l->in[--l->n_in]);
	/* The first lane has what the others use. */
	while (l->n_queues) {
		l->n_queues--;
		writer_deinit(&l->writers[l->n_queues]);
		outbound_lane_deinit(&l->out[l->n_queues]);
	}
	paths_free(l->paths);
	free(l->in);
	free(l->out);
	free(l->writers);
}

void lanes_list(struct lanes *l, struct sources *sources)
{
	sources->n = 0;
	for (unsigned int i = 0; i < l->n_in; i++)
		sources->all[sources->n++] = &l->in[i].source;
	for (unsigned int i = 0; i < l->n_queues; i++)
		sources->all[sources->n++] = &l->out[i].source;
}

void lanes_set_mtu(struct lanes *l, unsigned int mtu)
{
	/* Partner: take() of outbound.c. */
	for (unsigned int i = 0; i < l->n_queues; i++)
		atomic_store_explicit(&l->out[i].mtu, mtu,
				      memory_order_relaxed);
}

void lanes_set_overlays(struct lanes *l, const struct overlays *overlays)
{
	for (unsigned int i = 0; i < l->n_queues; i++)
		writer_set_overlays(&l->writers[i], overlays);
}

void lanes_set_events(struct lanes *l, struct events *events)
{
	for (unsigned int i = 0; i < l->n_in; i++)
		l->in[i].events = events;
	for (unsigned int i = 0; i < l->n_queues; i++) {
		l->out[i].events = events;
		l->out[i].trains.events = events;
	}
	if (l->paths)
		l->paths->events = events;
}

void lanes_add_stats(const struct lanes *l, struct ug_send_stats *tx)
{
	/* The struct has numbers of 64 bits only. */
	enum {
		NUMBERS = sizeof(*tx) / sizeof(uint64_t)
	};
	uint64_t *sum = (void *)tx, one[NUMBERS];

	for (unsigned int i = 0; i < l->n_queues; i++) {
		ug_get_send_stats(l->out[i].batch, (void *)one, sizeof(one));
		for (int n = 0; n < NUMBERS; n++)
			sum[n] += one[n];
	}
}
