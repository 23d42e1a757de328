// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "fault.h"

#define DEBUGFS "/sys/kernel/debug/"
#define KMEMLEAK DEBUGFS "kmemleak"
/* No header for user space has it. */
#define SYSLOG_ACTION_CONSOLE_LEVEL 8

static int nth_fd;
/* Of the cache that is to fail. */
static unsigned int object_size;
/* When all this began. */
static unsigned long start_jiffies;

/* Returns 0 or the errno. */
static int put(const char *file, const char *value)
{
	char path[256];
	int fd, err = 0;

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static void must_put(const char *file, const char *value)
{
	int err = put(file, value);

	if (err)
		die("can't write %s to " DEBUGFS "%s: %s", value, file, strerror(err));
}

static void must_put_number(const char *file, long number)
{
	char value[32];

	snprintf(value, sizeof(value), "%ld", number);
	must_put(file, value);
}

static unsigned long jiffies_now(void)
{
	unsigned long jiffies = 0;
	char line[256];
	FILE *f = fopen("/proc/timer_list", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "jiffies: %lu", &jiffies) == 1)
			break;
	if (!jiffies)
		die("/proc/timer_list doesn't say what time it is");
	fclose(f);
	return jiffies;
}

const char *fault_open(void)
{
	static const char *const quiet[] = {
		"failslab/verbose", "fail_page_alloc/verbose",
		"fail_usercopy/verbose", "fail_function/verbose",
	};
	/* By default only what may not sleep fails, and nothing of one page. */
	static const char *const sleeping[] = {
		"failslab/ignore-gfp-wait", "fail_page_alloc/ignore-gfp-wait",
		"fail_page_alloc/ignore-gfp-highmem",
	};

	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		return "no /proc/thread-self/fail-nth: not a kernel with CONFIG_FAULT_INJECTION";
	for (size_t i = 0; i < ARRAY_SIZE(quiet); i++)
		if (put(quiet[i], "0"))
			return "not all kinds of fault in debugfs: is this the debug kernel?";
	for (size_t i = 0; i < ARRAY_SIZE(sleeping); i++)
		must_put(sleeping[i], "N");
	start_jiffies = jiffies_now();
	must_put("fail_page_alloc/min-order", "0");
	must_put("failslab/times", "0");
	must_put("fail_function/inject", "\n");
	must_put("fail_function/task-filter", "N");
	must_put("fail_function/interval", "1");
	must_put("fail_function/times", "0");
	must_put("fail_function/probability", "100");
	return NULL;
}

bool fault_function(const char *function, int err)
{
	char file[128], value[32];

	if (put("fail_function/inject", function))
		return false;
	snprintf(file, sizeof(file), "fail_function/%s/retval", function);
	snprintf(value, sizeof(value), "%#llx", -(long long)err);
	must_put(file, value);
	return true;
}

/* To say so is a copy from user space, which may be what fails. */
static void set_nth(unsigned int nth)
{
	char value[16];
	int len = snprintf(value, sizeof(value), "%u", nth);

	for (int tries = 0; tries < 2; tries++)
		if (pwrite(nth_fd, value, len, 0) == len)
			return;
	die("/proc/thread-self/fail-nth: %m");
}

void fault_arm(unsigned int nth)
{
	set_nth(nth);
}

bool fault_disarm(void)
{
	char left[16] = "";
	ssize_t got = pread(nth_fd, left, sizeof(left) - 1, 0);

	/* To read it is a place too, and then it was not used up before. */
	if (got < 0 && errno != EFAULT)
		die("/proc/thread-self/fail-nth: %m");
	set_nth(0);
	return got > 0 && !atoi(left);
}

/* Is the number in the file 0? */
static bool is_zero(const char *file)
{
	char path[256], value[16] = "";
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, value, sizeof(value) - 1) <= 0)
		die("%s: %m", path);
	close(fd);
	return !atoi(value);
}

/* What is to pass in good order first is counted down in "space", by its size. */
void fault_arm_calls(unsigned int nth)
{
	must_put_number("fail_function/space", nth);
	must_put("fail_function/times", "1");
}

bool fault_disarm_calls(void)
{
	bool used = is_zero("fail_function/times");

	must_put("fail_function/times", "0");
	return used;
}

bool fault_cache(const char *cache)
{
	char path[128];
	bool good;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/object_size", cache);
	f = fopen(path, "r");
	good = f && fscanf(f, "%u", &object_size) == 1;
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache);
	f = fopen(path, "w");
	good = good && f && fputs("1", f) >= 0;
	return f && !fclose(f) && good;
}

void fault_arm_objects(unsigned int nth)
{
	must_put("failslab/cache-filter", "Y");
	must_put_number("failslab/space", (long)nth * object_size);
	must_put("failslab/probability", "100");
	must_put("failslab/times", "1");
}

bool fault_disarm_objects(void)
{
	bool used = is_zero("failslab/times");

	must_put("failslab/times", "0");
	must_put("failslab/probability", "0");
	must_put("failslab/cache-filter", "N");
	return used;
}

const char *fault_leaks(unsigned long *objects, unsigned long long *bytes)
{
	unsigned long long size = 0;
	unsigned long jiffies;
	int scans = 0;
	char line[256];
	FILE *f;

	*objects = 0;
	*bytes = 0;
	if (access(KMEMLEAK, R_OK))
		return "no kmemleak in this kernel";
	/* It looks at what is older than 5 s, and believes what it has seen twice. */
	sleep(6);
	/* Its own word for what it finds, lost while booting or since, is not ours. */
	klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, 6);
	while (scans < 2 && !put("kmemleak", "scan"))
		scans++;
	klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, 7);
	if (scans < 2)
		return "kmemleak has switched itself off";
	f = fopen(KMEMLEAK, "r");
	if (!f)
		return "kmemleak can't be read";
	while (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, ", jiffies ");

		sscanf(line, "unreferenced object %*s (size %llu)", &size);
		if (!at || sscanf(at, ", jiffies %lu", &jiffies) != 1)
			continue;
		if (jiffies < start_jiffies)
			continue;
		++*objects;
		*bytes += size;
	}
	fclose(f);
	return NULL;
}
