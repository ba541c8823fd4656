/* SPDX-License-Identifier: MIT */
/*
 * wiregatherctl top: interfaces and peers on a terminal, drawn anew after each interval.
 *
 * Each cell is written at its own column and padded to its width. A cell that is too
 * long is cut by the next one, which is written over it.
 */
#include "base/now.h"
#include "ctl/commands.h"

#include <ctype.h>
#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/attention.h"
#include "ctl/sample.h"
#include "ctl/snapshot.h"

enum {
	INTERVAL_MIN_MS = 100,
	INTERVAL_MAX_MS = 3600 * 1000,
	/* Widths of columns. Together they have the 80 columns of a usual terminal;
	 * what a wider one has more goes to the first two. */
	WIDTH = 80,
	PEER_W = 16,
	ENDPOINT_W = 24,
	RATE_W = 10,
	SHORT_W = 9,
	INTERFACE_W = 16,
	COUNT_W = 7,
	/* Of an IPv6 address and port. */
	ENDPOINT_W_MAX = 48,
	/* Lines of text above the interfaces, and heads of both tables. */
	FRAME_LINES = 3,
	CELL_CAP = 512,
};

/**
 * struct view - what is shown
 * @interfaces:	names that the command line has; none: all that there are
 * @n:		how many
 * @interval_ms: time between two samples
 * @order:	what peers are sorted by
 * @is_reversed: the other way round
 * @has_drops:	counters of drops are shown in place of peers
 * @first:	the first line of the table that is shown
 * @sample:	the last sample
 * @at_ms:	when it was taken, by CLOCK_MONOTONIC
 */
struct view {
	char **interfaces;
	size_t n;
	int interval_ms;
	enum ctl_order order;
	bool is_reversed;
	bool has_drops;
	size_t first;
	struct ctl_sample sample;
	long long at_ms;
};

/* ------------------------------------------------------------------------ samples */

/* Take a sample of all interfaces, in place of the last one. Return: 0; -ENOMEM. */
static int take(struct view *v)
{
	struct ctl_sample next = { 0 };
	char **found = NULL, **names = v->interfaces;
	long long now = now_monotonic_ms();
	double seconds = v->at_ms ? (double)(now - v->at_ms) / 1000 : 0;
	size_t n = v->n;
	int err = 0;

	if (!n)
		names = found = ctl_interfaces(&n);
	for (size_t i = 0; i < n && err == 0; i++) {
		struct ctl_snapshot s;
		int result = ctl_snapshot_read(&s, names[i], "get=stats");

		if (result < 0) {
			err = ctl_sample_add_error(&next, names[i], result);
			continue;
		}
		err = ctl_sample_add(&next, &s, &v->sample, seconds);
		ctl_snapshot_free(&s);
	}
	free(found);
	ctl_sample_end(&next);
	ctl_sample_free(&v->sample);
	v->sample = next;
	v->at_ms = now;
	return err;
}

/* ------------------------------------------------------------------------ drawing */

/* Write a cell; a negative width: to the right. What the terminal has no room for is
 * left out. Return: the column behind it. */
static int cell(int y, int x, int width, const char *text)
{
	char padded[CELL_CAP];

	snprintf(padded, sizeof(padded), "%*s", -width, text);
	if (y < LINES && x < COLS)
		mvaddnstr(y, x, padded, COLS - x);
	return x + abs(width);
}

static int rate_cell(int y, int x, int width, double value, const char *unit)
{
	char number[CTL_SAMPLE_NUMBER_CAP], text[CELL_CAP];

	snprintf(text, sizeof(text), "%s%s", ctl_sample_print(number, value),
		 unit);
	return cell(y, x, -width, text);
}

/* Bits a second, of bytes a second. */
static int bits_cell(int y, int x, double bytes)
{
	/* Behind a number without a prefix a blank is missing. */
	return rate_cell(y, x, RATE_W, 8 * bytes,
			 8 * bytes < 999.5 ? " bit" : "bit");
}

