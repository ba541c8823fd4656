/* SPDX-License-Identifier: MIT */
#include "crypto/init.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* libsodium ends the program by abort(3) else, without a word. */
static void end(void)
{
	fputs("wiregather: libsodium cannot go on: no random numbers?\n",
	      stderr);
	_exit(EXIT_FAILURE);
}

int crypto_init(void)
{
	sodium_set_misuse_handler(end);
	return sodium_init() < 0 ? -EIO : 0;
}
