/* SPDX-License-Identifier: MIT */
/*
 * Why the system refuses namespaces or a TUN device to a plain user, and what to do:
 * one line. A kernel, a distribution or a container can switch user namespaces off, each
 * in its own way, so the line names the setting.
 *
 * One thread.
 */
#ifndef CTL_REFUSAL_H
#define CTL_REFUSAL_H

/**
 * refusal_of_namespaces() - print why namespaces cannot be made
 * @what:	the step that failed
 * @err:	its -errno
 *
 * Return: CTL_FAILED.
 */
int refusal_of_namespaces(const char *what, int err);

/**
 * refusal_of_tun() - print why there is no TUN device
 * @name:	of the interface
 * @err:	-errno of opening /dev/net/tun, or of making the interface
 *
 * Return: CTL_FAILED.
 */
int refusal_of_tun(const char *name, int err);

#endif /* CTL_REFUSAL_H */
