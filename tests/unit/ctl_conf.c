/* SPDX-License-Identifier: MIT */
/* Configuration files of wg-quick(8): what is read, and how errors name line and
 * token. */
#include "ctl/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/check.h"

#define KEY_A "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define KEY_B "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="

static int parse(struct conf *conf, const char *text, char *error)
{
	return conf_parse(conf, text, strlen(text), error);
}

/* Parse a text that must be right. */
static void must_parse(struct conf *conf, const char *text)
{
	char error[CONF_ERROR_CAP] = "";

	if (parse(conf, text, error) < 0)
		fail_msg("refused: %s", error);
}

/* The values of a key, with a blank behind each. */
static const char *values(const struct conf_section *section, enum conf_key key)
{
	static char text[512];
	size_t len = 0;

	text[0] = 0;
	for (const struct conf_entry *entry = NULL;
	     (entry = conf_next(section, key, entry));)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s ",
					entry->value);
	return text;
}

static void all_keys(void **state)
{
	struct conf conf;

	(void)state;
	must_parse(&conf, "[Interface]\n"
			  "PrivateKey = " KEY_A "\n"
			  "ListenPort = 51820\n"
			  "FwMark = 0xca6c\n"
			  "Address = 10.0.0.1/24, fd00::1/64\n"
			  "Address = 10.0.1.1\n"
			  "DNS = 10.0.0.53,2001:db8::53 example.org\n"
			  "MTU = 1380\n"
			  "Table = off\n"
			  "PreUp = echo a, b\n"
			  "PostUp = ip rule add from 10.0.0.1\n"
			  "PostUp = iptables -A FORWARD -i %i -j ACCEPT\n"
			  "PreDown = true\n"
			  "PostDown = false\n"
			  "SaveConfig = false\n"
			  "[Peer]\n"
			  "# friendly_name = the phone\n"
			  "PublicKey = " KEY_B "\n"
			  "PresharedKey = " KEY_A "\n"
			  "AllowedIPs = 10.0.0.2/32, fd00::2/128\n"
			  "AllowedIPs = 0.0.0.0/0,+::/0\n"
			  "Endpoint = vpn.example.org:51820\n"
			  "# endpoint_backup = 192.0.2.1:51821\n"
			  "# endpoint_backup = [2001:db8::1]:443\n"
			  "PersistentKeepalive = 25\n"
			  "[Peer]\n"
			  "PublicKey = " KEY_A "\n"
			  "AllowedIPs =\n");
	const struct conf_section *i = &conf.interface, *p = &conf.peers[0];

	assert_int_equal(conf.n_peers, 2);
	assert_int_equal(i->line, 1);
	assert_string_equal(conf_get(i, CONF_PRIVATE_KEY), KEY_A);
	assert_string_equal(conf_get(i, CONF_LISTEN_PORT), "51820");
	assert_string_equal(conf_get(i, CONF_FW_MARK), "0xca6c");
	assert_string_equal(values(i, CONF_ADDRESS),
			    "10.0.0.1/24 fd00::1/64 10.0.1.1 ");
	assert_string_equal(values(i, CONF_DNS),
			    "10.0.0.53 2001:db8::53 example.org ");
	assert_string_equal(conf_get(i, CONF_MTU), "1380");
	assert_string_equal(conf_get(i, CONF_TABLE), "off");
	assert_string_equal(values(i, CONF_PRE_UP), "echo a, b ");
	assert_string_equal(conf_get(i, CONF_POST_UP),
			    "iptables -A FORWARD -i %i -j ACCEPT");
	assert_string_equal(conf_get(i, CONF_PRE_DOWN), "true");
	assert_string_equal(conf_get(i, CONF_POST_DOWN), "false");
	assert_string_equal(conf_get(i, CONF_SAVE_CONFIG), "false");
	assert_int_equal(p->line, 16);
	assert_string_equal(conf_get(p, CONF_FRIENDLY_NAME), "the phone");
	assert_string_equal(conf_get(p, CONF_PUBLIC_KEY), KEY_B);
	assert_string_equal(conf_get(p, CONF_PRESHARED_KEY), KEY_A);
	assert_string_equal(values(p, CONF_ALLOWED_IPS),
			    "10.0.0.2/32 fd00::2/128 0.0.0.0/0 +::/0 ");
	assert_string_equal(conf_get(p, CONF_ENDPOINT),
			    "vpn.example.org:51820");
	assert_string_equal(values(p, CONF_ENDPOINT_BACKUP),
			    "192.0.2.1:51821 [2001:db8::1]:443 ");
	assert_string_equal(conf_get(p, CONF_PERSISTENT_KEEPALIVE), "25");
	assert_int_equal(conf_next(p, CONF_ENDPOINT_BACKUP, NULL)->line, 23);
	assert_null(conf_get(&conf.peers[1], CONF_ENDPOINT));
	assert_null(conf_next(&conf.peers[1], CONF_ALLOWED_IPS, NULL));
	conf_free(&conf);
	assert_int_equal(conf.n_peers, 0);
}

