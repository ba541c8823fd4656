/* SPDX-License-Identifier: MIT */
/*
 * The line that tells a user why the interface could not be made and, if that
 * is known, what to do.
 *
 * Main thread.
 */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H

#include <stddef.h>

/**
 * advice_on_tun() - a TUN device could not be made
 * @buf:	filled with a line and a final 0, cut off if it does not fit
 * @cap:	bytes at @buf, not 0
 * @name:	of the interface
 * @err:	-errno of tun_open()
 */
void advice_on_tun(char *buf, size_t cap, const char *name, int err);

/**
 * advice_on_tun_fd() - a TUN device that was handed over cannot be used
 * @buf:	filled with a line and a final 0, cut off if it does not fit
 * @cap:	bytes at @buf, not 0
 * @fd:		the descriptor
 * @err:	-errno of tun_open_fd()
 */
void advice_on_tun_fd(char *buf, size_t cap, int fd, int err);

/**
 * advice_on_socket() - the configuration socket could not be made
 * @buf:	filled with a line and a final 0, cut off if it does not fit
 * @cap:	bytes at @buf, not 0
 * @directory:	of the socket
 * @name:	of the interface
 * @err:	-errno of uapi_socket_open()
 */
void advice_on_socket(char *buf, size_t cap, const char *directory,
		      const char *name, int err);

/**
 * advice_on_socket_fd() - a socket that was handed over cannot be used
 * @buf:	filled with a line and a final 0, cut off if it does not fit
 * @cap:	bytes at @buf, not 0
 * @fd:		the descriptor
 * @err:	-errno of uapi_socket_adopt()
 */
void advice_on_socket_fd(char *buf, size_t cap, int fd, int err);

/**
 * advice_on_shortage() - something failed, perhaps because a limit was reached
 * @buf:	filled with a line and a final 0, cut off if it does not fit
 * @cap:	bytes at @buf, not 0
 * @what:	what could not be done
 * @user:	the user that the process has become; NULL: as at the start
 * @err:	-errno
 *
 * If the errno means that a limit was reached, the line has the limit's name
 * and value, and for threads the user.
 */
void advice_on_shortage(char *buf, size_t cap, const char *what,
			const char *user, int err);

/**
 * advice_check_descriptors() - check that descriptors are left for later
 * @buf:	on failure: a line that says how many are needed
 * @cap:	bytes at @buf
 *
 * Without them the interface could not be configured, or would have no sockets.
 *
 * Return: 0; -EMFILE.
 */
int advice_check_descriptors(char *buf, size_t cap);

#endif /* CLI_ADVICE_H */
