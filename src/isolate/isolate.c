/* SPDX-License-Identifier: MIT */
/*
 * The three stages of isolate.h. The layers are the user, capabilities,
 * Landlock and the filter of system calls; each is in a file of its own.
 */
#include "isolate/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "isolate/caps.h"
#include "isolate/filter.h"
#include "isolate/landlock.h"
#include "isolate/places.h"

/* These came with Linux 6.3; the headers of a system may be older. */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE		 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

#ifdef ISOLATE_SANITIZED
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* For the marks of packets and the interface, for ports below 1024, and for
 * removing the socket's file. */
#define KEEP                                                        \
	(CAPS_BIT(CAP_NET_ADMIN) | CAPS_BIT(CAP_NET_BIND_SERVICE) | \
	 CAPS_BIT(CAP_DAC_OVERRIDE))

/*
 * Counts of the threads that have called isolate_thread(): those that have a
 * filter, and those for which no filter could be installed. Each thread adds
 * itself; isolate_seal() reads. Under a sanitizer all count as filtered.
 */
static atomic_uint n_filtered, n_unfiltered;

static int explain(struct isolate *isolate, int err, const char *what)
{
	snprintf(isolate->why, sizeof(isolate->why), "%s: %s", what,
		 strerror(-err));
	return err;
}

/* Add a text to isolate.missing. */
static void add_missing(struct isolate *isolate, const char *text)
{
	size_t len = strlen(isolate->missing);

	snprintf(isolate->missing + len, sizeof(isolate->missing) - len, "%s%s",
		 len ? ", " : "", text);
}

/* Note a layer that is left out, and why. */
static void miss(struct isolate *isolate, const char *what, int err)
{
	char text[ISOLATE_TEXT_CAP];

	snprintf(text, sizeof(text), "%s (%s)", what, strerror(-err));
	add_missing(isolate, text);
}

/* Look a user up, and say what is wrong with it. */
static int find_user(struct isolate *isolate, struct user *user,
		     const char *name)
{
	int err = user_find(user, name);

	if (err == -ENOENT)
		snprintf(isolate->why, sizeof(isolate->why),
			 "there is no user %s", name);
	else if (err < 0)
		snprintf(isolate->why, sizeof(isolate->why),
			 "user %s is root with another group, or another user "
			 "with root's group: name another one, or root "
			 "(0:0)",
			 name);
	return err;
}

int isolate_init(struct isolate *isolate, const struct isolate_config *config)
{
	const char *name = config->user ? config->user : USER_DEFAULT;
	int err;

	*isolate = (struct isolate){ .config = *config, .task_dir = -1 };
	atomic_store_explicit(&n_filtered, 0, memory_order_relaxed);
	atomic_store_explicit(&n_unfiltered, 0, memory_order_relaxed);
	if (config->is_off)
		return 0;
#ifdef __GLIBC__
	/*
	 * All threads share one heap. If each thread had a heap, malloc(3)
	 * would read a file of /proc before it gives memory back, and that file
	 * will be out of reach. No thread waits long for the one heap, because
	 * nothing allocates per packet.
	 */
	mallopt(M_ARENA_MAX, 1);
#endif
	if (config->is_dropped) {
		/* For messages only, so no file is read for it. */
		user_guess(&isolate->user);
		return 0;
	}
	if (geteuid() != 0 && !config->user)
		return 0;
	err = find_user(isolate, &isolate->user, name);
	if (err == 0 && config->keeper_user)
		err = find_user(isolate, &isolate->keeper_user,
				config->keeper_user);
	if (err == 0 && config->keeper_user &&
	    isolate->keeper_user.uid == isolate->user.uid) {
		snprintf(isolate->why, sizeof(isolate->why),
			 "--keeper-user: %s is the user of the engine, too",
			 config->keeper_user);
		err = -EINVAL;
	}
	return err;
}

/* ------------------------------------------------------------ stage 2 */

static int change_user(struct isolate *isolate)
{
	bool is_wanted = isolate->config.user, is_changed;
	int err;

	if (isolate->config.is_dropped || (geteuid() != 0 && !is_wanted))
		return 0;
	if (!isolate->user.uid)
		add_missing(isolate,
			    "runs on as root, as --user has it, so "
			    "only the other layers keep files of root from it");
	/* A process that stays root still has to give up its other groups. */
	if (isolate->user.uid && user_is(&isolate->user))
		return 0;
	err = user_become(&isolate->user, &is_changed);
	if (err < 0 && (is_wanted || is_changed)) {
		snprintf(isolate->why, sizeof(isolate->why),
			 "cannot become user %s: %s",
			 is_wanted ? isolate->config.user : USER_DEFAULT,
			 strerror(-err));
		return err;
	}
	if (err < 0)
		miss(isolate, "runs on as root", err);
	return 0;
}

