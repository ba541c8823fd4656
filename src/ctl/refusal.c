/* SPDX-License-Identifier: MIT */
#include "ctl/refusal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"

/* The number in a file of /proc; @otherwise if there is no such file. */
static long read_number(const char *path, long otherwise)
{
	FILE *file = fopen(path, "re");
	long value;

	if (!file)
		return otherwise;
	if (fscanf(file, "%ld", &value) != 1)
		value = otherwise;
	fclose(file);
	return value;
}

/* Is a filter of system calls in force, such as that of a container? */
static bool is_filtered(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	bool is_so = false;
	int mode;

	if (!file)
		return false;
	while (!is_so && fgets(line, sizeof(line), file))
		is_so = sscanf(line, "Seccomp: %d", &mode) == 1 && mode == 2;
	fclose(file);
	return is_so;
}

/* ENOSPC: a limit of namespaces, which may be 0. Return: the limit's name. */
static const char *find_limit(long *value)
{
	static const char *const names[] = { "user", "net", "mnt" };
	static char found[sizeof("user.max_user_namespaces")];
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/proc/sys/user/max_%s_namespaces",
			 names[i]);
		*value = read_number(path, 1);
		snprintf(found, sizeof(found), "user.max_%s_namespaces",
			 names[i]);
		if (*value == 0)
			return found;
	}
	return NULL;
}

int refusal_of_namespaces(const char *what, int err)
{
	bool is_denied = err == -EPERM || err == -EACCES;
	const char *limit = NULL;
	long value = 0;

	if (err == -ENOSPC)
		limit = find_limit(&value);
	if (limit)
		return ctl_fail("%s: namespaces are switched off: the setting "
				"is %s = %ld: raise it by sysctl",
				what, limit, value);
	if (err == -ENOSPC)
		return ctl_fail("%s: too many namespaces: see "
				"user.max_user_namespaces and its neighbours "
				"in /proc/sys/user, and lsns(8)",
				what);
	/* Each kernel has these calls, so ENOSYS is that of a filter, too. */
	if ((is_denied || err == -ENOSYS) && is_filtered())
		return ctl_fail(
			"%s: %s: a filter of system calls forbids it, "
			"such as that of a container: start the "
			"container with a profile that allows unshare "
			"and mount (--security-opt seccomp=..., apparmor=...)",
			what, strerror(-err));
	if (is_denied &&
	    read_number("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		return ctl_fail("%s: user namespaces are switched off: the "
				"setting is kernel.unprivileged_userns_clone = "
				"0: set it to 1 by sysctl",
				what);
	if (is_denied && read_number("/proc/sys/kernel/"
				     "apparmor_restrict_unprivileged_userns",
				     0) == 1)
		return ctl_fail(
			"%s: AppArmor forbids it: the setting is "
			"kernel.apparmor_restrict_unprivileged_userns = 1: "
			"give wiregatherctl a profile with \"userns,\", or set "
			"it to 0 by sysctl",
			what);
	if (err == -EINVAL || err == -ENOSYS)
		return ctl_fail("%s: %s: the kernel was built without it, see "
				"CONFIG_USER_NS and CONFIG_NET_NS",
				what, strerror(-err));
	return ctl_fail("%s: %s: is this a container, or a chroot? See "
			"user_namespaces(7)",
			what, strerror(-err));
}

int refusal_of_tun(const char *name, int err)
{
	static const char container[] =
		"in a container, add --device /dev/net/tun";

	switch (-err) {
	case ENOENT:
		return ctl_fail("there is no /dev/net/tun: run 'modprobe tun' "
				"as root; %s",
				container);
	case ENODEV:
	case ENXIO:
		return ctl_fail("the kernel has no TUN driver: run 'modprobe "
				"tun' as root");
	case EACCES:
		return ctl_fail("no permission to open /dev/net/tun: run "
				"'chmod 0666 /dev/net/tun' as root, as udev "
				"does; the device gives no rights by itself");
	case EPERM:
		return ctl_fail("not permitted to open /dev/net/tun, or to "
				"make %s: %s",
				name, container);
	case EBUSY:
		return ctl_fail("%s exists already", name);
	case EINVAL:
		return ctl_fail("the kernel takes no interface of this name: "
				"%s",
				name);
	default:
		return ctl_fail("cannot make %s: %s", name, strerror(-err));
	}
}
