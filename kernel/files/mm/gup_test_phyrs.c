// SPDX-License-Identifier: GPL-2.0
/*
 * What gup_test does by pin_user_phyrs(): pin to measure it, pin for as long as
 * the caller wants, and pin to compare with pin_user_pages_fast().
 */
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/phyr_pin.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "gup_test.h"
#include "gup_test_phyrs.h"

#define GUP_TEST_PHYRS_FLAGS	(FOLL_WRITE | FOLL_LONGTERM | FOLL_FORCE | \
				 FOLL_HONOR_NUMA_FAULT)

/* The ranges stay where they are while the list grows, as a pin session wants. */
struct gup_test_chunk {
	struct gup_test_chunk *next;
	unsigned int nr;
	struct phyr phyrs[];
};

#define GUP_TEST_CHUNK_PHYRS \
	((PAGE_SIZE - sizeof(struct gup_test_chunk)) / sizeof(struct phyr))

/* Call after a change of @list, @pin and its last @chunk. */
static void count_phyrs(struct gup_test_phyrs *list, struct phyr_pin *pin,
			struct gup_test_chunk *chunk)
{
	list->nr += pin->nr - chunk->nr;
	list->bytes = pin->bytes;
	chunk->nr = pin->nr;
}

static struct gup_test_chunk *add_chunk(struct gup_test_chunk **link)
{
	*link = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (*link)
		**link = (struct gup_test_chunk){};
	return *link;
}

/* In arrays of @max ranges, by calls for @step bytes. */
static int pin_phyrs(struct gup_test_phyrs *list, unsigned long start,
		     size_t len, unsigned int gup_flags, unsigned int max,
		     size_t step)
{
	struct gup_test_chunk *chunk;
	struct phyr_pin pin;
	int ret;

	*list = (struct gup_test_phyrs){};
	chunk = add_chunk(&list->first);
	if (!chunk)
		return -ENOMEM;

	phyr_pin_init(&pin, chunk->phyrs, max);
	do {
		ret = pin_user_phyrs(&pin, start + pin.bytes,
				     min(step, len - (size_t)pin.bytes),
				     gup_flags);
		count_phyrs(list, &pin, chunk);
		if (ret == -ENOSPC && pin.nr == pin.max) {
			chunk = add_chunk(&chunk->next);
			if (!chunk)
				return -ENOMEM;
			phyr_pin_continue(&pin, chunk->phyrs, max);
			ret = 0;
		}
	} while (!ret && pin.bytes < len);
	return ret;
}

/*
 * Pin @len bytes at @start.  What is pinned when it returns, with an error or
 * not, is in @list, which gup_test_unpin_phyrs() empties.
 */
int gup_test_pin_phyrs(struct gup_test_phyrs *list, unsigned long start,
		       size_t len, unsigned int gup_flags)
{
	return pin_phyrs(list, start, len, gup_flags, GUP_TEST_CHUNK_PHYRS,
			 SIZE_MAX);
}

void gup_test_unpin_phyrs(struct gup_test_phyrs *list, bool make_dirty)
{
	struct gup_test_chunk *chunk;

	while ((chunk = list->first)) {
		list->first = chunk->next;
		unpin_user_phyrs(chunk->phyrs, chunk->nr, make_dirty);
		kfree(chunk);
	}
	*list = (struct gup_test_phyrs){};
}

static int read_phyr(const struct phyr *phyr, void __user **to)
{
	phys_addr_t addr = phyr->addr;
	size_t left = phyr->len;

	while (left) {
		size_t len = min(left, PAGE_SIZE - offset_in_page(addr));
		void *from = kmap_local_pfn(PHYS_PFN(addr));
		unsigned long ret;

		ret = copy_to_user(*to, from + offset_in_page(addr), len);
		kunmap_local(from);
		if (ret)
			return -EFAULT;
		*to += len;
		addr += len;
		left -= len;
	}
	return 0;
}