static void layout(void **state)
{
	struct conf conf;

	(void)state;
	must_parse(&conf, "");
	assert_int_equal(conf.interface.line, 0);
	conf_free(&conf);
	must_parse(&conf, "# a comment = with a sign\n\n"
			  "  [INTERFACE]  # and another\r\n"
			  "\tlistenport=1# one\r\n"
			  "#PrivateKey = nonsense\n"
			  "ListenPort = 2\n"
			  "#endpoint_backup\n"
			  "[peer]\n"
			  " PUBLICKEY =" KEY_A "\n"
			  "\t#  ENDPOINT_BACKUP=a:1\n"
			  "[Interface]\n"
			  "FwMark = off");
	assert_string_equal(conf_get(&conf.interface, CONF_LISTEN_PORT), "2");
	assert_string_equal(conf_get(&conf.interface, CONF_FW_MARK), "off");
	assert_null(conf_get(&conf.interface, CONF_PRIVATE_KEY));
	assert_string_equal(conf_get(&conf.peers[0], CONF_ENDPOINT_BACKUP),
			    "a:1");
	conf_free(&conf);
}

#define PEER "[Peer]\nPublicKey = " KEY_A "\n"

static const struct {
	const char *text;
	const char *error;
} wrong[] = {
	{ "[Interfaces]\n", "line 1: no such section: [Interfaces]" },
	{ "MTU = 1400\n", "line 1: before the first section: MTU" },
	{ "[Interface]\n\nnonsense\n",
	  "line 3: no \"=\" in the line: nonsense" },
	{ "[Interface]\nPort = 1\n", "line 2: no such key: Port" },
	{ "[Interface]\nEndpoint = a:1\n",
	  "line 2: not a key of [Interface]: Endpoint" },
	{ PEER "MTU = 1400\n", "line 3: not a key of [Peer]: MTU" },
	{ "[Interface]\n# endpoint_backup = a:1\n",
	  "line 2: not a key of [Interface]: endpoint_backup" },
	{ "[Interface]\nListenPort =\n", "line 2: no value: ListenPort" },
	{ "[Interface]\nListenPort = 65536\n",
	  "line 2: ListenPort is not a port: 65536" },
	{ "[Interface]\nListenPort = -1\n",
	  "line 2: ListenPort is not a port: -1" },
	{ "[Interface]\nFwMark = 0x123456789\n",
	  "line 2: FwMark is not a number of 32 bits, or off: 0x123456789" },
	{ "[Interface]\nFwMark = 4294967296\n",
	  "line 2: FwMark is not a number of 32 bits, or off: 4294967296" },
	{ "[Interface]\nMTU = 67\n",
	  "line 2: MTU is not a number from 68 to 65535: 67" },
	{ "[Interface]\nTable = a b\n",
	  "line 2: Table is not auto, off, or a routing table: a b" },
	{ "[Interface]\nSaveConfig = yes\n",
	  "line 2: SaveConfig is not true or false: yes" },
	{ "[Interface]\nAddress = 10.0.0.1/24, 10.0.0.300/24\n",
	  "line 2: Address is not an address with the length of its prefix: "
	  "10.0.0.300/24" },
	{ "[Interface]\nAddress = 10.0.0.1/33\n",
	  "line 2: Address is not an address with the length of its prefix: "
	  "10.0.0.1/33" },
	{ PEER "AllowedIPs = fd00::/129\n",
	  "line 3: AllowedIPs is not an address with the length of its prefix: "
	  "fd00::/129" },
	{ PEER "AllowedIPs = vpn.example.org\n",
	  "line 3: AllowedIPs is not an address with the length of its prefix: "
	  "vpn.example.org" },
	{ PEER "Endpoint = vpn.example.org\n",
	  "line 3: Endpoint is not HOST:PORT: vpn.example.org" },
	{ PEER "# endpoint_backup = vpn.example.org:0\n",
	  "line 3: endpoint_backup is not HOST:PORT: vpn.example.org:0" },
	{ PEER "PersistentKeepalive = always\n",
	  "line 3: PersistentKeepalive is not a number of seconds up to 65535, "
	  "or off: always" },
	{ PEER "[Peer]\nAllowedIPs = ::/0\n[Interface]\n",
	  "line 3: no PublicKey in the section: [Peer]" },
	{ "[Peer]\n", "line 1: no PublicKey in the section: [Peer]" },
	/* Keys, whole or in part, are not shown. */
	{ "[Interface]\nPrivateKey = " KEY_A "A\n",
	  "line 2: PrivateKey is not a key in base64: (not shown)" },
	{ PEER "PresharedKey = QUFBQUFB\n",
	  "line 3: PresharedKey is not a key in base64: (not shown)" },
	{ "[Interface]\n" KEY_A "\n",
	  "line 2: no such key: (not shown: it may be a key)" },
	{ PEER "Endpoint = " KEY_A "\n",
	  "line 3: Endpoint is not HOST:PORT: (not shown: it may be a key)" },
	{ "[Interface]\nAddress = \x1b[2J\n",
	  "line 2: Address is not an address with the length of its prefix: "
	  "?[2J" },
};