/* How many datagrams a message has. */
static int batch_cell(int y, int x, double datagrams, double messages)
{
	char text[CELL_CAP] = "-";

	if (messages > 0)
		snprintf(text, sizeof(text), "%.1f", datagrams / messages);
	return cell(y, x, -COUNT_W, text);
}

/* The column by which the rows are sorted is in bold. */
static int head_cell(int y, int x, int width, const char *text, bool is_order)
{
	if (is_order)
		attron(A_BOLD | A_UNDERLINE);
	x = cell(y, x, width, text);
	if (is_order)
		attroff(A_BOLD | A_UNDERLINE);
	return x;
}

static void draw_device(int y, const struct ctl_device *device)
{
	char sessions[CTL_SAMPLE_NUMBER_CAP], peers[CTL_SAMPLE_NUMBER_CAP];
	const double *rates = device->rates;
	char text[CELL_CAP];
	int x = cell(y, 0, INTERFACE_W, device->interface);

	if (device->err) {
		cell(y, x, COLS - x, strerror(-device->err));
		return;
	}
	x = bits_cell(y, x, rates[CTL_IN_BYTES]);
	x = rate_cell(y, x, COUNT_W, rates[CTL_IN_DATAGRAMS], "");
	x = batch_cell(y, x, rates[CTL_IN_DATAGRAMS], rates[CTL_IN_MESSAGES]);
	x = bits_cell(y, x, rates[CTL_OUT_BYTES]);
	x = rate_cell(y, x, COUNT_W, rates[CTL_OUT_DATAGRAMS], "");
	x = batch_cell(y, x, rates[CTL_OUT_DATAGRAMS], rates[CTL_OUT_MESSAGES]);
	x = rate_cell(y, x, COUNT_W, rates[CTL_DROPS], "");
	snprintf(text, sizeof(text), "%s/%s",
		 ctl_sample_print(sessions, (double)device->n_sessions),
		 ctl_sample_print(peers, (double)device->n_peers));
	cell(y, x, -(WIDTH - x), device->is_up ? text : "down");
}

/* Interfaces, as far as they take half of the lines. Return: the next line. */
static int draw_devices(const struct view *v, int y)
{
	int x = cell(y, 0, INTERFACE_W, "INTERFACE");

	x = cell(y, x, -RATE_W, "IN/s");
	x = cell(y, x, -COUNT_W, "PKT/s");
	x = cell(y, x, -COUNT_W, "BATCH");
	x = cell(y, x, -RATE_W, "OUT/s");
	x = cell(y, x, -COUNT_W, "PKT/s");
	x = cell(y, x, -COUNT_W, "BATCH");
	x = cell(y, x, -COUNT_W, "DROP/s");
	cell(y++, x, -(WIDTH - x), "SESSIONS");
	for (size_t i = 0; i < v->sample.n_devices && y <= LINES / 2; i++)
		draw_device(y++, &v->sample.devices[i]);
	return y;
}

/* Widths of the first two columns of the peers. */
static void widths(int *peer, int *endpoint)
{
	int more = COLS > WIDTH ? COLS - WIDTH : 0;

	*endpoint = ENDPOINT_W + more;
	if (*endpoint > ENDPOINT_W_MAX)
		*endpoint = ENDPOINT_W_MAX;
	*peer = PEER_W + more - (*endpoint - ENDPOINT_W);
}

static void draw_row(const struct view *v, int y, const struct ctl_row *row)
{
	char text[CELL_CAP], span[32] = "never";
	int peer, endpoint, x;
	uint64_t now = (uint64_t)time(NULL);

	widths(&peer, &endpoint);
	/* With one interface its name is above. */
	snprintf(text, sizeof(text), "%s%s%s",
		 v->sample.n_devices > 1 ? row->interface : "",
		 v->sample.n_devices > 1 ? "/" : "", row->title);
	cell(y, 0, peer, text);
	x = cell(y, peer, 1, "");
	cell(y, x, endpoint - 1, row->endpoint);
	x = bits_cell(y, peer + endpoint, row->in);
	x = bits_cell(y, x, row->out);
	if (row->handshake)
		ctl_span(span, sizeof(span),
			 now > row->handshake ? now - row->handshake : 0);
	x = cell(y, x, -(SHORT_W + 2), span);
	rate_cell(y, x, SHORT_W, row->drops, "");
}

