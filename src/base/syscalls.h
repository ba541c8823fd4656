/* SPDX-License-Identifier: MIT */
/*
 * <sys/syscall.h>, and the numbers that older headers lack.
 *
 * From number 424 on (Linux 5.1) a system call has the same number on all
 * architectures, but MIPS and Alpha add an offset to each number. A kernel that
 * does not have a system call answers with ENOSYS.
 */
#ifndef BASE_SYSCALLS_H
#define BASE_SYSCALLS_H

#include <sys/syscall.h>

#if defined(__mips__)
#define SYSCALLS_OFFSET __NR_Linux
#elif defined(__alpha__)
#define SYSCALLS_OFFSET 110
#else
#define SYSCALLS_OFFSET 0
#endif

#ifndef SYS_open_tree
#define SYS_open_tree (SYSCALLS_OFFSET + 428)
#endif
#ifndef SYS_move_mount
#define SYS_move_mount (SYSCALLS_OFFSET + 429)
#endif
#ifndef SYS_clone3
#define SYS_clone3 (SYSCALLS_OFFSET + 435)
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open (SYSCALLS_OFFSET + 434)
#endif
#ifndef SYS_close_range
#define SYS_close_range (SYSCALLS_OFFSET + 436)
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset (SYSCALLS_OFFSET + 444)
#endif
#ifndef SYS_landlock_add_rule
#define SYS_landlock_add_rule (SYSCALLS_OFFSET + 445)
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self (SYSCALLS_OFFSET + 446)
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret (SYSCALLS_OFFSET + 447)
#endif

#endif /* BASE_SYSCALLS_H */
