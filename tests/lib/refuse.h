/* SPDX-License-Identifier: MIT */
/* A process to which the kernel refuses some system calls. */
#ifndef TESTS_LIB_REFUSE_H
#define TESTS_LIB_REFUSE_H

/**
 * refuse_call() - have the kernel refuse a system call from now on
 * @number:	of the call (SYS_...)
 * @err:	positive errno that the call fails with
 *
 * For the calling thread and those that it makes later. It may be called again
 * for other calls. Sets no_new_privs.
 *
 * Return: 0; -EINVAL under qemu-user, which knows no filters; -errno.
 */
int refuse_call(long number, int err);

#endif /* TESTS_LIB_REFUSE_H */