static void draw_peers(const struct view *v, int y)
{
	const struct ctl_row **rows =
		ctl_sample_order(&v->sample, v->order, v->is_reversed);
	int peer, endpoint, x;

	widths(&peer, &endpoint);
	x = head_cell(y, 0, peer, "PEER", v->order == CTL_BY_NAME);
	x = cell(y, x, endpoint, " ENDPOINT");
	x = head_cell(y, x, -RATE_W, "IN/s", v->order == CTL_BY_IN);
	x = head_cell(y, x, -RATE_W, "OUT/s", v->order == CTL_BY_OUT);
	x = head_cell(y, x, -(SHORT_W + 2), "HANDSHAKE",
		      v->order == CTL_BY_HANDSHAKE);
	head_cell(y++, x, -SHORT_W, "DROP/s", v->order == CTL_BY_DROPS);
	for (size_t i = v->first; rows && i < v->sample.n_rows && y < LINES;
	     i++)
		draw_row(v, y++, rows[i]);
	free(rows);
}

/* Counters of drops that are not 0. */
static void draw_drops(const struct view *v, int y)
{
	const int reason_w = WIDTH - INTERFACE_W - 2 * RATE_W;
	size_t n = 0;
	int x = cell(y, 0, INTERFACE_W, "INTERFACE");

	x = cell(y, x, reason_w, "DROPPED");
	x = cell(y, x, -RATE_W, "EACH s");
	cell(y++, x, -RATE_W, "SO FAR");
	for (size_t i = 0; i < v->sample.n_devices; i++) {
		const struct ctl_device *device = &v->sample.devices[i];

		for (size_t k = 0; k < device->n_reasons; k++) {
			const struct ctl_reason *reason = &device->reasons[k];

			if (!reason->total || n++ < v->first || y >= LINES)
				continue;
			x = cell(y, 0, INTERFACE_W, device->interface);
			x = cell(y, x, reason_w, reason->key);
			x = rate_cell(y, x, RATE_W, reason->rate, "");
			rate_cell(y++, x, RATE_W, (double)reason->total, "");
		}
	}
	if (!n)
		cell(y, 0, WIDTH, "nothing was dropped so far");
}

/* The first line: what is shown, what needs attention, and the keys. */
static void draw_title(const struct view *v)
{
	static const char help[] = "q quit  s sort  r reverse  d drops";
	char text[CELL_CAP];
	size_t n = 0;

	for (size_t i = 0; i < v->sample.n_devices; i++)
		n += v->sample.devices[i].n_attention;
	snprintf(text, sizeof(text), "wiregatherctl top, %.1f s",
		 v->interval_ms / 1000.0);
	if (n)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			 ", attention: %zu", n);
	attron(A_REVERSE);
	cell(0, 0, COLS, text);
	if (COLS >= (int)(strlen(text) + sizeof(help)) + 1)
		cell(0, COLS - (int)sizeof(help), (int)sizeof(help), help);
	attroff(A_REVERSE);
}

static void draw(struct view *v)
{
	int y;

	erase();
	draw_title(v);
	y = draw_devices(v, 1);
	if (!v->sample.n_devices)
		cell(y++, 0, WIDTH, "no interface has statistics");
	y++;
	if (v->has_drops)
		draw_drops(v, y);
	else
		draw_peers(v, y);
	refresh();
}

/* ------------------------------------------------------------------------ keys */

