/* SPDX-License-Identifier: MIT */
/* The serial numbers of peers grow in the order of the device's list. A pointer saves
 * the search for the place, as long as the configuration does not change. */
#include "uapi/peers.h"

#include "base/bytes.h"

void peers_init(struct peers *peers, struct device *device)
{
	*peers = (struct peers){
		.device = device,
		.generation = device->generation,
	};
}

/* Find the place among the prefixes of the peer again, by their count. */
static void find_prefix(struct peers *peers)
{
	struct ip_prefix prefix;

	peers->pos = NULL;
	for (size_t i = 0; peers->peer && i < peers->n_prefixes; i++)
		if (!allowedips_next(&peers->peer->allowedips, &peers->pos,
				     &prefix))
			break;
}

/* Find the place again if the configuration has changed. */
static void settle(struct peers *peers)
{
	struct list *item;

	if (peers->generation == peers->device->generation)
		return;
	peers->generation = peers->device->generation;
	peers->peer = NULL;
	list_for_each(item, &peers->device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (peer->serial == peers->serial)
			peers->peer = peer;
	}
	find_prefix(peers);
}

struct peer *peers_next(struct peers *peers)
{
	const struct list *head = &peers->device->peers;
	struct list *item;

	settle(peers);
	item = peers->peer ? peers->peer->in_device.next : head->next;
	for (; item != head; item = item->next) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (peer->serial > peers->serial) {
			peers->peer = peer;
			peers->serial = peer->serial;
			peers->n_prefixes = 0;
			peers->pos = NULL;
			return peer;
		}
	}
	return NULL;
}

bool peers_next_prefix(struct peers *peers, struct ip_prefix *prefix)
{
	settle(peers);
	if (!peers->peer ||
	    !allowedips_next(&peers->peer->allowedips, &peers->pos, prefix))
		return false;
	peers->n_prefixes++;
	return true;
}
