/* SPDX-License-Identifier: MIT */
/* The values of a request: any text without a zero byte, up to these lengths. */
#include "any.h"

#include "uapi/grammar.c"

/*@ requires text: valid_read_string(src);
    requires room: \valid((uint8_t *)dst + (0 .. (af == AF_INET ? 3 : 15)));
    assigns \result, ((uint8_t *)dst)[0 .. (af == AF_INET ? 3 : 15)]
        \from src[0 ..];
    ensures -1 <= \result <= 1; */
int inet_pton(int af, const char *src, void *dst);

/*@ requires \initialized(&prefix->family) && \initialized(&prefix->cidr);
    assigns \result \from *prefix;
    ensures \result == 0 || \result == 1; */
bool ip_prefix_is_valid(const struct ip_prefix *prefix);

static void prove_key(size_t len)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 0 };
	char *text = any_string(len);

	(void)parse_hex_key(key, text);
	free(text);
}

static void prove_number(size_t len)
{
	char *text = any_string(len);
	uint32_t number;

	if (parse_number(&number, text, UINT16_MAX) == 0) {
		//@ check range: number <= 65535;
	}
	(void)parse_number(&number, text, UINT32_MAX);
	free(text);
}

static void prove_prefix(size_t len)
{
	char *text = any_string(len);
	struct ip_prefix prefix;

	(void)parse_prefix(&prefix, text);
	free(text);
}

static void prove_name(size_t len)
{
	char *text = any_string(len);

	(void)find_key(text);
	(void)may_show(text);
	free(text);
}

int main(void)
{
	for (size_t len = 60; len <= 66; len++)
		prove_key(len);
	for (size_t len = 0; len <= 24; len++)
		prove_number(len);
	for (size_t len = 0; len <= 8; len++)
		prove_prefix(len);
	/* The longest address has INET6_ADDRSTRLEN - 1 characters. */
	for (size_t len = 44; len <= 50; len++)
		prove_prefix(len);
	for (size_t len = 0; len <= 8; len++)
		prove_name(len);
	for (size_t len = 27; len <= 31; len++)
		prove_name(len);
	must_be_reached();
	return 0;
}
