/* SPDX-License-Identifier: MIT */
/*
 * A program of classic BPF chooses the socket of each message. It knows only the
 * message. A session's receiver index says which lane it belongs to, so all messages
 * of a peer come by one socket, whichever address they come from. Their order is kept,
 * also from one session to the next, because all sessions of a peer belong to one lane.
 *
 * Two cases are left in which messages of a peer come by the socket of another one.
 * While the sockets are being opened there is no program yet. And if two peers have one
 * endpoint (a relay), the kernel may merge messages of both to a train, which is
 * steered by its first message. Every inbound lane handles all messages, so they are
 * only perhaps overtaken.
 */
#include "engine/sock_group.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "noise/wire.h"

void sock_group_write_program(struct sock_filter code[SOCK_GROUP_PROGRAM_LEN],
			      unsigned int n)
{
	/* If a message ends before the byte that is loaded, the kernel ends the
	 * program with 0, which is the first socket. */
	const struct sock_filter program[SOCK_GROUP_PROGRAM_LEN] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MESSAGE_DATA, 0, 3),
		/* The lowest byte of the index: see index_lane(). */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS,
			 offsetof(struct message_data, receiver)),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	memcpy(code, program, sizeof(program));
}

/* Have the kernel choose a socket by the receiver index. Return: 0; -errno. */
static int steer(struct sock_group *group)
{
	const struct rights *rights = group->rights;
	struct sock_filter code[SOCK_GROUP_PROGRAM_LEN];
	const struct sock_fprog program = { SOCK_GROUP_PROGRAM_LEN, code };

	if (rights && rights->ops->steer)
		return rights->ops->steer(rights->arg, sock_group_main(group),
					  group->n);
	sock_group_write_program(code, group->n);
	return ug_set_steering(sock_group_main(group), AF_UNSPEC, &program);
}

static void close_all(struct sock_group *group)
{
	while (group->n)
		rights_close(group->rights, group->all[--group->n]);
}

static int open_one(struct sock_group *group, const struct ug_options *opt,
		    struct ug_report *report)
{
	int err = rights_open(group->rights, opt, group->all, report);

	group->n = err == 0;
	return err;
}

/* Open several sockets, or one if that is impossible. Return: 0; -errno. */
static int open_several(struct sock_group *group, unsigned int n,
			const struct ug_options *opt, struct ug_report *report)
{
	int err;

	if (!rights_can_open_group(group->rights)) {
		group->steering_err = -EOPNOTSUPP;
		return open_one(group, opt, report);
	}
	err = rights_open_group(group->rights, opt, group->all, n, report);
	if (err < 0)
		return err;
	group->n = n;
	/* A peer's messages mostly come in trains of that peer alone. */
	for (unsigned int i = 0; i < n; i++)
		ug_set_merging(group->all[i], true);
	group->steering_err = steer(group);
	if (group->steering_err == 0)
		return 0;
	close_all(group);
	return open_one(group, opt, report);
}

int sock_group_open(struct sock_group **out, const struct rights *rights,
		    unsigned int n, const struct ug_options *opt,
		    struct ug_report *report)
{
	struct sock_group *group = calloc(1, sizeof(*group));
	int err;

	if (!group)
		return -ENOMEM;
	group->rights = rights;
	err = n > 1 ? open_several(group, n, opt, report)
		    : open_one(group, opt, report);
	if (err < 0) {
		free(group);
		return err;
	}
	*out = group;
	return 0;
}

void sock_group_close(struct sock_group *group)
{
	if (!group)
		return;
	close_all(group);
	free(group);
}

void sock_group_abandon(struct sock_group *group)
{
	/* The owner of the rights would close the sockets for all. */
	group->rights = NULL;
}

/* Only the main socket sends. But the kernel may give an ICMP message to another one,
 * and then takes that one's mark for the mark of the path. */
int sock_group_set_mark(struct sock_group *group, uint32_t mark, uint32_t old)
{
	unsigned int i = 0;
	int err = 0;

	while (i < group->n && err == 0)
		err = rights_set_mark(group->rights, group->all[i++], mark);
	/* The one that failed has its old mark. */
	for (i--; err < 0 && i > 0; i--)
		rights_set_mark(group->rights, group->all[i - 1], old);
	return err;
}

void sock_group_stop_merging(struct sock_group *group)
{
	for (unsigned int i = 0; i < group->n; i++)
		ug_set_merging(group->all[i], false);
}
