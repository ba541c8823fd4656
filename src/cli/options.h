/* SPDX-License-Identifier: MIT */
/*
 * The command line and the environment. The options and variables of
 * wireguard-go mean the same here, so a script that starts one can start the
 * other.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "crypto/aead.h"

/* Bytes of options.error. A choice: a longer message is cut off. */
#define OPTIONS_ERROR_CAP 128

/* Bytes of options.stats_group, with its final 0: groupadd(8) takes names of up to 32
 * bytes. */
#define OPTIONS_GROUP_CAP 33

/* Results of options_parse() with which no tunnel is started. */
enum {
	OPTIONS_E_HELP = 1,
	OPTIONS_E_VERSION,
	OPTIONS_E_BENCH_CRYPTO,
	OPTIONS_E_USAGE, /* options.error says why */
};

/**
 * struct options - the settings of a run
 * @name:		the interface's name; borrowed from the command line
 * @is_foreground:	do not become a daemon
 * @keeps_output:	a daemon keeps stdout and stderr, for its log
 * @level:		what is logged
 * @tun_fd:		open TUN device, or -1
 * @netlink_fd:		rtnetlink socket of the namespace of @tun_fd, if that is
 *			another one than this process's; or -1
 * @uapi_fd:		listening socket, or -1
 * @directory:		of the configuration and statistics sockets; NULL: the
 *			default
 * @n_workers:		most threads that move packets; 0: as many as can run at
 *			once
 * @n_queues:		queues of the interface; 0: the default
 * @no_gso:		send no trains
 * @no_gro:		have the kernel not merge received datagrams
 * @no_tso:		no TCP super-packets on the TUN, either way
 * @no_uso:		no UDP super-packets on the TUN, either way
 * @no_overlay:		no super-packets of VXLAN and Geneve on the TUN, either
 *		way
 * @no_vnet_hdr:	plain packets only on the TUN
 * @user:		user to become; NULL: none was named
 * @keeper_user:	user that the keeper becomes; NULL: none was named
 * @no_isolation:	keep all rights, in one process
 * @aead:		backend that encrypts data messages
 * @bench_is_csv:	with OPTIONS_E_BENCH_CRYPTO: print lines for programs
 * @stats_group:	group that may use the statistics socket; empty: none
 * @finds_mtu:		find the path MTU of each peer
 * @clamps_mss:		lower the MSS of the connections in the tunnel
 * @fails_closed:	if engines die again and again, the interface stays
 * @leaves_core:	an engine that dies leaves a core file
 * @eager:		all threads that move packets work all the time
 * @has_store:		the service manager keeps descriptors over a restart
 * @bad_level:		the value of LOG_LEVEL, if it is unknown; else NULL
 * @bad_foreground:	the value of WG_PROCESS_FOREGROUND, if it is unknown;
 *		else NULL
 * @error:		with OPTIONS_E_USAGE: the reason, without a full stop
 */
struct options {
	const char *name;
	bool is_foreground;
	bool keeps_output;
	enum log_level level;
	int tun_fd;
	int netlink_fd;
	int uapi_fd;
	const char *directory;
	unsigned int n_workers;
	unsigned int n_queues;
	bool no_gso;
	bool no_gro;
	bool no_tso;
	bool no_uso;
	bool no_overlay;
	bool no_vnet_hdr;
	const char *user;
	const char *keeper_user;
	bool no_isolation;
	enum aead_choice aead;
	bool bench_is_csv;
	char stats_group[OPTIONS_GROUP_CAP];
	bool finds_mtu;
	bool clamps_mss;
	bool fails_closed;
	bool leaves_core;
	bool eager;
	const char *notify_socket;
	uint64_t watchdog_us;
	bool has_store;
	const char *bad_notify;
	const char *bad_watchdog;
	const char *bad_level;
	const char *bad_foreground;
	char error[OPTIONS_ERROR_CAP];
};

/**
 * options_parse() - read the command line and the environment
 * @options:	filled
 * @argc:	as given to main()
 * @argv:	as given to main(); its order may change
 *
 * One thread at a time, because getopt_long(3) has global state.
 *
 * Return: 0; OPTIONS_E_HELP; OPTIONS_E_VERSION; OPTIONS_E_BENCH_CRYPTO;
 * OPTIONS_E_USAGE.
 */
int options_parse(struct options *options, int argc, char **argv);

/* options_get_usage() - how to call the program; with its final newline */
const char *options_get_usage(void);

#endif /* CLI_OPTIONS_H */
