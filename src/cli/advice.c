/* SPDX-License-Identifier: MIT */
#include "cli/advice.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "uapi/server.h"

#define IN_A_CONTAINER "in a container, add --device /dev/net/tun"

void advice_on_tun(char *buf, size_t cap, const char *name, int err)
{
	switch (-err) {
	case ENOENT:
		snprintf(
			buf, cap,
			"there is no /dev/net/tun: run 'modprobe tun', or "
			"'mkdir -p /dev/net && mknod /dev/net/tun c 10 200'; " IN_A_CONTAINER);
		return;
	case ENODEV:
	case ENXIO:
		snprintf(buf, cap,
			 "the kernel has no TUN driver: run 'modprobe tun'");
		return;
	case EACCES:
		snprintf(
			buf, cap,
			"/dev/net/tun may not be opened: run as root; " IN_A_CONTAINER);
		return;
	case EPERM:
		snprintf(buf, cap,
			 "not permitted to make %s: this takes root, or "
			 "CAP_NET_ADMIN; in a container, add --cap-add "
			 "NET_ADMIN --device /dev/net/tun",
			 name);
		return;
	case EBUSY:
		snprintf(buf, cap,
			 "%s exists already, and another process has it", name);
		return;
	case EINVAL:
		snprintf(buf, cap,
			 "%s exists already, and is no TUN device that can be "
			 "used here; or the kernel does not take that name",
			 name);
		return;
	default:
		snprintf(buf, cap, "cannot make %s: %s", name, strerror(-err));
	}
}

void advice_on_tun_fd(char *buf, size_t cap, int fd, int err)
{
	snprintf(buf, cap,
		 "WG_TUN_FD=%d cannot be used, it must be an open TUN device: "
		 "%s",
		 fd, strerror(-err));
}

void advice_on_socket(char *buf, size_t cap, const char *name, int err)
{
	const char *hint = "";

	switch (-err) {
	case EADDRINUSE:
		snprintf(buf, cap,
			 UAPI_DIRECTORY "/%s.sock is in use: is %s up already, "
					"perhaps in another network namespace?",
			 name, name);
		return;
	case EEXIST:
		snprintf(buf, cap,
			 UAPI_DIRECTORY "/%s.sock is there and is no socket: "
					"remove it",
			 name);
		return;
	case EMFILE:
		hint = " (or fs.inotify.max_user_instances is too small)";
		break;
	case EPERM:
		hint = " (" UAPI_DIRECTORY
		       " must belong to root or to the user "
		       "of this process, and nobody else may write to it)";
		break;
	default:
		break;
	}
	snprintf(buf, cap, "cannot serve " UAPI_DIRECTORY "/%s.sock: %s%s",
		 name, strerror(-err), hint);
}

void advice_on_socket_fd(char *buf, size_t cap, int fd, int err)
{
	if (err == -EPERM) {
		snprintf(buf, cap,
			 "WG_UAPI_FD=%d cannot be used: its file and the "
			 "directory of that must belong to root or to the user "
			 "of this process, and nobody else may write to them",
			 fd);
		return;
	}
	snprintf(buf, cap,
		 "WG_UAPI_FD=%d cannot be used, it must be a Unix socket that "
		 "listens: %s",
		 fd, strerror(-err));
}
