/* SPDX-License-Identifier: MIT */
/* The steps of a pause; the header says why they have this order. */
#include "engine/pause.h"

#include "base/now.h"

void pause_prepare(struct pause *p)
{
	p->is_on = true;
	worker_pause(p->worker);
	handshaker_pause(p->handshaker, 0);
}

static int await_rest(struct pause *p, uint64_t end_ns)
{
	int err = worker_await_rest(p->worker, end_ns);

	if (err == 0)
		err = worker_finish(p->worker, end_ns);
	if (err < 0)
		return err;
	handshaker_pause(p->handshaker, HANDSHAKE_LAST_ROUNDS);
	err = handshaker_await_rest(p->handshaker, end_ns);
	return err < 0 ? err : worker_finish(p->worker, end_ns);
}

int pause_begin(struct pause *p, uint64_t timeout_ns)
{
	int err;

	p->is_on = true;
	worker_pause(p->worker);
	err = await_rest(p, now_monotonic() + timeout_ns);
	if (err < 0)
		pause_end(p);
	return err;
}

void pause_end_packets(struct pause *p)
{
	p->is_on = false;
	worker_resume(p->worker);
}

void pause_end(struct pause *p)
{
	handshaker_resume(p->handshaker);
	if (p->is_on)
		pause_end_packets(p);
}
