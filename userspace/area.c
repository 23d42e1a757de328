// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "area.h"

const char *area_create(struct area *a, const char *kind, size_t len,
			size_t mr_off, size_t mr_len, struct rng *rng)
{
	const char *err;

	memset(a, 0, sizeof(*a));
	err = region_create(&a->region, kind, len, rng);
	if (err)
		return err;
	a->shadow = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->shadow == MAP_FAILED)
		die("no address space for a shadow: %m");
	/* Only the pages that a test has filled may become resident. */
	madvise(a->shadow, len, MADV_NOHUGEPAGE);
	a->mr_off = mr_off;
	a->mr_len = mr_len;
	return NULL;
}

int area_register(struct area *a, struct ibv_pd *pd, int access, struct rng *rng)
{
	unsigned char *start = a->region.addr + a->mr_off;

	/* Address and IOVA have to agree within a page: uverbs insists. */
	a->iova[0] = (uintptr_t)start;
	a->iova[1] = (rng_next(rng) >> 1 & ~(PAGE_4K - 1)) | (uintptr_t)start % PAGE_4K;
	for (int i = 0; i < 2; i++) {
		a->mr[i] = ibv_reg_mr_iova2(pd, start, a->mr_len, a->iova[i], access);
		if (!a->mr[i]) {
			int err = errno;

			area_deregister(a);
			return err;
		}
	}
	return 0;
}

void area_deregister(struct area *a)
{
	for (int i = 0; i < 2; i++) {
		if (a->mr[i] && ibv_dereg_mr(a->mr[i]))
			die("ibv_dereg_mr: %m");
		a->mr[i] = NULL;
	}
}

void area_destroy(struct area *a)
{
	area_deregister(a);
	if (a->shadow)
		munmap(a->shadow, a->region.len);
	region_destroy(&a->region);
}

long long area_first_difference(const struct area *a)
{
	static const unsigned char zeroes[PAGE_4K];
	size_t pages = a->region.len / PAGE_4K;
	unsigned char *resident = malloc(pages);
	long long where = -1;

	if (!resident || mincore(a->shadow, a->region.len, resident))
		die("mincore: %m");
	for (size_t i = 0; i < pages && where < 0; i++) {
		size_t off = i * PAGE_4K;
		const unsigned char *want = resident[i] & 1 ? a->shadow + off : zeroes;

		if (!memcmp(a->region.addr + off, want, PAGE_4K))
			continue;
		while (a->region.addr[off] == *want) {
			off++;
			want++;
		}
		where = off;
	}
	free(resident);
	return where;
}

size_t pick_length(struct rng *rng, size_t max)
{
	static const size_t typical[] = {
		2, 8, 64, 256, 1024, 2048, 4096, 8192, 16384, 65536
	};
	size_t len;

	switch (rng_between(rng, 0, 19)) {
	case 0:
		len = PAGE_2M + rng_between(rng, 0, PAGE_4K);
		break;
	case 1 ... 5:
		len = rng_between(rng, 1, 100000);
		break;
	default:
		len = typical[rng_between(rng, 0, ARRAY_SIZE(typical) - 1)] +
		      rng_between(rng, 0, 2) - 1;
	}
	return len < max ? len : max;
}

/* Offset of a multiple of @step strictly inside the MR, or 0 if there is none. */
static size_t pick_border(const struct area *a, struct rng *rng, size_t step)
{
	uint64_t start = (uintptr_t)a->region.addr + a->mr_off;
	uint64_t first = start / step + 1;
	uint64_t last = (start + a->mr_len - 1) / step;

	return last < first ? 0 : rng_between(rng, first, last) * step - start;
}

size_t pick_offset(const struct area *a, struct rng *rng, size_t len)
{
	size_t last = a->mr_len - len;
	size_t border = 0, before;

	switch (rng_between(rng, 0, 9)) {
	case 0:
		return 0;
	case 1:
		return last;
	case 2:
		return rng_between(rng, 0, last);
	case 3 ... 4:
		border = pick_border(a, rng, PAGE_1G);
		break;
	case 5 ... 6:
		border = pick_border(a, rng, PAGE_2M);
		break;
	}
	if (!border)
		border = pick_border(a, rng, PAGE_4K);
	/* Up to the border, over it, or from it on. */
	before = rng_between(rng, 0, len);
	if (border < before)
		return 0;
	return border - before < last ? border - before : last;
}

