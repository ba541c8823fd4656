/* SPDX-License-Identifier: MIT */
#include "crypto/init.h"

#include <errno.h>
#include <sodium.h>

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}
