/* SPDX-License-Identifier: MIT */
/* The end of the interface is the only news that has an effect. */
#include "cli/blocked.h"

static void hear_state(void *arg, const struct link_state *state)
{
	(void)arg;
	(void)state;
}

static void hear_link(void *arg, enum link_event event)
{
	struct blocked *b = arg;

	if (event == LINK_DELETED)
		loop_stop(b->loop, b->err);
}

static void hear_overlays(void *arg, const struct overlays *set)
{
	(void)arg;
	(void)set;
}

static void hear_network(void *arg, unsigned int families)
{
	(void)arg;
	(void)families;
}

static void hear_renewal(void *arg)
{
	(void)arg;
}

int blocked_start(struct blocked *b, struct loop *loop, struct local *local,
		  int err)
{
	static const struct rights_news news = {
		.state = hear_state,
		.link = hear_link,
		.overlays = hear_overlays,
		.network = hear_network,
		.renew = hear_renewal,
	};

	*b = (struct blocked){ .loop = loop, .err = err, .is_on = true };
	/* The interface may be gone already. */
	if (local->link.state.deleted)
		hear_link(b, LINK_DELETED);
	/* This asks the kernel for the interface. If the kernel does not find it, that
	 * is told as news, too. */
	err = local->rights.ops->start(local->rights.arg, &news, b);
	return err < 0 ? err : 0;
}