/* Keep the capabilities of @wanted that there are. */
static int set_capabilities(struct isolate *isolate, uint64_t wanted)
{
	uint64_t permitted;
	int err = caps_get(0, &permitted);

	if (err < 0)
		return explain(isolate, err, "cannot read capabilities");
	isolate->keep = permitted & wanted;
	err = caps_set(isolate->keep);
	return err < 0 ? explain(isolate, err, "cannot drop capabilities") : 0;
}

/* Does the errno mean that descriptors or memory ran out? If so, the kernel has
 * Landlock, and could not set it up. */
static bool is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

/* Give up all files, except that those of a directory may be removed. Return: the version
 * of Landlock; -errno. */
static int give_up_files(const char *directory)
{
	struct landlock landlock;
	int err = landlock_open(&landlock);

	if (err < 0)
		return err;
	if (directory)
		err = landlock_allow_path(&landlock, directory,
					  LANDLOCK_REMOVE);
	if (err < 0)
		landlock_close(&landlock);
	else
		err = landlock_enter(&landlock);
	return err < 0 ? err : landlock.version;
}

/* Set the restrictions that new threads and programs inherit. */
static int close_off(struct isolate *isolate, const char *directory,
		     bool leaves_core)
{
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		miss(isolate, "no no_new_privs", -errno);
	if (IS_SANITIZED) {
		/* The leak check of a sanitizer traces the process. */
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return 0;
	}
	prctl(PR_SET_DUMPABLE, leaves_core, 0, 0, 0);
	/* A kernel may lack this. The filter forbids the same. */
	prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
	if (leaves_core) {
		add_missing(isolate, "dumpable and without Landlock, as --core "
				     "has it");
		return 0;
	}
	err = give_up_files(directory);
	if (is_shortage(err))
		return explain(isolate, err, "cannot enter Landlock");
	if (err < 0)
		miss(isolate, "no Landlock", err);
	else
		isolate->landlock = err;
	return 0;
}

int isolate_restrict(struct isolate *isolate)
{
	int err;

	if (isolate->config.is_off)
		return 0;
	isolate->task_dir =
		open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	caps_limit(0);
	err = change_user(isolate);
	if (err == 0)
		err = set_capabilities(isolate, 0);
	if (err == 0)
		err = close_off(isolate, NULL, isolate->config.leaves_core);
	return err;
}

/* --------------------------------------------------- the other processes */

/*
 * Leave only the files that an engine needs for its start. If the kernel has no Landlock,
 * each engine tells so, and also that it has none because of its core file. Return: 0;
 * -errno.
 */
static int give_up_other_files(struct isolate *isolate, int program_fd)
{
	struct landlock landlock;
	int err;

	if (isolate->config.leaves_core)
		return 0;
	err = landlock_open(&landlock);
	if (is_shortage(err))
		return explain(isolate, err, "cannot enter Landlock");
	if (err < 0)
		return 0;
	err = places_allow(&landlock, program_fd);
	if (err < 0)
		landlock_close(&landlock);
	else
		err = landlock_enter(&landlock);
	if (is_shortage(err))
		return explain(isolate, err, "cannot enter Landlock");
	if (err < 0)
		miss(isolate, "no Landlock for the process that starts engines",
		     err);
	return 0;
}

/* The same for system calls. A build without filters is told by each engine. */
static void give_up_calls(struct isolate *isolate)
{
	int err = filter_install(FILTER_STARTER);

	if (err < 0 && err != -ENOTSUP)
		miss(isolate,
		     "no filter of system calls for the process that starts engines",
		     err);
}

int isolate_starter(struct isolate *isolate, int program_fd)
{
	int err;

	if (isolate->config.is_off)
		return 0;
	caps_limit(0);
	err = change_user(isolate);
	if (err < 0)
		return err;
	err = set_capabilities(isolate, 0);
	if (err < 0)
		return err;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		miss(isolate, "no no_new_privs", -errno);
	if (IS_SANITIZED)
		return 0;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	err = give_up_other_files(isolate, program_fd);
	if (err == 0)
		give_up_calls(isolate);
	return err;
}

