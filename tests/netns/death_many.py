#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The engine of a daemon with sessions of 10,000 peers dies: the tunnel works again soon,
and the handshakes of the next engine are no storm.

The other end, bench-responder, begins to ask for cookies as a daemon would that had all
these peers. It notes when the kernel had the first initiation for each peer. Later ones,
for which the paper has times of its own, are no greetings: they come if the responder
gets no processor, and does not answer.
"""
import os
import statistics

import crowd
import lab
from dying import Others, kept
from lab import case, check, check_equal

PEERS, ROUNDS = 10000, 3
# The bars, and what a busy machine may take, in seconds. The second ones are choices.
SHOW_S, SHOW_BUSY_S = 0.5, 20
PING_S, PING_BUSY_S = 2, 20
# The most peers that may be greeted within a second.
PACE = 1000
# A daemon asks for cookies if so many handshakes wait (engine/bounds.h).
LOADED = 512


@case("10,000 peers: wg show and a ping work soon after a death, at most 1,000 are "
      "greeted within a second, and nobody asks for cookies")
def many(l):
    kept(l)
    pair, responder, cookies = crowd.begin(l, os.environ["BUILD"], PEERS)
    check(cookies > 0, "the responder does not ask for cookies, although all began at once")
    others = Others()
    rounds = [crowd.run_round(pair, responder) for _ in range(ROUNDS)]
    is_busy = others.are_many()
    for found in rounds:
        check(found["most"] <= PACE, f"{found['most']} peers were greeted within a second")
        check_equal(found["asked"], 0, "cookie replies of the two daemons")
        # Only a responder that gets no processor for this time may have so many waiting.
        check(not found["cookies"] or found["delay"] >= LOADED / PACE,
              f"{found['cookies']} cookie replies of the responder, which has waited "
              f"{found['delay']:.3f} s for a processor")
        check(found["initiations"] >= PEERS - 1, f"{found['initiations']} handshakes")
    for name, fast, slow in ("show", SHOW_S, SHOW_BUSY_S), ("ping", PING_S, PING_BUSY_S):
        took = statistics.median(found[name] for found in rounds)
        bar = slow * lab.SLOWNESS if is_busy else fast
        print(f"# from a death to the answer of {name}: {took:.3f} s of at most {bar} s")
        check(took <= bar, f"{name} took {took:.3f} s")
    check_equal(pair.ta.log().count("another engine has taken its place"), ROUNDS,
                "engines")


lab.main()