static size_t count_lines(const struct view *v)
{
	size_t n = 0;

	if (!v->has_drops)
		return v->sample.n_rows;
	for (size_t i = 0; i < v->sample.n_devices; i++)
		for (size_t k = 0; k < v->sample.devices[i].n_reasons; k++)
			n += v->sample.devices[i].reasons[k].total > 0;
	return n;
}

/* Move the first line that is shown; one line stays in any case. */
static void scroll_by(struct view *v, long long lines)
{
	long long last = (long long)count_lines(v) - 1;
	long long first = (long long)v->first + lines;

	if (first > last)
		first = last;
	v->first = first > 0 ? (size_t)first : 0;
}

/* Return: false: the program ends. */
static bool handle_key(struct view *v, int key)
{
	const int page = LINES > 2 * FRAME_LINES ? LINES - 2 * FRAME_LINES : 1;

	switch (key) {
	case 'q':
		return false;
	case 's':
		v->order = (v->order + 1) % CTL_ORDERS;
		v->first = 0;
		break;
	case 'r':
		v->is_reversed = !v->is_reversed;
		break;
	case 'd':
		v->has_drops = !v->has_drops;
		v->first = 0;
		break;
	case KEY_UP:
		scroll_by(v, -1);
		break;
	case KEY_DOWN:
		scroll_by(v, 1);
		break;
	case KEY_PPAGE:
		scroll_by(v, -page);
		break;
	case KEY_NPAGE:
		scroll_by(v, page);
		break;
	case KEY_HOME:
		v->first = 0;
		break;
	default:
		/* A change of the terminal's size, KEY_RESIZE, is a key, too. */
		break;
	}
	return true;
}

/* Draw, and wait for keys, until one ends the program. */
static int show(struct view *v)
{
	int err = 0;

	for (;;) {
		long long left = v->at_ms + v->interval_ms - now_monotonic_ms();
		int key;

		if (!v->at_ms || left <= 0) {
			err = take(v);
			if (err < 0)
				return err;
			scroll_by(v, 0);
			left = v->interval_ms;
		}
		draw(v);
		timeout((int)left);
		key = getch();
		if (key != ERR && !handle_key(v, key))
			return 0;
	}
}

static int run(struct view *v)
{
	const char *type = getenv("TERM");
	SCREEN *screen;
	int err;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fputs("wiregatherctl: top: stdin and stdout are no terminal\n",
		      stderr);
		return CTL_FAILED;
	}
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		fprintf(stderr, "wiregatherctl: top: no such terminal: %s\n",
			type ? type : "TERM is not set");
		return CTL_FAILED;
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	err = show(v);
	endwin();
	delscreen(screen);
	ctl_sample_free(&v->sample);
	return err < 0 ? ctl_complain("top", err) : CTL_OK;
}

/* Return: milliseconds; -1: the text is no number of seconds in the bounds. */
static int parse_interval(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (!isdigit((unsigned char)*text) || *end ||
	    !(seconds * 1000 >= INTERVAL_MIN_MS) ||
	    !(seconds * 1000 <= INTERVAL_MAX_MS))
		return -1;
	return (int)(seconds * 1000 + 0.5);
}

int ctl_top(int argc, char **argv)
{
	static const struct option options[] = {
		{ "interval", required_argument, NULL, 'i' },
		{ "sort", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct view view = { .interval_ms = 1000 };
	int c, order;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':')
			return ctl_refuse("no value", argv[optind - 1]);
		if (c == '?')
			return ctl_refuse("no such option", argv[optind - 1]);
		if (c == 'i') {
			view.interval_ms = parse_interval(optarg);
			if (view.interval_ms < 0)
				return ctl_refuse(
					"--interval: not from 0.1 to 3600",
					optarg);
			continue;
		}
		order = ctl_sample_order_from(optarg);
		if (order < 0)
			return ctl_refuse("--sort: not in, out, handshake, "
					  "drops or name",
					  optarg);
		view.order = (enum ctl_order)order;
	}
	view.interfaces = argv + optind;
	view.n = (size_t)(argc - optind);
	return run(&view);
}
