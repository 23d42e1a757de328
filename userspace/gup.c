// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "gup.h"
#include "gup_test.h"

#define GUP_TEST "/sys/kernel/debug/gup_test"

/* Not for user space, so no header that is installed has them. */
#define FOLL_WRITE (1 << 0)
#define FOLL_LONGTERM (1 << 8)

/*
 * struct gup_test as the stock kernel has it. Its size is part of the number of a
 * command, so either kernel refuses the other's.
 */
struct gup_test_stock {
	__u64 get_delta_usec;
	__u64 put_delta_usec;
	__u64 addr;
	__u64 size;
	__u32 nr_pages_per_call;
	__u32 gup_flags;
	__u32 test_flags;
	__u32 which_pages[GUP_TEST_MAX_PAGES_TO_DUMP];
};

static const struct {
	const char *name;
	unsigned long command;
	/* 0: the stock kernel has no such thing. */
	unsigned long stock_command;
	__u32 flags;
} arms[GUP_ARMS] = {
	[GUP_GET] = { "get", GUP_FAST_BENCHMARK,
		      _IOWR('g', 1, struct gup_test_stock), 0 },
	[GUP_PIN] = { "pin", PIN_FAST_BENCHMARK,
		      _IOWR('g', 2, struct gup_test_stock), 0 },
	[GUP_PIN_LONGTERM] = { "pin-longterm", PIN_FAST_BENCHMARK,
			       _IOWR('g', 2, struct gup_test_stock), FOLL_LONGTERM },
	[GUP_PHYRS] = { "phyrs", PIN_PHYRS_BENCHMARK, 0, 0 },
	[GUP_PHYRS_LONGTERM] = { "phyrs-longterm", PIN_PHYRS_LONGTERM_BENCHMARK, 0, 0 },
};

int gup_open(void)
{
	int fd = open(GUP_TEST, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("%s: %m (run as root, with debugfs mounted, on a kernel with CONFIG_GUP_TEST)",
		    GUP_TEST);
	return fd;
}

const char *gup_arm_name(enum gup_arm arm)
{
	return arms[arm].name;
}

bool gup_arm_is_phyrs(enum gup_arm arm)
{
	return !arms[arm].stock_command;
}

static int run_stock(int fd, enum gup_arm arm, const struct gup_test *ours,
		     struct gup_cost *cost)
{
	struct gup_test_stock gup = {
		.addr = ours->addr,
		.size = ours->size,
		.nr_pages_per_call = ours->nr_pages_per_call,
		.gup_flags = ours->gup_flags,
	};

	if (!arms[arm].stock_command)
		return EINVAL;
	if (ioctl(fd, arms[arm].stock_command, &gup))
		return errno;
	*cost = (struct gup_cost){
		.pin_ns = gup.get_delta_usec * 1000,
		.unpin_ns = gup.put_delta_usec * 1000,
		.bytes = gup.size,
	};
	return 0;
}

bool gup_counts_microseconds(int fd)
{
	static unsigned char byte;
	struct gup_cost cost;
	struct gup_test gup = {
		.addr = (uintptr_t)&byte & ~(PAGE_4K - 1),
		.size = PAGE_4K,
		.nr_pages_per_call = 1,
		.gup_flags = FOLL_WRITE,
	};

	byte = 1;
	return !run_stock(fd, GUP_PIN, &gup, &cost);
}

int gup_run(int fd, enum gup_arm arm, const void *addr, size_t len,
	    struct gup_cost *cost)
{
	struct gup_test gup = {
		.addr = (uintptr_t)addr,
		.size = len,
		.nr_pages_per_call = len / PAGE_4K,
		.gup_flags = FOLL_WRITE | arms[arm].flags,
	};

	if (ioctl(fd, arms[arm].command, &gup))
		return errno == EINVAL || errno == ENOTTY ?
		       run_stock(fd, arm, &gup, cost) : errno;
	*cost = (struct gup_cost){
		.pin_ns = gup.get_delta_nsec,
		.unpin_ns = gup.put_delta_nsec,
		.bytes = gup.size,
		.ranges = gup.nr_phyrs,
	};
	return 0;
}
