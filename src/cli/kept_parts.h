/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the keeper share: kept.c has the life of the daemon and of its
 * engine, kept_deaths.c has engines that die, kept_upgrade.c has upgrades, in which there
 * are two engines, and kept_stored.c has what the service manager keeps.
 *
 * Main thread.
 */
#ifndef CLI_KEPT_PARTS_H
#define CLI_KEPT_PARTS_H

#include "cli/kept.h"

/* ------------------------------------------------------------ kept.c */

/**
 * kept_explain() - print what has failed, and why
 * @kept:	once it has its filter, the limits of the system are not asked for
 * @buf:	KEPT_WHY_CAP bytes
 * @what:	what has failed
 * @err:	-errno
 */
void kept_explain(const struct kept *kept, char *buf, const char *what,
		  int err);

/**
 * kept_start_engine() - have an engine started
 * @e:		engine that is not there
 * @program:	what it is made of
 * @program_fd:	descriptor of STARTER_FILE
 * @fds:	set to our ends of its two connections
 *
 * Return: 0; -errno, and kept.why says why.
 */
int kept_start_engine(struct kept_engine *e, enum starter_program program,
		      int program_fd, int fds[2]);

/* kept_list_descriptors() - the descriptors for an engine, into HELLO_FDS_MAX places.
 * Return: their count. */
unsigned int kept_list_descriptors(const struct kept *kept, int *fds);

/* kept_fill_hello() - what an engine is told of its descriptors */
void kept_fill_hello(const struct kept *kept, struct hello *hello);

/* kept_greet() - give an engine its descriptors, and serve it; @fd and @news_fd are our
 * ends of its connections. Return: 0; -errno, and kept.why says why. */
int kept_greet(struct kept_engine *e, int fd, int news_fd);

/* ------------------------------------------------------------ kept_deaths.c */

/* kept_init_deaths() - no engine has died yet */
void kept_init_deaths(struct kept *kept);

/* kept_note_death() - the engine that serves has ended otherwise than it was told to, or
 * could not be started; @text: how */
void kept_note_death(struct kept *kept, const char *text);

/* kept_give_up() - no engine can go on: end, or keep the interface, as the options have
 * it. The sockets for configuration go, so that wg(8) says that the tunnel does not
 * work. @err: -errno */
void kept_give_up(struct kept *kept, int err);

/* ------------------------------------------------------------ kept_upgrade.c */

/* kept_open_upgrade() - make the socket for upgrades; the tunnel works without it */
void kept_open_upgrade(struct kept *kept);

/* kept_answer_upgrade() - the upgrade is over, if there is one; @err as for
 * upgrade_answer() */
void kept_answer_upgrade(struct kept *kept, const char *why, int err);

/* kept_end_upgrade() - the successor, kept.next, has not taken the engine's place, and
 * must not any more */
void kept_end_upgrade(struct kept *kept, const char *why, int err);

/* kept_lose_upgrade() - as kept_end_upgrade(); and if the engine has ended, too, have
 * another one go on */
void kept_lose_upgrade(struct kept *kept, const char *why, int err);

/* kept_note_success() - the successor has the tunnel. The other engine ends, and then
 * the upgrade is over. */
void kept_note_success(struct kept *kept);

/* ------------------------------------------------------------ kept_stored.c */

/* kept_init_stored() - the service manager keeps nothing of this process yet */
void kept_init_stored(struct kept *kept);

/* kept_store() - tell the service manager what it is to keep by now. Return: false: its
 * queue is full. */
bool kept_store(struct kept *kept);

/* kept_note_change() - the sockets have changed, or the journal: have the service manager
 * keep the new ones, a little later, since such changes come in groups */
void kept_note_change(struct kept *kept);

/* kept_await_port() - the port that an engine wants is in use: wait a little if the service
 * manager may still hold it. Return: true: try again. */
bool kept_await_port(struct kept *kept);

/* kept_use_stored() - give the first engine the descriptors that a service manager has
 * kept, if the interface is the same one; else they are of another tunnel, and are
 * closed */
void kept_use_stored(struct kept *kept);

#endif /* CLI_KEPT_PARTS_H */
