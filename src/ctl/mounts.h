/* SPDX-License-Identifier: MIT */
/*
 * The private files of the command: name servers of the tunnel, and no way to the
 * services of this machine that resolve names for programs. Such services have Unix
 * sockets in the file system, which a network namespace does not keep apart.
 *
 * One thread.
 */
#ifndef CTL_MOUNTS_H
#define CTL_MOUNTS_H

/**
 * mounts_make() - mount the private files
 * @resolv_conf: text of /etc/resolv.conf
 * @directory:	the directory of the tunnel's sockets, which also appears where wg(8)
 *		looks for them
 *
 * The process is in a mount namespace of its own, with the rights for it. Afterwards
 *
 *  - /etc has this resolv.conf, and an nsswitch.conf that resolves names of hosts by
 *    files and DNS only; all else in it is as before;
 *  - /run (and /var/run, if that is another directory) has no sockets of
 *    systemd-resolved, nscd, avahi and the system's D-Bus, also if these services
 *    start later.
 *
 * The working directory is "/".
 *
 * Return: 0; -errno: a line on stderr says why.
 */
int mounts_make(const char *resolv_conf, const char *directory);

#endif /* CTL_MOUNTS_H */
