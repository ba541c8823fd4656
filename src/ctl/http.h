/* SPDX-License-Identifier: MIT */
/*
 * The metrics by HTTP, as far as a scraper needs it: one request of GET for each
 * connection.
 *
 * One thread.
 */
#ifndef CTL_HTTP_H
#define CTL_HTTP_H

#include <sys/socket.h>

#include "ctl/commands.h"

/* Where ctl_http_listen() listens if the command line does not say it. The port is that
 * of other exporters for WireGuard. */
#define CTL_HTTP_ADDRESS "127.0.0.1:9586"

/* ctl_http_answer() - answer one request on stdin. Return: enum ctl_status. */
int ctl_http_answer(const struct ctl_options *options);

/**
 * ctl_http_listen() - answer requests on @listen of the options
 * @options:	options
 *
 * Up to eight clients are served at a time. Each has five seconds for its request, and
 * ten to take the answer; a request has at most 8 KiB.
 *
 * Return: enum ctl_status; it returns only if it cannot go on.
 */
int ctl_http_listen(const struct ctl_options *options);

/**
 * ctl_http_parse_address() - an address and port to listen on
 * @text:	"127.0.0.1:9586" or "[::1]:9586"; a number, not a name
 * @addr:	filled on success
 * @len:	set to its length
 *
 * Return: NULL; else what is wrong with the text: a static text.
 */
const char *ctl_http_parse_address(const char *text,
				   struct sockaddr_storage *addr,
				   socklen_t *len);

#endif /* CTL_HTTP_H */
