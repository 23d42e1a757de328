// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle_flags.h"
#include "oracle_layout.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_FREE
#define MADV_FREE 8
#endif

const char *space_missing[NR_KINDS];

struct page_state space_state[NR_PAGES];
static bool middle_made, private_1g;

#define MAX_CHILDREN 2
static pid_t children[MAX_CHILDREN];

static void note_pages(size_t page, size_t n, enum kind kind, int prot)
{
	struct page_state s = { .kind = kind, .prot = prot };

	for (size_t i = 0; i < n; i++)
		space_state[page + i] = s;
}

static void make(enum kind kind, size_t page, size_t n, struct rng *rng)
{
	const char *why = memory_make(kind, page_addr(page), n * PAGE_4K, rng);

	if (why) {
		space_missing[kind] = why;
		kind = KIND_HOLE;
	}
	note_pages(page, n, kind, kind == KIND_PFNMAP ? PROT_READ : RW);
}

static bool is_huge(enum kind kind)
{
	return kind >= KIND_HUGE_2M_PRIVATE && kind <= KIND_HUGE_1G_PRIVATE;
}

/* A piece of a side, clear of hugetlb pages, that stays within one slot. */
static size_t pick_piece(struct rng *rng, size_t most, size_t *n)
{
	size_t page, in_slot;

	for (int tries = 0; tries < 20; tries++) {
		page = pick_side_page(rng);
		in_slot = (page - LEFT) % SLOT_PAGES;
		*n = rng_between(rng, 1, most);
		if (*n > SLOT_PAGES - in_slot)
			*n = SLOT_PAGES - in_slot;
		if (!is_huge(space_state[page].kind))
			return page;
	}
	*n = 0;
	return 0;
}

/* New memory in a piece of the left or right side. */
static void make_piece(size_t page, size_t n, struct rng *rng)
{
	enum kind kind = rng_between(rng, 0, KIND_POISON - 1);
	size_t unit = memory_unit(kind) / PAGE_4K;

	if (kind == KIND_PFNMAP && n > 16)
		n = 16;
	/* There is no room for 2M folios to be mapped whole. */
	if (unit == SLOT_PAGES) {
		kind = kind == KIND_SHMEM_HUGE ? KIND_ALIAS_HUGE : KIND_THP_MOVED;
	} else if (unit > 1 && rng_next(rng) & 7) {
		/* Folios want to be aligned; what is left over stays as it is. */
		size_t first = (page + unit - 1 - LEFT) / unit * unit + LEFT;
		size_t last = (page + n - LEFT) / unit * unit + LEFT;

		if (last > first) {
			page = first;
			n = last - first;
		}
	}
	make(kind, page, n, rng);
}

static const enum kind whole[] = {
	KIND_THP, KIND_THP_SPLIT, KIND_THP_PARTIAL, KIND_SHMEM_HUGE,
	KIND_ALIAS_HUGE, KIND_MTHP_64K, KIND_HUGE_2M_PRIVATE, KIND_HUGE_2M_SHARED,
};

/* A whole slot of one kind, or one cut into pieces. */
static void make_slot(size_t slot, bool pieces, size_t which, struct rng *rng)
{
	size_t page = side_page(slot * SLOT_PAGES), left = SLOT_PAGES, n;

	if (!pieces) {
		make(whole[which % ARRAY_SIZE(whole)], page, left, rng);
		return;
	}
	if (is_huge(space_state[page].kind))
		make(KIND_HOLE, page, left, rng);
	for (; left; left -= n, page += n) {
		n = rng_between(rng, 1, rng_next(rng) & 3 ? 64 : 256);
		if (n > left)
			n = left;
		make_piece(page, n, rng);
	}
}

static void end_child(int i)
{
	if (!children[i])
		return;
	kill(children[i], SIGKILL);
	waitpid(children[i], NULL, 0);
	children[i] = 0;
	for (int k = 0; k < MAX_CHILDREN; k++)
		if (children[k])
			return;
	for (size_t k = 0; k < 2 * SIDE_PAGES; k++)
		space_state[side_page(k)].forked = 0;
}

