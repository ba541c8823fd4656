/* SPDX-License-Identifier: MIT */
/* The command top in a build without ncurses. */
#include "ctl/commands.h"

int ctl_top(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("wiregatherctl: top: this program was built without ncurses\n",
	      stderr);
	return CTL_FAILED;
}
