/* SPDX-License-Identifier: MIT */
/* Events of the kernel, of any bytes. */
#include "any.h"

#include "engine/vmgenid.h"

int main(void)
{
	for (size_t len = 0; len <= 26; len++)
		(void)vmgenid_parse((const char *)any_bytes(len), len);
	must_be_reached();
	return 0;
}