void space_leave(void)
{
	for (int i = 0; i < MAX_CHILDREN; i++)
		end_child(i);
}

static bool can_write(size_t page)
{
	struct page_state s = space_state[page];

	return s.prot == RW && space_verdict(s, FOLL_WRITE) == MUST_PIN && !is_huge(s.kind);
}

/* A child that shares all that is private, and may have written to some of it. */
static void fork_child(struct rng *rng)
{
	bool writes = rng_next(rng) & 1, with_1g = !(rng_next(rng) & 7);
	int pipes[2], i = !!children[0];
	char c;

	end_child(i);
	madvise(page_addr(MIDDLE), 2 * PAGE_1G, with_1g ? MADV_DOFORK : MADV_DONTFORK);
	if (pipe2(pipes, O_CLOEXEC))
		die("pipe: %m");
	children[i] = fork();
	if (children[i] < 0)
		die("fork: %m");
	if (!children[i]) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int k = 0; writes && k < 256; k++) {
			size_t page = pick_side_page(rng);

			if (can_write(page))
				*(volatile unsigned char *)page_addr(page) = 2;
		}
		if (write(pipes[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(pipes[1]);
	if (read(pipes[0], &c, 1) != 1)
		die("a child died early");
	close(pipes[0]);
	for (size_t k = 0; k < 2 * SIDE_PAGES; k++) {
		struct page_state *s = &space_state[side_page(k)];

		s->forked = memory_is_private(s->kind) && s->kind != KIND_HOLE;
	}
}

static void protect(struct rng *rng)
{
	static const int prots[] = { PROT_READ, PROT_READ, PROT_NONE, RW, RW };
	int prot = prots[rng_between(rng, 0, ARRAY_SIZE(prots) - 1)];
	size_t n, page = pick_piece(rng, 64, &n);

	if (!(rng_next(rng) & 7)) {
		page = side_page(rng_between(rng, 0, 2 * SIDE - 1) * SLOT_PAGES);
		n = SLOT_PAGES;
	}
	for (size_t i = page; i < page + n; i++)
		if (space_state[i].kind == KIND_HOLE || space_state[i].kind == KIND_PFNMAP)
			return;
	if (n && !mprotect(page_addr(page), n * PAGE_4K, prot))
		for (size_t i = page; i < page + n; i++)
			space_state[i].prot = prot;
}

static void discard(struct rng *rng)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, MADV_COLD,
	};
	int how = advice[rng_between(rng, 0, ARRAY_SIZE(advice) - 1)];
	size_t n, page = pick_piece(rng, 128, &n);

	if (!(rng_next(rng) & 15)) {
		page = side_page(rng_between(rng, 0, 2 * SIDE - 1) * SLOT_PAGES);
		n = SLOT_PAGES;
	}
	if (n)
		madvise(page_addr(page), n * PAGE_4K, how);
}

static void populate(struct rng *rng)
{
	int how = rng_next(rng) & 1 ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
	size_t n, page = pick_piece(rng, 32, &n);

	if (n)
		madvise(page_addr(page), n * PAGE_4K, how);
}

/* Moves a piece: what was contiguous comes to lie apart, what was apart together. */
static void move(struct rng *rng)
{
	size_t n, m, from = pick_piece(rng, 32, &n), to = pick_piece(rng, 32, &m);
	struct page_state s = space_state[from];

	if (m < n)
		n = m;
	if (!n || (from < to + n && to < from + n) || s.kind == KIND_HOLE)
		return;
	for (size_t i = 0; i < n; i++)
		if (memcmp(&space_state[from + i], &s, sizeof(s)))
			return;
	if (mremap(page_addr(from), n * PAGE_4K, n * PAGE_4K, MREMAP_MAYMOVE | MREMAP_FIXED,
		   page_addr(to)) == MAP_FAILED) {
		/* Several mappings, which move one by one or not: leave no doubt. */
		make(KIND_HOLE, from, n, rng);
		make(KIND_HOLE, to, n, rng);
		return;
	}
	note_pages(from, n, KIND_HOLE, RW);
	note_pages(to, n, s.kind, s.prot);
	for (size_t i = 0; i < n; i++)
		space_state[to + i].forked = s.forked;
}

