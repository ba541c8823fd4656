/* SPDX-License-Identifier: MIT */
/* The commands of wiregatherctl. */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit statuses. */
enum ctl_status {
	CTL_OK,
	CTL_FAILED, /* the system, or a daemon, has refused */
	CTL_USAGE,  /* the command line is wrong */
	CTL_FAULTY, /* `why` has found a fault */
};

/**
 * struct ctl_options - what the command line asks for
 * @interfaces:	names; borrowed
 * @n_interfaces: how many
 * @json:	print JSON, for programs
 * @quiet:	print nothing; the exit status is the answer
 * @has_all:	no interface was named: all are meant
 * @follow:	print events as they happen
 * @open_metrics: metrics as OpenMetrics 1.0
 * @http:	answer one request of HTTP on stdin
 * @listen:	address and port to answer requests of HTTP on; NULL: none
 * @textfile:	directory for a file with the metrics; NULL: print them
 */
struct ctl_options {
	char **interfaces;
	size_t n_interfaces;
	bool json;
	bool quiet;
	bool has_all;
	bool follow;
	bool open_metrics;
	bool http;
	const char *listen;
	const char *textfile;
};

/* ctl_complain() - say on stderr why an interface cannot be asked. Return: CTL_FAILED. */
int ctl_complain(const char *interface, int err);

/* ctl_fail() - print a line on stderr, behind the name of the program. Return:
 * CTL_FAILED. */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ctl_refuse() - say on stderr what is wrong with the token, and the usage. Return:
 * CTL_USAGE. */
int ctl_refuse(const char *what, const char *token);

/**
 * ctl_read_seconds() - read a number of seconds
 * @text:	decimal digits, no more than @max has
 * @max:	the greatest number
 * @out:	set on success, to 1 to @max
 *
 * Return: true; false: it is no such number.
 */
bool ctl_read_seconds(const char *text, unsigned int max, unsigned int *out);

/* ctl_status() - what the interfaces do. Return: enum ctl_status. */
int ctl_status(const struct ctl_options *options);

/* ctl_events() - print the last events of each peer; or follow them, until the daemon
 * ends or a signal comes. Return: enum ctl_status. */
int ctl_events(const struct ctl_options *options);

/* ctl_why() - why something does not work; it reads its own arguments. Return: enum
 * ctl_status. */
int ctl_why(int argc, char **argv);

/* ctl_metrics() - metrics for Prometheus. Return: enum ctl_status. */
int ctl_metrics(const struct ctl_options *options);

/* ctl_reresolve() - keep endpoints that are given by name current; the arguments begin
 * with the name of the command. Return: enum ctl_status. */
int ctl_reresolve(int argc, char **argv);

/* ctl_run() - a tunnel for one command. Return: enum ctl_status, or not at all. */
int ctl_run(int argc, char **argv);

/* ctl_exec() - run a command in a tunnel of ctl_run(). Return: enum ctl_status, or not
 * at all. */
int ctl_exec(int argc, char **argv);

/* ctl_bundle() - what the report of a fault needs, without keys. The command's own
 * arguments. Return: enum ctl_status. */
int ctl_bundle(int argc, char **argv);

/* ctl_top() - interfaces and peers on a terminal, until a key ends it. The command's own
 * arguments. Return: enum ctl_status. */
int ctl_top(int argc, char **argv);

/* ctl_upgrade() - have another program go on for running tunnels; the command's own
 * arguments. Return: enum ctl_status. */
int ctl_upgrade(int argc, char **argv);

#endif /* CTL_COMMANDS_H */