int gup_test_read_phyrs(const struct gup_test_phyrs *list, void __user *to)
{
	const struct gup_test_chunk *chunk;
	unsigned int i;
	int ret;

	for (chunk = list->first; chunk; chunk = chunk->next) {
		for (i = 0; i < chunk->nr; i++) {
			ret = read_phyr(&chunk->phyrs[i], &to);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* For loops over all ranges of a list. */
struct phyrs_iter {
	const struct gup_test_chunk *chunk;
	unsigned int i;
};

static struct phyrs_iter first_phyr(const struct gup_test_phyrs *list)
{
	return (struct phyrs_iter){ .chunk = list->first };
}

static const struct phyr *next_phyr(struct phyrs_iter *iter)
{
	while (iter->chunk && iter->i == iter->chunk->nr) {
		iter->chunk = iter->chunk->next;
		iter->i = 0;
	}
	return iter->chunk ? &iter->chunk->phyrs[iter->i++] : NULL;
}

static void verify_phyrs_pinned(const struct gup_test_phyrs *list, bool longterm)
{
	struct phyrs_iter iter = first_phyr(list);
	const struct phyr *phyr;

	while ((phyr = next_phyr(&iter))) {
		struct folio *folio = pfn_folio(phyr_pfn(phyr));

		if (WARN(!folio_maybe_dma_pinned(folio),
			 "range at pfn %#lx is NOT dma-pinned\n",
			 phyr_pfn(phyr)) ||
		    (longterm && WARN(!folio_is_longterm_pinnable(folio),
				      "range at pfn %#lx is NOT pinnable but pinned\n",
				      phyr_pfn(phyr)))) {
			dump_page(&folio->page, "gup_test failure");
			break;
		}
	}
}

/* PIN_PHYRS_BENCHMARK and PIN_PHYRS_LONGTERM_BENCHMARK: time one pin and unpin. */
int gup_test_benchmark_phyrs(struct gup_test *gup, bool longterm)
{
	unsigned int flags = gup->gup_flags | (longterm ? FOLL_LONGTERM : 0);
	size_t step = (size_t)gup->nr_pages_per_call << PAGE_SHIFT;
	struct gup_test_phyrs list;
	ktime_t start_time;
	int ret;

	if (gup->addr > ULONG_MAX || gup->size > ULONG_MAX || !step ||
	    (flags & ~GUP_TEST_PHYRS_FLAGS))
		return -EINVAL;

	start_time = ktime_get();
	ret = pin_phyrs(&list, gup->addr, gup->size, flags,
			GUP_TEST_CHUNK_PHYRS, step);
	gup->get_delta_nsec = ktime_to_ns(ktime_sub(ktime_get(), start_time));

	/* As for pages: less than was asked for is no error, but for the size. */
	gup->size = list.bytes;
	gup->nr_phyrs = list.nr;
	verify_phyrs_pinned(&list, longterm);

	start_time = ktime_get();
	gup_test_unpin_phyrs(&list, false);
	gup->put_delta_nsec = ktime_to_ns(ktime_sub(ktime_get(), start_time));
	return ret == -ENOMEM ? ret : 0;
}

/* One span, pinned both ways. */
struct comparison {
	struct pin_phyrs_compare *cmp;
	struct gup_test_phyrs list;
	struct page **pages;
	unsigned long nr_pages;		/* asked for */
	unsigned long done;		/* and pinned */
	int ret;			/* why that is less */
};

static void pin_by_pages(struct comparison *c)
{
	unsigned long first = c->cmp->addr & PAGE_MASK;
	int ret;

	while (c->done < c->nr_pages) {
		ret = pin_user_pages_fast(first + c->done * PAGE_SIZE,
					  c->nr_pages - c->done,
					  c->cmp->gup_flags,
					  c->pages + c->done);
		if (ret <= 0) {
			c->ret = ret ?: -EFAULT;
			break;
		}
		c->done += ret;
	}
}

static void pin_by_phyrs(struct comparison *c)
{
	unsigned int max = GUP_TEST_CHUNK_PHYRS;

	if (c->cmp->max_phyrs)
		max = min(max, c->cmp->max_phyrs);
	c->cmp->error = pin_phyrs(&c->list, c->cmp->addr, c->cmp->size,
				  c->cmp->gup_flags, max,
				  c->cmp->step ?: SIZE_MAX);
	c->cmp->bytes = c->list.bytes;
	c->cmp->nr_phyrs = c->list.nr;
}

static void mismatch(struct comparison *c, enum pin_phyrs_mismatch what,
		     u64 where)
{
	if (c->cmp->mismatch)
		return;
	c->cmp->mismatch = what;
	c->cmp->where = where;
}

static const struct dev_pagemap *pgmap_of(struct page *page)
{
	return is_zone_device_page(page) ? page_pgmap(page) : NULL;
}

/* Return codes, bytes and page frames. */
static void compare_contents(struct comparison *c)
{
	unsigned int offset = offset_in_page(c->cmp->addr);
	struct phyrs_iter iter = first_phyr(&c->list);
	const struct phyr *phyr, *prev = NULL;
	unsigned long page = 0;
	u64 bytes = 0, want;

	if (c->cmp->error != c->ret)
		mismatch(c, PIN_PHYRS_ERROR, c->cmp->bytes);
	want = c->cmp->size;
	if (c->done < c->nr_pages)
		want = c->done ? c->done * PAGE_SIZE - offset : 0;
	if (c->cmp->bytes != want)
		mismatch(c, PIN_PHYRS_BYTES, min(want, c->cmp->bytes));

	while ((phyr = next_phyr(&iter))) {
		unsigned long pfn = phyr_pfn(phyr);

		if (!phyr->len ||
		    offset_in_page(phyr->addr) != (prev ? 0 : offset) ||
		    (prev && offset_in_page(prev->addr + prev->len)))
			mismatch(c, PIN_PHYRS_ENDS, bytes);
		if (prev && page < c->done &&
		    phyr_mergeable(prev, phyr->addr, phyr->len) &&
		    pgmap_of(c->pages[page]) == pgmap_of(c->pages[page - 1]))
			mismatch(c, PIN_PHYRS_MERGE, bytes);
		for (; pfn < phyr_end_pfn(phyr) && page < c->done; pfn++, page++) {
			if (pfn != page_to_pfn(c->pages[page]))
				mismatch(c, PIN_PHYRS_PFN,
					 page * PAGE_SIZE);
			if (pfn > phyr_pfn(phyr) && pgmap_of(c->pages[page]) !=
			    pgmap_of(c->pages[page - 1]))
				mismatch(c, PIN_PHYRS_MERGE,
					 page * PAGE_SIZE);
		}
		if (pfn < phyr_end_pfn(phyr))
			mismatch(c, PIN_PHYRS_BYTES, bytes);
		bytes += phyr->len;
		prev = phyr;
		cond_resched();
	}
	if (bytes != c->cmp->bytes)
		mismatch(c, PIN_PHYRS_BYTES, min(bytes, c->cmp->bytes));
}

/* Pins on a folio, give or take references that come and go. */
static int pins_of(struct folio *folio)
{
	if (folio_has_pincount(folio))
		return atomic_read(&folio->_pincount);
	return (folio_ref_count(folio) + GUP_PIN_COUNTING_BIAS / 2) /
		GUP_PIN_COUNTING_BIAS;
}

/* One for each page from the one side, one for each range from the other. */
static int pins_due(const struct comparison *c, struct folio *folio)
{
	unsigned long first = folio_pfn(folio);
	unsigned long end = first + folio_nr_pages(folio);
	struct phyrs_iter iter = first_phyr(&c->list);
	const struct phyr *phyr;
	unsigned long i;
	int due = 0;

	for (i = 0; i < c->done; i++) {
		unsigned long pfn = page_to_pfn(c->pages[i]);

		due += pfn >= first && pfn < end;
	}
	while ((phyr = next_phyr(&iter)))
		due += phyr_pfn(phyr) < end && phyr_end_pfn(phyr) > first;
	return due;
}

static void compare_pins(struct comparison *c)
{
	struct folio *folio, *last = NULL;
	unsigned long i;

	for (i = 0; i < c->done; i++, last = folio) {
		folio = page_folio(c->pages[i]);
		if (folio == last || is_zero_folio(folio))
			continue;
		cond_resched();
		if (fatal_signal_pending(current))
			break;
		/* A small folio is mostly mapped once, and needs no counting. */
		if (!folio_test_large(folio) && pins_of(folio) == 2)
			continue;
		if (pins_of(folio) != pins_due(c, folio))
			mismatch(c, PIN_PHYRS_PINS, i * PAGE_SIZE);
	}
}

/* Unpin all, in the order it was pinned, with a reference to look at it after. */
static void compare_unpin(struct comparison *c)
{
	bool make_dirty = c->cmp->test_flags & PIN_PHYRS_COMPARE_DIRTY;
	struct folio *folio, *last = NULL;
	unsigned long i, nr = 0;

	for (i = 0; i < c->done; i++, last = folio) {
		folio = page_folio(c->pages[i]);
		if (folio != last)
			folio_get(folio);
	}
	gup_test_unpin_phyrs(&c->list, make_dirty);
	unpin_user_pages_dirty_lock(c->pages, c->done, make_dirty);

	/* No pin holds a folio together any more, but the references do. */
	for (i = 0, last = NULL; i < c->done; i++, last = folio) {
		folio = page_folio(c->pages[i]);
		if (folio == last)
			continue;
		c->pages[nr++] = &folio->page;
		if (!is_zero_folio(folio) && pins_of(folio))
			mismatch(c, PIN_PHYRS_LEFT, i * PAGE_SIZE);
	}
	for (i = 0; i < nr; i++)
		folio_put(page_folio(c->pages[i]));
}

/* PIN_PHYRS_COMPARE_TEST */
int gup_test_compare_phyrs(struct pin_phyrs_compare *cmp)
{
	struct comparison c = { .cmp = cmp };

	if (cmp->addr > ULONG_MAX || cmp->size > SZ_1G ||
	    cmp->step > SIZE_MAX ||
	    (cmp->gup_flags & ~GUP_TEST_PHYRS_FLAGS) ||
	    (cmp->test_flags & ~(PIN_PHYRS_COMPARE_PAGES_FIRST |
				 PIN_PHYRS_COMPARE_DIRTY)))
		return -EINVAL;

	c.nr_pages = DIV_ROUND_UP(offset_in_page(cmp->addr) + cmp->size,
				  PAGE_SIZE);
	if (!cmp->size)
		c.nr_pages = 0;
	c.pages = kvcalloc(c.nr_pages, sizeof(*c.pages), GFP_KERNEL);
	if (!c.pages)
		return -ENOMEM;

	cmp->mismatch = PIN_PHYRS_SAME;
	cmp->where = 0;
	if (cmp->test_flags & PIN_PHYRS_COMPARE_PAGES_FIRST) {
		pin_by_pages(&c);
		pin_by_phyrs(&c);
	} else {
		pin_by_phyrs(&c);
		pin_by_pages(&c);
	}
	compare_contents(&c);
	compare_pins(&c);
	compare_unpin(&c);
	kvfree(c.pages);
	return fatal_signal_pending(current) ? -EINTR : 0;
}
