/* SPDX-License-Identifier: MIT */
/* Capabilities, by capget(2), capset(2) and prctl(2). */
#include "isolate/caps.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	/* No kernel has more: a set of capabilities has 64 bits. prctl(2) fails
	 * for a capability that the kernel does not have. */
	CAPS_MAX = 64,
};

int caps_get(pid_t tid, uint64_t *permitted)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
		.pid = tid,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, data) < 0)
		return -errno;
	*permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	return 0;
}

int caps_set(uint64_t keep)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	/* Before Linux 4.3 there are no ambient capabilities. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	data[0].permitted = data[0].effective = (uint32_t)keep;
	data[1].permitted = data[1].effective = (uint32_t)(keep >> 32);
	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

void caps_limit(uint64_t keep)
{
	for (int i = 0; i < CAPS_MAX; i++)
		if (!(keep & CAPS_BIT(i)) && prctl(PR_CAPBSET_DROP, i) < 0)
			return;
}

int caps_check_threads(int dir, pid_t *tid, unsigned int *n)
{
	DIR *tasks = fdopendir(dir);
	const pid_t self = (pid_t)syscall(SYS_gettid);
	struct dirent *entry;
	int err = 0;

	*tid = 0;
	*n = 0;
	if (!tasks) {
		err = -errno;
		close(dir);
		return err;
	}
	while (err == 0 && !*tid && (entry = readdir(tasks))) {
		pid_t other = (pid_t)strtol(entry->d_name, NULL, 10);
		uint64_t permitted = 0;

		/* "." and ".." are no numbers. */
		if (other <= 0 || other == self)
			continue;
		err = caps_get(other, &permitted);
		/* The thread has ended meanwhile. */
		if (err == -ESRCH)
			err = 0;
		else
			++*n;
		if (permitted)
			*tid = other;
	}
	closedir(tasks);
	return err;
}
