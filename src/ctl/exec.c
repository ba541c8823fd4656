/* SPDX-License-Identifier: MIT */
/* wiregatherctl exec: another command in the tunnel of `wiregatherctl run`. */
#include <errno.h>
#include <string.h>

#include "ctl/command.h"
#include "ctl/commands.h"
#include "ctl/directory.h"
#include "ctl/holder.h"

/* Enter the namespaces of a tunnel. Return: enum ctl_status. */
static int join(const char *name)
{
	char directory[DIRECTORY_CAP];
	struct inner inner;
	int err = directory_get(directory);

	if (err == 0)
		err = holder_ask(directory, name, &inner);
	if (err < 0)
		return ctl_fail("%s: %s%s", name, strerror(-err),
				err == -ENOENT || err == -ECONNREFUSED
					? ": no wiregatherctl run has a tunnel "
					  "of this name"
					: "");
	err = inner_join(&inner);
	if (err < 0)
		return ctl_fail("%s: cannot enter its namespaces: %s", name,
				strerror(-err));
	return CTL_OK;
}

int ctl_exec(int argc, char **argv)
{
	struct command command;
	char **words;
	int status;

	if (argc < 2)
		return ctl_refuse("missing", "NAME");
	if (argv[1][0] == '-')
		return ctl_refuse("no such option", argv[1]);
	words = argv + 2;
	if (*words && strcmp(*words, "--") == 0)
		words++;
	else if (*words && **words == '-')
		return ctl_refuse("no such option", *words);
	if (command_init(&command, words) < 0)
		return CTL_FAILED;
	status = join(argv[1]);
	if (status == CTL_OK)
		status = command_exec(&command);
	command_free(&command);
	return status;
}
