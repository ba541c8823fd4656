/* SPDX-License-Identifier: MIT */
/* An answer is read whole, then cut in place: ends of lines and "=" become 0. */
#include "ctl/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/upgrade.h"
#include "ctl/directory.h"
#include "ctl/names.h"

/* By enum ctl_socket. */
static const struct {
	const char *suffix;
	int kind;
} sockets[] = {
	[CTL_CONFIG] = { ".sock", SOCK_STREAM },
	[CTL_STATS] = { ".stats", SOCK_STREAM },
	[CTL_UPGRADE] = { "." UPGRADE_SUFFIX, SOCK_SEQPACKET },
};

enum {
	/* Bytes that one read(2) takes at most. A choice. */
	READ_LEN = 1 << 16,
	KEY_LEN = 32,
};

/* Connect to a socket of an interface in one of the directories. */
static int connect_in(const char *directory, const char *interface,
		      enum ctl_socket which)
{
	const struct timeval patience = { .tv_sec = CTL_PATIENCE_S };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, err;

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s%s", directory,
		     interface,
		     sockets[which].suffix) >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, sockets[which].kind | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int ctl_connect_to(const char *interface, enum ctl_socket which)
{
	char directory[DIRECTORY_CAP];
	int fd = directory_get(directory);

	if (fd == 0)
		fd = connect_in(directory, interface, which);
	return fd >= 0 ? fd : connect_in(CTL_DIRECTORY, interface, which);
}

int ctl_connect(const char *interface)
{
	return ctl_connect_to(interface, CTL_STATS);
}

static bool has_ended(const char *text, size_t len)
{
	return len >= 2 && text[len - 1] == '\n' && text[len - 2] == '\n';
}

/* Read an answer up to its empty line. Return: its text, which the caller frees; NULL:
 * *err says why. */
static char *read_answer(int fd, int *err)
{
	size_t len = 0, cap = 0;
	char *text = NULL;

	while (!has_ended(text, len)) {
		ssize_t n;

		if (cap - len <= READ_LEN) {
			char *more = realloc(text, cap += 4 * READ_LEN);

			if (!more) {
				*err = -ENOMEM;
				break;
			}
			text = more;
		}
		n = read(fd, text + len, READ_LEN);
		if (n > 0) {
			len += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		*err = n == 0 ? -EPROTO : errno == EAGAIN ? -ETIMEDOUT : -errno;
		break;
	}
	if (has_ended(text, len)) {
		text[len] = 0;
		return text;
	}
	free(text);
	return NULL;
}

/* Write a request, which may be long, to a socket that waits. */
static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPROTO;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Ask over a socket, and close it; @fd may be the -errno of ctl_connect_to(). Return: the
 * answer, which the caller frees; NULL: *err says why. */
static char *ask(int fd, const char *request, size_t len, int *err)
{
	char *text = NULL;

	if (fd < 0) {
		*err = fd;
		return NULL;
	}
	*err = write_all(fd, request, len);
	if (*err == 0)
		text = read_answer(fd, err);
	close(fd);
	return text;
}

int ctl_set(const char *interface, const char *request, size_t len)
{
	int err = 0;
	char *text = ask(ctl_connect_to(interface, CTL_CONFIG), request, len,
			 &err),
	     *at;

	if (!text)
		return err;
	at = strstr(text, "errno=");
	/* The UAPI has errors as positive or as negative numbers. */
	err = at ? -abs(atoi(at + strlen("errno="))) : -EPROTO;
	free(text);
	return err;
}

/* The base64 digit of six bits (RFC 4648, section 4). */
static char digit(unsigned int bits)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz0123456789+/";

	return digits[bits & 63];
}

bool ctl_key_from_hex(char out[CTL_KEY_CAP], const char *hex)
{
	unsigned char key[KEY_LEN + 1] = { 0 };

	for (int i = 0; i < KEY_LEN; i++)
		if (strspn(hex + 2 * i, "0123456789abcdefABCDEF") < 2 ||
		    sscanf(hex + 2 * i, "%2hhx", &key[i]) != 1)
			return false;
	/* 32 bytes are ten groups of three, and two more; the last byte of @key is
	 * 0. */
	for (int i = 0; i <= KEY_LEN; i += 3) {
		unsigned int bits = (unsigned int)key[i] << 16 |
				    (unsigned int)key[i + 1] << 8 |
				    (i + 2 < KEY_LEN ? key[i + 2] : 0);

		*out++ = digit(bits >> 18);
		*out++ = digit(bits >> 12);
		*out++ = digit(bits >> 6);
		*out++ = i + 2 < KEY_LEN ? digit(bits) : '=';
	}
	*out = 0;
	return true;
}

/*
 * Make room for one more than @n things of @size bytes. The room doubles each time that
 * the number is a power of two. Return: the array, which may have moved; NULL: there is
 * no memory, and @all stays.
 */
static void *grow(void *all, size_t n, size_t size)
{
	if (n & (n - 1))
		return all;
	return realloc(all, (n ? 2 * n : 1) * size);
}

static int add_line(struct ctl_lines *lines, const char *key, const char *value)
{
	struct ctl_line *all = grow(lines->all, lines->n, sizeof(*all));

	if (!all)
		return -ENOMEM;
	lines->all = all;
	lines->all[lines->n++] = (struct ctl_line){ key, value };
	return 0;
}