static void errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char error[CONF_ERROR_CAP] = "";
		struct conf conf;

		if (parse(&conf, wrong[i].text, error) != -EINVAL)
			fail_msg("accepted: %s", wrong[i].text);
		assert_string_equal(error, wrong[i].error);
	}
}

static void zero_byte(void **state)
{
	static const char text[] = "[Interface]\nMTU\0= 1400\n";
	char error[CONF_ERROR_CAP] = "";
	struct conf conf;

	(void)state;
	assert_int_equal(conf_parse(&conf, text, sizeof(text) - 1, error),
			 -EINVAL);
	assert_string_equal(error, "line 2: a zero byte behind: MTU");
}

static void keys(void **state)
{
	char hex[CONF_HEX_CAP];

	(void)state;
	assert_true(conf_key_to_hex(
		hex, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8="));
	assert_string_equal(hex, "000102030405060708090a0b0c0d0e0f"
				 "101112131415161718191a1b1c1d1eff");
	/* Too short, too long, no "=", bits behind the last byte. */
	assert_false(conf_key_to_hex(hex, ""));
	assert_false(conf_key_to_hex(hex, KEY_A "="));
	assert_false(conf_key_to_hex(
		hex, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8A"));
	assert_false(conf_key_to_hex(
		hex, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv9="));
	assert_false(conf_key_to_hex(
		hex, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd-v8="));
}

static void endpoints(void **state)
{
	static const struct {
		const char *text, *host; /* host NULL: refused */
		uint16_t port;
	} all[] = {
		{ "vpn.example.org:51820", "vpn.example.org", 51820 },
		{ "192.0.2.1:1", "192.0.2.1", 1 },
		{ "[2001:db8::1]:65535", "2001:db8::1", 65535 },
		{ "[fe80::1%eth0]:5", "fe80::1%eth0", 5 },
		{ "vpn.example.org", NULL, 0 },
		{ ":1", NULL, 0 },
		{ "a:", NULL, 0 },
		{ "a:0", NULL, 0 },
		{ "a:65536", NULL, 0 },
		{ "a:+1", NULL, 0 },
		{ "2001:db8::1:5", NULL, 0 },
		{ "[a]:1", NULL, 0 },
		{ "[]:1", NULL, 0 },
		{ "[:1", NULL, 0 },
		{ "[192.0.2.1]:1", NULL, 0 },
		{ "[fe80::1%]:1", NULL, 0 },
		{ "[2001:db8::1]", NULL, 0 },
		{ "[2001:db8::1]x:1", NULL, 0 },
		{ "", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char host[CONF_HOST_CAP] = "";
		uint16_t port = 0;

		if (conf_split_endpoint(all[i].text, host, &port) !=
		    (all[i].host != NULL))
			fail_msg("%s: host \"%s\"", all[i].text, host);
		if (!all[i].host)
			continue;
		assert_string_equal(host, all[i].host);
		assert_int_equal(port, all[i].port);
	}
}

static void files(void **state)
{
	char path[] = "/tmp/ctl-conf-XXXXXX", error[CONF_ERROR_CAP] = "";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	struct conf conf;

	(void)state;
	assert_non_null(file);
	/* More than what is read at once. */
	for (int i = 0; i < 500; i++)
		fputs(PEER "AllowedIPs = ::/0\n", file);
	fclose(file);
	assert_int_equal(conf_read(&conf, path, error), 0);
	assert_int_equal(conf.n_peers, 500);
	assert_string_equal(conf_get(&conf.peers[499], CONF_PUBLIC_KEY), KEY_A);
	conf_free(&conf);
	unlink(path);
	assert_int_equal(conf_read(&conf, path, error), -ENOENT);
	assert_string_equal(error, "No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_keys), cmocka_unit_test(layout),
		cmocka_unit_test(errors),   cmocka_unit_test(zero_byte),
		cmocka_unit_test(keys),	    cmocka_unit_test(endpoints),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
