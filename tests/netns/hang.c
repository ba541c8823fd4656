/* SPDX-License-Identifier: MIT */
/* A program that does nothing for ever, for upgrade.py. */
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	uint32_t word = 0;

	/* An engine's filter of system calls allows this one. */
	for (;;)
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
