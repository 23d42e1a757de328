// SPDX-License-Identifier: GPL-2.0
/*
 * A pin that waits for a page in the midst of its memory, which somebody in user space
 * has to bring: the page comes, or whoever pins is killed. Then it has to end at once,
 * and what it holds so far goes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rc.h"

#define LEN (4 * PAGE_2M)
#define HOLE (LEN / 2 + 3 * PAGE_4K)
/* A debug kernel on a busy host takes its time. */
#define LONGEST_MS 60000

static struct child {
	unsigned char *area;
	int uffd;
	int tell;
	bool serve;
} child;

/* Says that the fault is there, and brings the page, or does not. */
static void *handle(void *arg)
{
	struct uffdio_zeropage zero = { .range = { .len = PAGE_4K } };
	struct uffd_msg msg;

	(void)arg;
	if (read(child.uffd, &msg, sizeof(msg)) != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
		die("no fault came: %m");
	zero.range.start = msg.arg.pagefault.address & -PAGE_4K;
	if (zero.range.start != (uintptr_t)child.area + HOLE)
		die("a fault at another page");
	if (write(child.tell, "f", 1) != 1)
		die("pipe: %m");
	if (!child.serve)
		pause();
	usleep(200000);
	if (ioctl(child.uffd, UFFDIO_ZEROPAGE, &zero))
		die("UFFDIO_ZEROPAGE: %m");
	return NULL;
}

static void make_area(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { .len = PAGE_4K }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	child.area = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	child.uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (child.area == MAP_FAILED || child.uffd < 0 || ioctl(child.uffd, UFFDIO_API, &api))
		die("mmap or userfaultfd: %m");
	memset(child.area, 1, LEN);
	reg.range.start = (uintptr_t)child.area + HOLE;
	if (madvise(child.area + HOLE, PAGE_4K, MADV_DONTNEED) || ioctl(child.uffd, UFFDIO_REGISTER, &reg))
		die("the page that is missing: %m");
}

/* Whoever pins; ends with an errno. */
static int pin(const char *device)
{
	struct ibv_pd *pd = ibv_alloc_pd(device_open(device));
	struct ibv_mr *mr;
	pthread_t thread;
	int err;

	if (!pd)
		die("ibv_alloc_pd: %m");
	make_area();
	if (pthread_create(&thread, NULL, handle, NULL))
		die("pthread_create");
	mr = ibv_reg_mr(pd, child.area, LEN, IBV_ACCESS_LOCAL_WRITE);
	err = mr ? 0 : errno;
	if (mr)
		ibv_dereg_mr(mr);
	return err;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

/* The status of @pid, or -1 if it does not end in time. */
static int wait_for(pid_t pid)
{
	uint64_t start = now_ms();
	int status = -1;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (now_ms() - start > LONGEST_MS)
			return -1;
		usleep(1000);
	}
	ktap_note("it ended after %llu ms", (unsigned long long)(now_ms() - start));
	return status;
}

static void run(const char *device, bool serve)
{
	const char *name = serve ? "the page comes" : "killed";
	struct pin_counters before = pin_counters_read();
	uint64_t held = 0;
	int fds[2], status;
	struct pollfd faulted;
	pid_t pid;

	if (pipe(fds))
		die("pipe: %m");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		/* One that hangs would keep the output open. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child.tell = fds[1];
		child.serve = serve;
		_exit(pin(device));
	}
	close(fds[1]);
	faulted = (struct pollfd) { .fd = fds[0], .events = POLLIN };
	if (poll(&faulted, 1, LONGEST_MS) != 1 || !(faulted.revents & POLLIN))
		die("nobody waits for the page");
	if (!serve) {
		held = pins_held_since(before);
		ktap_result(held && held < LEN / PAGE_4K, "%s: the pages before it are held meanwhile: %llu pins", name,
			    (unsigned long long)held);
		kill(pid, SIGKILL);
	}
	status = wait_for(pid);
	close(fds[0]);
	if (serve)
		ktap_result(WIFEXITED(status) && !WEXITSTATUS(status), "%s, and the MR is there: status %#x", name, status);
	else
		ktap_result(status >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			    "%s, and it ends: status %#x", name, status);
	ktap_result(!pins_held_since(before), "%s: all pins are given back", name);
	if (status < 0)
		kill(pid, SIGKILL);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		die("usage: phyr_inpin DEVICE; RDMAV_MR_PATH chooses the path");
	ktap_start();
	run(argv[1], false);
	run(argv[1], true);
	return ktap_finish();
}
