/* SPDX-License-Identifier: MIT */
/* Packets of any bytes whose MSS is to be lowered. */
#include "any.h"

#include "base/bytes.h"
#include "tun/mss.h"

static void prove(size_t len)
{
	uint8_t *pkt = any_bytes(len);

	(void)mss_is_syn(pkt, len);
	(void)mss_clamp(pkt, len, Frama_C_size_t_interval(0, SIZE_MAX),
			Frama_C_nondet(0, 1));
	free(pkt);
}

int main(void)
{
	for (size_t len = 0; len <= 44; len++)
		prove(len);
	prove(60);
	prove(68);
	prove(80);
	must_be_reached();
	return 0;
}