static int add_peer(struct ctl_snapshot *s, const char *hex)
{
	struct ctl_peer *all = grow(s->peers, s->n_peers, sizeof(*all));

	if (!all)
		return -ENOMEM;
	s->peers = all;
	s->peers[s->n_peers] = (struct ctl_peer){ 0 };
	if (!ctl_key_from_hex(s->peers[s->n_peers].key, hex))
		return -EPROTO;
	s->n_peers++;
	return 0;
}

static int take_line(struct ctl_snapshot *s, char *line)
{
	char *value = strchr(line, '=');

	if (!value)
		return -EPROTO;
	*value++ = 0;
	if (strcmp(line, "errno") == 0)
		return strcmp(value, "0") == 0 ? 0 : -EPROTO;
	if (strcmp(line, "public_key") == 0)
		return add_peer(s, value);
	return add_line(s->n_peers ? &s->peers[s->n_peers - 1].lines
				   : &s->device,
			line, value);
}

int ctl_snapshot_read(struct ctl_snapshot *s, const char *interface,
		      const char *request)
{
	char *rest, *line, text[32];
	int len = snprintf(text, sizeof(text), "%s\n\n", request), err = 0;

	*s = (struct ctl_snapshot){ 0 };
	snprintf(s->interface, sizeof(s->interface), "%s", interface);
	s->text = ask(ctl_connect(interface), text, (size_t)len, &err);
	if (!s->text)
		return err;
	rest = s->text;
	while (err == 0 && (line = strsep(&rest, "\n")) && *line)
		err = take_line(s, line);
	if (err == 0)
		ctl_names_read(s);
	else
		ctl_snapshot_free(s);
	return err;
}

void ctl_snapshot_free(struct ctl_snapshot *s)
{
	for (size_t i = 0; i < s->n_peers; i++)
		free(s->peers[i].lines.all);
	free(s->peers);
	free(s->device.all);
	free(s->text);
	*s = (struct ctl_snapshot){ 0 };
}

const char *ctl_get(const struct ctl_lines *lines, const char *key)
{
	for (size_t i = 0; i < lines->n; i++)
		if (strcmp(lines->all[i].key, key) == 0)
			return lines->all[i].value;
	return NULL;
}

uint64_t ctl_number(const struct ctl_lines *lines, const char *key)
{
	const char *text = ctl_get(lines, key);

	return text ? strtoull(text, NULL, 10) : 0;
}

static bool has_suffix(const struct dirent *entry, enum ctl_socket which)
{
	const char *suffix = sockets[which].suffix;
	size_t len = strlen(entry->d_name), end = strlen(suffix);

	return *entry->d_name != '.' && len > end &&
	       strcmp(entry->d_name + len - end, suffix) == 0;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp((*(const struct dirent *const *)a)->d_name,
		      (*(const struct dirent *const *)b)->d_name);
}

/* The files of both directories, sorted. Return: how many. */
static size_t find_files(struct dirent ***out)
{
	struct dirent **all = NULL, **more = NULL, **both;
	char own[DIRECTORY_CAP];
	int n = scandir(CTL_DIRECTORY, &all, NULL, alphasort);
	int n_more = 0;

	if (directory_get(own) == 0 && strcmp(own, CTL_DIRECTORY) != 0)
		n_more = scandir(own, &more, NULL, alphasort);
	n = n > 0 ? n : 0;
	n_more = n_more > 0 ? n_more : 0;
	both = n_more ? realloc(all, (size_t)(n + n_more) * sizeof(*all)) : all;
	if (both)
		all = both;
	for (int i = 0; i < n_more; i++)
		if (both)
			all[n++] = more[i];
		else
			free(more[i]);
	free(more);
	*out = all;
	if (n && all)
		qsort(all, (size_t)n, sizeof(*all), compare_entries);
	return (size_t)n;
}

/* The names of interfaces in @entries, each once; NULL: there is none. */
static char **make_names(struct dirent **entries, size_t count,
			 enum ctl_socket which, size_t *n)
{
	size_t room = sizeof(char *), end = strlen(sockets[which].suffix);
	char **names, *at;

	for (size_t i = 0; i < count; i++)
		room += sizeof(char *) + strlen(entries[i]->d_name) + 1;
	names = calloc(1, room);
	at = names ? (char *)(names + count + 1) : NULL;
	for (size_t i = 0; names && i < count; i++) {
		size_t len = strlen(entries[i]->d_name);

		if (!has_suffix(entries[i], which) ||
		    (i &&
		     strcmp(entries[i]->d_name, entries[i - 1]->d_name) == 0))
			continue;
		len -= end;
		snprintf(at, len + 1, "%s", entries[i]->d_name);
		names[(*n)++] = at;
		at += len + 1;
	}
	if (*n)
		return names;
	free(names);
	return NULL;
}

char **ctl_interfaces_with(enum ctl_socket which, size_t *n)
{
	struct dirent **entries = NULL;
	size_t count = find_files(&entries);
	char **names;

	*n = 0;
	names = make_names(entries, count, which, n);
	for (size_t i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return names;
}

char **ctl_interfaces(size_t *n)
{
	return ctl_interfaces_with(CTL_STATS, n);
}
