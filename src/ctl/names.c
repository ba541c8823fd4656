/* SPDX-License-Identifier: MIT */
#include "ctl/names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *trim(char *text)
{
	size_t len;

	while (isspace((unsigned char)*text))
		text++;
	len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		text[--len] = 0;
	return text;
}

/* The value of "KEY = VALUE", NULL for another line. */
static char *value_of(char *line, const char *key)
{
	size_t len = strlen(key);

	if (strncasecmp(line, key, len) != 0)
		return NULL;
	line = trim(line + len);
	return *line == '=' ? trim(line + 1) : NULL;
}

static void give(struct ctl_snapshot *s, const char *key, const char *name)
{
	if (!*key || !*name)
		return;
	for (size_t i = 0; i < s->n_peers; i++)
		if (strcmp(s->peers[i].key, key) == 0)
			snprintf(s->peers[i].name, sizeof(s->peers[i].name),
				 "%s", name);
}

void ctl_names_read(struct ctl_snapshot *s)
{
	char path[sizeof(CTL_CONFIGURATION) + sizeof(s->interface) + 8];
	char key[CTL_KEY_CAP] = "", name[CTL_NAME_CAP] = "";
	char *line = NULL, *text, *value;
	size_t cap = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.conf", CTL_CONFIGURATION,
		 s->interface);
	file = fopen(path, "re");
	if (!file)
		return;
	while (getline(&line, &cap, file) >= 0) {
		text = trim(line);
		if (*text == '[') {
			give(s, key, name);
			*key = *name = 0;
		} else if (*text == '#' &&
			   (value = value_of(trim(text + 1),
					     "friendly_name"))) {
			snprintf(name, sizeof(name), "%s", value);
		} else if ((value = value_of(text, "PublicKey"))) {
			snprintf(key, sizeof(key), "%s", value);
		}
	}
	give(s, key, name);
	free(line);
	fclose(file);
}
