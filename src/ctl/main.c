/* SPDX-License-Identifier: MIT */
/* The command line of wiregatherctl. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/http.h"
#include "ctl/snapshot.h"

static const char usage[] =
	"usage: wiregatherctl status [--json | --quiet] [INTERFACE...]\n"
	"       wiregatherctl events [--follow] [--json] [INTERFACE...]\n"
	"       wiregatherctl metrics [--openmetrics | --textfile DIRECTORY | --http |\n"
	"                             --listen[=ADDRESS:PORT]] [INTERFACE...]\n"
	"       wiregatherctl reresolve [--once] [--interval SECONDS]\n"
	"                               [--config FILE] [INTERFACE...]\n"
	"       wiregatherctl run [--config FILE|NAME] [--name NAME] [--netns NAMESPACE]\n"
	"                         [--publish ADDRESS:PORT:PORT[/udp]] [--] [COMMAND...]\n"
	"       wiregatherctl exec NAME [--] [COMMAND...]\n"
	"       wiregatherctl why [--json] [--passive] INTERFACE [PEER | ADDRESS]\n"
	"       wiregatherctl top [--interval SECONDS] [--sort KEY] [INTERFACE...]\n"
	"       wiregatherctl bundle [--output FILE] [--seconds N] [INTERFACE...]\n"
	"       wiregatherctl upgrade [--program FILE | --if-changed] [--timeout SECONDS]\n"
	"                             --all | INTERFACE...\n"
	"       wiregatherctl --version | --help\n"
	"\n"
	"Tells what WireGuard interfaces of wiregather do. Without INTERFACE: all.\n"
	"It needs the right to use /var/run/wireguard/INTERFACE.stats.\n"
	"\n"
	"With run, makes a tunnel for one command, without root; exec runs another\n"
	"command in it. With upgrade, has a new program go on for a running tunnel.\n"
	"See wiregatherctl(8).\n";

static const struct {
	const char *name;
	int (*run)(const struct ctl_options *options);
	const char *letters; /* of the options that it takes */
	/* In place of run: a command that reads its arguments itself, from the
	 * name of the command on. */
	int (*run_with_arguments)(int argc, char **argv);
} commands[] = {
	{ "status", ctl_status, "jq", NULL },
	{ "events", ctl_events, "fj", NULL },
	{ "metrics", ctl_metrics, "othl", NULL },
	{ "reresolve", NULL, NULL, ctl_reresolve },
	{ "run", NULL, NULL, ctl_run },
	{ "exec", NULL, NULL, ctl_exec },
	{ "why", NULL, NULL, ctl_why },
	{ "bundle", NULL, "", ctl_bundle },
	{ "top", NULL, "", ctl_top },
	{ "upgrade", NULL, NULL, ctl_upgrade },
};

static const struct option long_options[] = {
	{ "follow", no_argument, NULL, 'f' },
	{ "json", no_argument, NULL, 'j' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "openmetrics", no_argument, NULL, 'o' },
	{ "textfile", required_argument, NULL, 't' },
	{ "http", no_argument, NULL, 'h' },
	{ "listen", optional_argument, NULL, 'l' },
	{ NULL, 0, NULL, 0 },
};

int ctl_complain(const char *interface, int err)
{
	const char *advice = "";

	if (err == -ENOENT || err == -ECONNREFUSED)
		advice =
			": no wiregather of a version with statistics serves it";
	if (err == -EACCES)
		advice = ": see --stats-group of wiregather(8)";
	fprintf(stderr, "wiregatherctl: %s: %s%s\n", interface, strerror(-err),
		advice);
	return CTL_FAILED;
}

int ctl_fail(const char *fmt, ...)
{
	/* One piece of text, so that lines of several processes stay whole. */
	char line[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	fprintf(stderr, "wiregatherctl: %s\n", line);
	return CTL_FAILED;
}

bool ctl_read_seconds(const char *text, unsigned int max, unsigned int *out)
{
	size_t len = strspn(text, "0123456789"), max_len = 0;
	unsigned long n = strtoul(text, NULL, 10);

	for (unsigned int rest = max; rest; rest /= 10)
		max_len++;
	if (!len || len > max_len || text[len] || !n || n > max)
		return false;
	*out = (unsigned int)n;
	return true;
}

int ctl_refuse(const char *what, const char *token)
{
	fprintf(stderr, "wiregatherctl: %s: %s\n%s", what, token, usage);
	return CTL_USAGE;
}

/* The address may also stand as a word of its own: no interface has a ":" in its name. */
static int parse_listen(struct ctl_options *options, const char *address)
{
	struct sockaddr_storage addr;
	const char *wrong;
	socklen_t len;

	if (!address && options->n_interfaces &&
	    strchr(options->interfaces[0], ':')) {
		address = options->interfaces[0];
		options->interfaces++;
		options->n_interfaces--;
	}
	options->listen = address ? address : CTL_HTTP_ADDRESS;
	wrong = ctl_http_parse_address(options->listen, &addr, &len);
	if (!wrong)
		return CTL_OK;
	fprintf(stderr, "wiregatherctl: --listen: %s: %s\n", wrong,
		options->listen);
	return CTL_USAGE;
}

static int parse(struct ctl_options *options, int argc, char **argv,
		 const char *letters)
{
	const char *address = NULL;
	bool has_listen = false;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (c == ':')
			return ctl_refuse("no value", argv[optind - 1]);
		if (c == '?' || !strchr(letters, c))
			return ctl_refuse("no such option", argv[optind - 1]);
		options->json |= c == 'j';
		options->quiet |= c == 'q';
		options->open_metrics |= c == 'o';
		options->http |= c == 'h';
		options->follow |= c == 'f';
		has_listen |= c == 'l';
		if (c == 't')
			options->textfile = optarg;
		if (c == 'l')
			address = optarg;
	}
	options->interfaces = argv + optind;
	options->n_interfaces = (size_t)(argc - optind);
	return has_listen ? parse_listen(options, address) : CTL_OK;
}

static int run(size_t command, int argc, char **argv)
{
	struct ctl_options options = { 0 };
	char **found = NULL;
	int status;

	if (commands[command].run_with_arguments)
		return commands[command].run_with_arguments(argc, argv);
	status = parse(&options, argc, argv, commands[command].letters);
	if (status != CTL_OK)
		return status;
	if (!options.n_interfaces) {
		found = ctl_interfaces(&options.n_interfaces);
		options.interfaces = found;
		options.has_all = true;
	}
	/* Without interfaces the metrics are empty, and a scrape succeeds. */
	if (!options.n_interfaces && commands[command].run != ctl_metrics) {
		if (!options.quiet)
			fputs("wiregatherctl: no interface has statistics in " CTL_DIRECTORY
			      "\n",
			      stderr);
		return CTL_FAILED;
	}
	status = commands[command].run(&options);
	free(found);
	if (fflush(stdout) != 0 && status == CTL_OK)
		status = ctl_complain("stdout", -errno);
	return status;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return ctl_refuse("missing", "command");
	if (strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return CTL_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("wiregatherctl " WG_VERSION);
		return CTL_OK;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run(i, argc - 1, argv + 1);
	return ctl_refuse("no such command", argv[1]);
}
