// SPDX-License-Identifier: GPL-2.0
/*
 * The memory that is raced for, and parts of it.
 *
 * It lies at fixed addresses far below all other mappings: the kernel puts a new
 * one into the highest gap that it fits, hence never into a hole that a racer has
 * made and is about to fill.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race.h"

#define FIELD_AT(n) ((unsigned char *)(64 * GiB + (n) * 4 * GiB))

struct field raced, witness;
unsigned char *poisoned;

bool plot_map(const struct plot *plot, unsigned char *at, size_t len)
{
	int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
	off_t off = 0;

	if (plot->kind == PLOT_SHMEM) {
		flags = MAP_FIXED | MAP_SHARED;
		fd = plot->fd;
		off = at - plot->addr;
	} else if (plot->kind == PLOT_HUGETLB) {
		flags |= MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	}
	if (mmap(at, len, PROT_READ | PROT_WRITE, flags, fd, off) == MAP_FAILED)
		return false;
	if (plot->kind == PLOT_HUGETLB)
		return true;
	/* Where KSM runs it merges them, as long as nobody has written to them. */
	if (plot->kind == PLOT_SMALL && madvise(at, len, MADV_MERGEABLE) && errno != EINVAL)
		return false;
	return !madvise(at, len, plot->kind == PLOT_SMALL ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
}

static void add_plot(struct field *field, enum plot_kind kind, size_t len)
{
	static const char * const names[] = { "thp", "4K", "shmem", "2M" };
	struct plot *plot = &field->plot[field->plots++];

	plot->name = names[kind];
	plot->kind = kind;
	plot->witness = field == &witness;
	plot->addr = field->addr + field->len;
	plot->len = len;
	plot->grain = kind == PLOT_HUGETLB ? PAGE_2M : PAGE_4K;
	plot->fd = -1;
	if (kind == PLOT_SHMEM) {
		plot->fd = memfd_create("phyr_race", MFD_CLOEXEC);
		if (plot->fd < 0 || ftruncate(plot->fd, len))
			die("memfd: %m");
	}
	pthread_mutex_init(&plot->layout, NULL);
	if (!plot_map(plot, plot->addr, len))
		die("can't map %zu bytes of %s at %p: %m", len, plot->name, plot->addr);
	field->len += len;
}

static void add_slices(struct plot *plot, uint64_t seed)
{
	size_t n = plot->len / SLICE;

	plot->slices = calloc(n, sizeof(*plot->slices));
	if (!plot->slices)
		die("out of memory");
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_init(&plot->slices[i].lock, NULL);
		/* So that another seed is another content. */
		plot->slices[i].generation = seed;
		content(plot, i * SLICE, SLICE, seed, plot->addr + i * SLICE);
	}
}

void fields_create(uint64_t seed, bool hugetlb)
{
	raced.addr = FIELD_AT(0);
	add_plot(&raced, PLOT_THP, 2 * PAGE_2M);
	add_plot(&raced, PLOT_SMALL, PAGE_2M);
	if (hugetlb)
		add_plot(&raced, PLOT_HUGETLB, 2 * PAGE_2M);
	add_plot(&raced, PLOT_SHMEM, PAGE_2M);

	witness.addr = FIELD_AT(1);
	add_plot(&witness, PLOT_SMALL, PAGE_2M);
	if (hugetlb)
		add_plot(&witness, PLOT_HUGETLB, PAGE_2M);
	add_plot(&witness, PLOT_SHMEM, PAGE_2M);
	add_plot(&witness, PLOT_THP, 2 * PAGE_2M);
	for (unsigned int i = 0; i < witness.plots; i++)
		add_slices(&witness.plot[i], seed);

	poisoned = mmap(FIELD_AT(2), POISONED_LEN, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (poisoned == MAP_FAILED || madvise(poisoned, POISONED_LEN, MADV_NOHUGEPAGE))
		die("can't map memory to poison: %m");
}

struct plot *pick_plot(struct rng *rng, bool witnesses_too)
{
	struct field *field = witnesses_too && rng_next(rng) & 1 ? &witness : &raced;

	return &field->plot[rng_between(rng, 0, field->plots - 1)];
}

size_t pick_len(struct rng *rng, size_t most, size_t align)
{
	size_t len = align << rng_between(rng, 0, 63 - __builtin_clzll(most / align));

	len = rng_between(rng, len / align, 2 * len / align - 1) * align;
	return len < most ? len : most;
}

static unsigned char *pick_in(struct rng *rng, unsigned char *addr, size_t whole,
			      size_t most, size_t align, size_t *len)
{
	*len = pick_len(rng, most < whole ? most : whole, align);
	return addr + rng_between(rng, 0, (whole - *len) / align) * align;
}

unsigned char *pick_part(struct rng *rng, const struct plot *plot, size_t most, size_t *len)
{
	if (most < plot->grain)
		most = plot->grain;
	return pick_in(rng, plot->addr, plot->len, most, plot->grain, len);
}

unsigned char *pick_span(struct rng *rng, size_t most, size_t align, size_t *len)
{
	const struct field *field = rng_next(rng) & 1 ? &witness : &raced;

	if (chance(rng, 32))
		return pick_in(rng, poisoned, POISONED_LEN, most, align, len);
	return pick_in(rng, field->addr, field->len, most, align, len);
}