static void split_or_collapse(struct rng *rng)
{
	size_t page = side_page(rng_between(rng, 0, 2 * SIDE - 1) * SLOT_PAGES);
	unsigned int order = rng_between(rng, 0, 8);
	size_t from = rng_between(rng, 0, SLOT_PAGES - 1);

	if (rng_next(rng) & 1)
		madvise(page_addr(page), PAGE_2M, MADV_COLLAPSE);
	else
		memory_split_folios(page_addr(page + from), PAGE_2M - from * PAGE_4K, order);
}

/* Soft-dirty tracking write-protects every page table entry. */
static void clear_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "4", 1) < 0)
			die("/proc/self/clear_refs: %m");
		close(fd);
	}
}

void space_change(struct rng *rng)
{
	size_t n, page;

	switch (rng_between(rng, 0, 99)) {
	case 0 ... 29:
		page = pick_piece(rng, 64, &n);
		if (n)
			make_piece(page, n, rng);
		break;
	case 30 ... 34:
		make_slot(rng_between(rng, 0, 2 * SIDE - 1), rng_next(rng) & 1, rng_next(rng), rng);
		break;
	case 35 ... 49:
		discard(rng);
		break;
	case 50 ... 64:
		protect(rng);
		break;
	case 65 ... 74:
		populate(rng);
		break;
	case 75 ... 86:
		move(rng);
		break;
	case 87 ... 94:
		split_or_collapse(rng);
		break;
	case 95:
		clear_soft_dirty();
		break;
	case 96 ... 97:
		end_child(rng_next(rng) & 1);
		break;
	default:
		fork_child(rng);
	}
}

static void make_middle(struct rng *rng, unsigned int round)
{
	/* A write to it copies a gigabyte: not often. */
	bool want_private = !(round % 32);

	if (!middle_made) {
		make(KIND_HUGE_1G_SHARED, MIDDLE, GIGA_PAGES, rng);
		note_pages(MIDDLE + GIGA_PAGES, GIGA_PAGES, KIND_HOLE, RW);
		middle_made = true;
	}
	if (want_private || private_1g)
		make(want_private ? KIND_HUGE_1G_PRIVATE : KIND_HOLE,
		     MIDDLE + GIGA_PAGES, GIGA_PAGES, rng);
	private_1g = want_private;
}

void space_make(struct rng *rng, unsigned int round)
{
	size_t which;

	space_leave();
	memory_start();
	make_middle(rng, round);
	make(KIND_HOLE, LEFT, SIDE_PAGES, rng);
	make(KIND_HOLE, RIGHT, SIDE_PAGES, rng);
	/* Every second one is whole, so that a round has each of those. */
	which = rng_next(rng);
	for (size_t slot = 0; slot < 2 * SIDE; slot++)
		make_slot(slot, slot & 1, which + slot / 2, rng);
	/* Each poisoned page is gone until the next boot. */
	if (!(round % 16)) {
		if (is_huge(space_state[LEFT].kind))
			make(KIND_HOLE, LEFT, SLOT_PAGES, rng);
		make(KIND_POISON, LEFT + rng_between(rng, 0, SLOT_PAGES - 8), 8, rng);
	}
}

const char *space_make_one(enum kind kind, struct rng *rng, unsigned char **at, size_t *len)
{
	bool is_1g = kind == KIND_HUGE_1G_SHARED || kind == KIND_HUGE_1G_PRIVATE;
	size_t n = kind == KIND_PFNMAP ? 16 : SLOT_PAGES;

	*at = page_addr(is_1g ? MIDDLE : LEFT);
	*len = is_1g ? PAGE_1G : n * PAGE_4K;
	space_missing[kind] = memory_make(kind, *at, *len, rng);
	return space_missing[kind];
}