uid_t isolate_get_keeper_uid(const struct isolate *isolate)
{
	return isolate->config.keeper_user ? isolate->keeper_user.uid
					   : geteuid();
}

static int become_keeper(struct isolate *isolate)
{
	bool is_changed;
	int err;

	if (!isolate->config.keeper_user || user_is(&isolate->keeper_user))
		return 0;
	err = user_become(&isolate->keeper_user, &is_changed);
	if (err < 0)
		snprintf(isolate->why, sizeof(isolate->why),
			 "cannot become user %s: %s",
			 isolate->config.keeper_user, strerror(-err));
	return err;
}

/* Does the process need a capability to remove a file from a directory? */
static bool needs_override(const char *directory)
{
	struct stat st;

	if (!directory || stat(directory, &st) < 0)
		return directory;
	return !(st.st_mode & S_IWOTH) &&
	       (st.st_uid != geteuid() || !(st.st_mode & S_IWUSR));
}

int isolate_keeper(struct isolate *isolate, const char *directory)
{
	int err;

	if (isolate->config.is_off)
		return 0;
	caps_limit(KEEP);
	err = become_keeper(isolate);
	if (err == 0)
		err = set_capabilities(
			isolate, needs_override(directory)
					 ? KEEP
					 : KEEP & ~CAPS_BIT(CAP_DAC_OVERRIDE));
	if (err == 0)
		err = close_off(isolate, directory, false);
	if (err < 0 || IS_SANITIZED)
		return err;
	err = filter_install(FILTER_KEEPER);
	if (err < 0 && err != -ENOTSUP)
		miss(isolate, "no filter of system calls", err);
	return 0;
}

/* ------------------------------------------------------------ stage 3 */

void isolate_thread(const char *name)
{
	int err = 0;

	/* To give up capabilities is always allowed. */
	INVARIANT(caps_set(0) == 0);
	if (!IS_SANITIZED)
		err = filter_install(name);
	/* There must be a list for each thread. */
	INVARIANT(err != -ENOENT);
	/* Partner: isolate_seal(). The main thread calls it after this thread
	 * has reported its start, so relaxed order is enough. */
	atomic_fetch_add_explicit(err < 0 ? &n_unfiltered : &n_filtered, 1,
				  memory_order_relaxed);
}

static int check_threads(struct isolate *isolate)
{
	pid_t tid = 0;
	int dir = isolate->task_dir, err;
	unsigned int n = 0, n_known;

	isolate->task_dir = -1;
	if (dir < 0)
		return 0;
	err = caps_check_threads(dir, &tid, &n);
	if (err < 0)
		return explain(isolate, err, "cannot look at the threads");
	/* A sanitizer has threads of its own, which do not call
	 * isolate_thread(). */
	if (IS_SANITIZED)
		return 0;
	if (tid) {
		snprintf(isolate->why, sizeof(isolate->why),
			 "thread %d has kept capabilities", (int)tid);
		return -EPERM;
	}
	n_known = atomic_load_explicit(&n_filtered, memory_order_relaxed) +
		  atomic_load_explicit(&n_unfiltered, memory_order_relaxed);
	if (n == n_known)
		return 0;
	snprintf(isolate->why, sizeof(isolate->why),
		 "there are %u threads, and %u have given up their rights", n,
		 n_known);
	return -EPERM;
}

/* Filter the main thread's calls. Either all threads have a filter, or none
 * has. */
static int filter_self(struct isolate *isolate)
{
	int err = filter_install(FILTER_CONTROL);
	const atomic_uint *others = err < 0 ? &n_filtered : &n_unfiltered;

	if (atomic_load_explicit(others, memory_order_relaxed))
		return explain(isolate, -ESRCH, "cannot filter all threads");
	if (err < 0)
		miss(isolate, "no filter of system calls", err);
	return 0;
}

int isolate_seal(struct isolate *isolate)
{
	int err;

	if (isolate->config.is_off)
		return 0;
	err = check_threads(isolate);
	return err < 0 || IS_SANITIZED ? err : filter_self(isolate);
}

bool isolate_has_filter(void)
{
#ifdef ISOLATE_HAS_FILTER
	return true;
#else
	return false;
#endif
}
