/* SPDX-License-Identifier: MIT */
#include "ctl/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "base/syscalls.h"
#include "ctl/commands.h"

int command_init(struct command *command, char **words)
{
	*command = (struct command){ .words = words };
	close_from(STDERR_FILENO + 1);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		command->was_closed[fd] = true;
		/* open(2) takes the lowest free number, which is @fd. */
		if (open("/dev/null", O_RDWR) < 0) {
			int err = -errno;

			ctl_fail("cannot open /dev/null: %s", strerror(-err));
			return err;
		}
	}
	/* Without a name it is not found again later: then it is "/". */
	command->directory = getcwd(NULL, 0);
	return 0;
}

/*
 * Keep rights through execve(2), which takes all from a user that is not root: they have
 * to be ambient (capabilities(7)). A user that is root keeps all anyway.
 */
static void keep_rights(void)
{
	static const int kept[] = { CAP_NET_RAW, CAP_NET_BIND_SERVICE };
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (geteuid() == 0 || syscall(SYS_capget, &head, data) < 0)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		data[0].inheritable |= data[0].permitted & 1U << kept[i];
	if (syscall(SYS_capset, &head, data) < 0)
		return;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0);
}

int command_exec(const struct command *command)
{
	static char standard[] = "/bin/sh";
	char *shell = getenv("SHELL");
	char *words[] = { shell && *shell ? shell : standard, NULL };
	char **argv = *command->words ? command->words : words;
	int err;

	/* The mounts may be others than before, so the directory is entered anew. */
	if (!command->directory || chdir(command->directory) < 0)
		(void)!chdir("/");
	keep_rights();
	/* It names a socket that leads past the tunnel, if it is set. */
	unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
	for (int fd = STDIN_FILENO; fd < STDERR_FILENO; fd++)
		if (command->was_closed[fd])
			close(fd);
	/* For the message this one is closed by a successful execve(2). */
	if (command->was_closed[STDERR_FILENO])
		fcntl(STDERR_FILENO, F_SETFD, FD_CLOEXEC);
	execvp(argv[0], argv);
	err = errno;
	ctl_fail("%s: %s", argv[0], strerror(err));
	return err == ENOENT ? COMMAND_NOT_FOUND : COMMAND_NOT_EXECUTABLE;
}

void command_free(struct command *command)
{
	free(command->directory);
	command->directory = NULL;
}
