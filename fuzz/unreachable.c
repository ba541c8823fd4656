/* SPDX-License-Identifier: MIT */
/*
 * ICMP errors that answer packets to an address without a peer, or that are too long;
 * congestion marks; and the MSS of SYNs. The code of marks may trust only that the fixed
 * header of a packet is there, the other code nothing. Input: the outer TOS; a packet.
 *
 * Promises: the answer is a whole ICMP error with right checksums, from the
 * destination to the source, that quotes the packet's beginning. A packet that
 * is an ICMP error itself is never answered. A mark changes two bits, by the
 * table of RFC 6040, and a right header checksum stays right. The MSS of a SYN is not
 * too large afterwards, and nothing else has changed.
 */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "engine/ecn.h"
#include "engine/unreachable.h"
#include "tun/checksum.h"
#include "tun/mss.h"

enum {
	V4_LEN = 20,
	V6_LEN = 40,
	ICMP_LEN = 8,
};

/* A sum over data and its right checksum is all ones: RFC 1071. */
static bool is_summed(uint64_t sum)
{
	return checksum_fold(sum) == 0xffff;
}

/* @mtu: of unreachable_make() */
static void check_answer4(const uint8_t *out, size_t n, const uint8_t *p,
			  size_t len, uint32_t mtu)
{
	require(len >= V4_LEN && p[0] >> 4 == 4);
	require(n > V4_LEN + ICMP_LEN && n <= 576);
	require(out[0] == 0x45 && (size_t)(out[2] << 8 | out[3]) == n);
	require(out[9] == 1 && out[20] == 3 && out[21] == (mtu ? 4 : 1));
	require((uint32_t)(out[26] << 8 | out[27]) == mtu);
	require(is_summed(checksum_add(0, out, V4_LEN)));
	require(is_summed(checksum_add(0, out + V4_LEN, n - V4_LEN)));
	require(!memcmp(out + 12, p + 16, 4) && !memcmp(out + 16, p + 12, 4));
	require(!memcmp(out + V4_LEN + ICMP_LEN, p, n - V4_LEN - ICMP_LEN));
	/* Neither a later fragment nor a group. */
	require((p[6] & 0x1f) == 0 && p[7] == 0 && p[12] < 224 && p[16] < 224);
}

static void check_answer6(const uint8_t *out, size_t n, const uint8_t *p,
			  size_t len, uint32_t mtu)
{
	uint8_t pseudo[8] = { 0, 0, 0, 0, 0, 0, 0, 58 };
	size_t payload = n - V6_LEN;
	uint64_t sum;

	require(len >= V6_LEN && p[0] >> 4 == 6);
	require(n > V6_LEN + ICMP_LEN && n <= 1280);
	require(out[0] == 0x60 && out[6] == 58 && out[40] == (mtu ? 2 : 1));
	require((uint32_t)(out[46] << 8 | out[47]) == mtu);
	require((size_t)(out[4] << 8 | out[5]) == payload);
	pseudo[2] = (uint8_t)(payload >> 8);
	pseudo[3] = (uint8_t)payload;
	sum = checksum_add(0, pseudo, sizeof(pseudo));
	sum = checksum_add(sum, out + 8, 32);
	require(is_summed(checksum_add(sum, out + V6_LEN, payload)));
	require(!memcmp(out + 8, p + 24, 16) && !memcmp(out + 24, p + 8, 16));
	require(!memcmp(out + V6_LEN + ICMP_LEN, p, payload - ICMP_LEN));
	require(p[8] != 0xff && p[24] != 0xff);
}

static void check_unreachable(const uint8_t *p, size_t len, uint32_t mtu)
{
	uint8_t *out = malloc(UNREACHABLE_MAX_LEN);
	uint8_t again[UNREACHABLE_MAX_LEN];
	size_t n;

	require(out != NULL);
	n = unreachable_make(out, p, len, mtu);
	require(n <= UNREACHABLE_MAX_LEN);
	if (n && out[0] >> 4 == 4)
		check_answer4(out, n, p, len, mtu);
	else if (n)
		check_answer6(out, n, p, len, mtu);
	require(unreachable_make(again, out, n, mtu) == 0);
	free(out);
}

/* RFC 6040, figure 4; -1: drop. */
static int mark_of(uint8_t inner, uint8_t outer)
{
	static const int8_t table[4][4] = {
		/* outer:	not  ECT(1) ECT(0) CE */
		[ECN_NOT_ECT] = { 0, 0, 0, -1 },
		[ECN_ECT_1] = { 1, 1, 1, 3 },
		[ECN_ECT_0] = { 2, 1, 2, 3 },
		[ECN_CE] = { 3, 3, 3, 3 },
	};

	return table[inner][outer];
}

static void check_ecn(uint8_t outer, const uint8_t *p, size_t len)
{
	bool is_v4 = p[0] >> 4 == 4;
	uint8_t *copy = malloc(len);
	int mark = mark_of(ecn_get(p), outer & ECN_MASK);

	require(copy != NULL);
	memcpy(copy, p, len);
	require(ecn_encapsulate(p) == ecn_get(p));
	require(ecn_decapsulate(copy, outer) == (mark >= 0));
	if (mark >= 0)
		require(ecn_get(copy) == mark);
	if (is_v4 && is_summed(checksum_add(0, p, V4_LEN)))
		require(is_summed(checksum_add(0, copy, V4_LEN)));
	/* Only the byte of the mark, and the IPv4 checksum, differ. */
	copy[1] = p[1];
	if (is_v4)
		memcpy(copy + 10, p + 10, 2);
	require(!memcmp(copy, p, len));
	free(copy);
}

/* A SYN gets another MSS: only that and the checksum change, and it has no larger one
 * then. */
static void check_mss(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len + 1);
	size_t n = 0;

	require(copy != NULL);
	memcpy(copy, p, len);
	require(!mss_clamp(copy, len, 1340, false) || mss_is_syn(p, len));
	for (size_t i = 0; i < len; i++)
		n += copy[i] != p[i];
	require(n <= 4);
	require(!mss_clamp(copy, len, 1340, false));
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	check_unreachable(data + 1, len - 1, 0);
	check_unreachable(data + 1, len - 1, 1340);
	check_mss(data + 1, len - 1);
	/* receive_run_take() drops all other packets before this code. */
	if (len > V4_LEN &&
	    (data[1] >> 4 == 4 || (data[1] >> 4 == 6 && len > V6_LEN)))
		check_ecn(data[0], data + 1, len - 1);
	return 0;
}
