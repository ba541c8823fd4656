/* SPDX-License-Identifier: MIT */
/* Decrypted packets of these lengths, with any bytes, beside a tunnel device. */
#include "any.h"

#include "base/bytes.h"
#include "tun/flow.h"

/* One tunnel device of any kind, at any address. */
static void any_overlays(struct overlays *set)
{
	struct overlay *o = &set->list[0];

	*set = (struct overlays){ .cnt = (unsigned int)Frama_C_nondet(0, 1) };
	Frama_C_make_unknown((char *)&o->port, sizeof(o->port));
	Frama_C_make_unknown((char *)o->local, sizeof(o->local));
	o->is_geneve = Frama_C_nondet(0, 1);
	o->takes_unsummed6 = Frama_C_nondet(0, 1);
	o->versions = (uint8_t)Frama_C_interval(0, 3);
	o->local_len =
		(uint8_t)(Frama_C_nondet(0, 1) ? 0 : Frama_C_nondet(4, 16));
}

static void prove(size_t len)
{
	uint8_t *pkt = any_bytes(len);
	struct flow_packet p = {
		.pkt = pkt,
		.len = (uint32_t)len,
		.kind = MERGE_NONE,
	};
	struct overlays overlays;

	any_overlays(&overlays);
	if (flow_judge(Frama_C_unsigned_int_interval(0, MERGE_ALL), &overlays,
		       &p) == FLOW_JOINER) {
		//@ check headers: p.hdr_len <= len;
		//@ check transport: p.l4_off < len;
	}
	free(pkt);
}

int main(void)
{
	for (size_t len = 1; len <= 60; len++)
		prove(len);
	prove(92);
	prove(112);
	must_be_reached();
	return 0;
}