/* The guarded bytes around a span, as offsets into the region. */
static void guarded(const struct span *s, size_t *from, size_t *len)
{
	size_t lo = s->area->mr_off + s->lo, hi = s->area->mr_off + s->hi;

	lo -= lo < GUARD ? lo : GUARD;
	hi += s->area->region.len - hi < GUARD ? s->area->region.len - hi : GUARD;
	*from = lo;
	*len = hi - lo;
}

struct span span_pick(struct area *a, struct rng *rng, size_t len,
		      unsigned int max_segments)
{
	struct span s = { .area = a, .which = rng_next(rng) & 1, .n = 1 };
	size_t gaps[MAX_SEGMENTS] = { 0 }, lens[MAX_SEGMENTS];
	size_t total = len, from, bytes, at;

	if (max_segments > MAX_SEGMENTS)
		max_segments = MAX_SEGMENTS;
	if (max_segments > len)
		max_segments = len;
	if (max_segments > 1 && rng_next(rng) & 1)
		s.n = rng_between(rng, 2, max_segments);

	for (unsigned int i = 0; i < s.n; i++) {
		size_t left = s.n - 1 - i;

		lens[i] = left ? rng_between(rng, 1, len - left) : len;
		len -= lens[i];
		if (i && total + 300 <= a->mr_len) {
			gaps[i] = rng_between(rng, 0, 300);
			total += gaps[i];
		}
	}

	at = pick_offset(a, rng, total);
	s.lo = at;
	s.hi = at + total;
	for (unsigned int i = 0; i < s.n; i++) {
		at += gaps[i];
		s.seg[i].off = at;
		s.seg[i].len = lens[i];
		at += lens[i];
	}
	/* Memory order is not transfer order. */
	for (unsigned int i = s.n - 1; i > 0; i--) {
		unsigned int j = rng_between(rng, 0, i);
		typeof(s.seg[0]) t = s.seg[i];

		s.seg[i] = s.seg[j];
		s.seg[j] = t;
	}

	guarded(&s, &from, &bytes);
	rng_fill(rng, a->shadow + from, bytes);
	memcpy(a->region.addr + from, a->shadow + from, bytes);
	return s;
}

uint64_t span_addr(const struct span *s, unsigned int seg)
{
	return s->area->iova[s->which] + s->seg[seg].off;
}

unsigned int span_sges(const struct span *s, struct ibv_sge *sge)
{
	for (unsigned int i = 0; i < s->n; i++) {
		sge[i].addr = span_addr(s, i);
		sge[i].length = s->seg[i].len;
		sge[i].lkey = s->area->mr[s->which]->lkey;
	}
	return s->n;
}

void span_copy_shadow(const struct span *dst, const struct span *src)
{
	const unsigned char *from = src->area->shadow + src->area->mr_off;
	unsigned char *to = dst->area->shadow + dst->area->mr_off;
	unsigned int i = 0, j = 0;
	size_t done_i = 0, done_j = 0;

	while (i < dst->n && j < src->n) {
		size_t left_i = dst->seg[i].len - done_i;
		size_t left_j = src->seg[j].len - done_j;
		size_t n = left_i < left_j ? left_i : left_j;

		memcpy(to + dst->seg[i].off + done_i,
		       from + src->seg[j].off + done_j, n);
		done_i += n;
		done_j += n;
		if (done_i == dst->seg[i].len) {
			i++;
			done_i = 0;
		}
		if (done_j == src->seg[j].len) {
			j++;
			done_j = 0;
		}
	}
}

bool span_intact(const struct span *s)
{
	size_t from, len;

	guarded(s, &from, &len);
	return !memcmp(s->area->region.addr + from, s->area->shadow + from, len);
}

void span_corrupt(const struct span *s, struct rng *rng)
{
	size_t from, len;

	guarded(s, &from, &len);
	s->area->region.addr[from + rng_between(rng, 0, len - 1)] ^= 1;
}
