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

bool peers_settle(struct peers *peers)
{
	struct list *item;

	if (peers->generation == peers->device->generation)
		return false;
	peers->generation = peers->device->generation;
	peers->peer = NULL;
	list_for_each(item, &peers->device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (peer->serial == peers->serial)
			peers->peer = peer;
	}
	return true;
}

struct peer *peers_next(struct peers *peers)
{
	const struct list *head = &peers->device->peers;
	struct list *item;

	peers_settle(peers);
	item = peers->peer ? peers->peer->in_device.next : head->next;
	for (; item != head; item = item->next) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (peer->serial > peers->serial) {
			peers->peer = peer;
			peers->serial = peer->serial;
			return peer;
		}
	}
	return NULL;
}
