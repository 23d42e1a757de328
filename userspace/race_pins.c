// SPDX-License-Identifier: GPL-2.0
/*
 * Pins and unpins by gup_test, registers and deregisters by ibv_reg_mr().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "gup_test.h"
#include "race.h"

#define FOLL_WRITE 1
/* MRs that a racer keeps, so that most pins outlive a few changes. */
#define KEPT 8

static size_t most(struct rng *rng)
{
	return chance(rng, 200) ? 4 * PAGE_2M : chance(rng, 16) ? MiB : 16 * KiB;
}

static const char *pin_start(struct racer *racer)
{
	racer->fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	if (racer->fd < 0)
		die("/sys/kernel/debug/gup_test: %m");
	return NULL;
}

bool race_has_phyrs(int fd)
{
	struct gup_test test = {
		.addr = (uintptr_t)&test & -PAGE_4K, .size = PAGE_4K, .nr_pages_per_call = 1,
		.gup_flags = FOLL_WRITE,
	};

	return !ioctl(fd, PIN_PHYRS_BENCHMARK, &test);
}

static const char *pin_ranges_start(struct racer *racer)
{
	pin_start(racer);
	return race_has_phyrs(racer->fd) ? NULL : "this kernel's gup_test doesn't pin ranges";
}

static void pin(struct racer *racer, unsigned long cmd, bool write, size_t align)
{
	struct gup_test test = { .gup_flags = write ? FOLL_WRITE : 0 };
	size_t len;

	test.addr = (uintptr_t)pick_span(&racer->rng, most(&racer->rng), align, &len);
	test.size = len;
	test.nr_pages_per_call = chance(&racer->rng, 4) ? rng_between(&racer->rng, 1, 64) :
							  len / PAGE_4K + 1;
	/* Pins of pages end where they have to, and don't say why. */
	if (ioctl(racer->fd, cmd, &test))
		failed(racer, "gup_test");
	else if (!test.size)
		racer->vain++;
}

static void pin_pages(struct racer *racer)
{
	static const unsigned long cmd[] = { PIN_FAST_BENCHMARK, PIN_LONGTERM_BENCHMARK, PIN_BASIC_TEST };
	unsigned int i = rng_between(&racer->rng, 0, 2);

	/* Without FOLL_WRITE the zero page could come, and gup_test warns that it isn't pinned. */
	pin(racer, cmd[i], cmd[i] != PIN_LONGTERM_BENCHMARK || rng_next(&racer->rng) & 1, PAGE_4K);
}

static void pin_ranges(struct racer *racer)
{
	bool longterm = rng_next(&racer->rng) & 1;

	pin(racer, longterm ? PIN_PHYRS_LONGTERM_BENCHMARK : PIN_PHYRS_BENCHMARK,
	    !longterm || rng_next(&racer->rng) & 1, 1);
}

static const char *reg_start(struct racer *racer)
{
	racer->private = calloc(KEPT, sizeof(struct ibv_mr *));
	if (!racer->private)
		die("out of memory");
	return NULL;
}

static void drop(struct ibv_mr **mr)
{
	if (*mr && ibv_dereg_mr(*mr))
		fault("ibv_dereg_mr: %s", errno_name(errno));
	*mr = NULL;
}

static void reg(struct racer *racer)
{
	struct ibv_mr **mr = (struct ibv_mr **)racer->private + rng_between(&racer->rng, 0, KEPT - 1);
	int access = rng_next(&racer->rng) & 1 ? IBV_ACCESS_LOCAL_WRITE : 0;
	unsigned char *p;
	size_t len;

	drop(mr);
	if (chance(&racer->rng, 8))
		access |= IBV_ACCESS_PAGE_LIST;
	p = pick_span(&racer->rng, most(&racer->rng), 1, &len);
	*mr = ibv_reg_mr(race_pd, p, len, access);
	if (!*mr)
		failed(racer, "ibv_reg_mr");
}

static void reg_finish(struct racer *racer)
{
	for (int i = 0; i < KEPT; i++)
		drop((struct ibv_mr **)racer->private + i);
	free(racer->private);
}

#define PIN_EXCUSES { \
		{ EFAULT, "a hole, inaccessible, or poisoned" }, \
		{ ENOMEM, "couldn't be moved out of the movable zone" }, \
	}

struct racer pin_racers[] = {
	{ .name = "pin-pages", .kind = PINS, .start = pin_start, .once = pin_pages },
	{
		.name = "pin-ranges", .kind = PINS, .excuses = PIN_EXCUSES,
		.start = pin_ranges_start, .once = pin_ranges,
	},
	{
		.name = "pin-ranges-2", .kind = PINS, .excuses = PIN_EXCUSES,
		.start = pin_ranges_start, .once = pin_ranges,
	},
	{
		.name = "reg", .kind = REGISTERS, .excuses = PIN_EXCUSES,
		.start = reg_start, .once = reg, .finish = reg_finish,
	},
	{
		.name = "reg-2", .kind = REGISTERS, .excuses = PIN_EXCUSES,
		.start = reg_start, .once = reg, .finish = reg_finish,
	},
};
const size_t pin_racers_nr = ARRAY_SIZE(pin_racers);
