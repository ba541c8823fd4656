/* SPDX-License-Identifier: MIT */
/* Any counter, for a replay window in any state. */
#include "any.h"

#include "noise/replay.h"

int main(void)
{
	struct replay replay;

	Frama_C_make_unknown((char *)&replay, sizeof(replay));
	(void)replay_accept(&replay,
			    Frama_C_unsigned_long_interval(0, UINT64_MAX));
	must_be_reached();
	return 0;
}
