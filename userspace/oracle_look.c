// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "oracle_flags.h"
#include "oracle_layout.h"

/* What lies elsewhere: found once. */
static struct place {
	uint64_t start, end;
	uint8_t kind;
} places[16];
static unsigned int nr_places;

static void find_places(void)
{
	static const uint64_t beyond[] = {
		0, 0xffffffffff600000, 0xffff888000000000, 1ULL << 47, (1ULL << 56) - PAGE_4K, -PAGE_4K,
	};
	char line[256], name[64];
	uint64_t start, end;
	FILE *maps;

	/* The very last pages that a process may have. */
	for (int bits = 56; bits >= 47; bits -= 9) {
		start = (1ULL << bits) - 5 * PAGE_4K;
		if (mmap((void *)start, 4 * PAGE_4K, RW, MAP_PRIVATE | MAP_ANONYMOUS |
			 MAP_POPULATE | MAP_FIXED_NOREPLACE, -1, 0) == (void *)start) {
			places[nr_places++] = (struct place){ start, start + 4 * PAGE_4K, KIND_TOP };
			break;
		}
	}
	maps = fopen("/proc/self/maps", "r");
	if (!maps)
		die("/proc/self/maps: %m");
	while (fgets(line, sizeof(line), maps) && nr_places < 8) {
		*name = 0;
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &start, &end, name) < 2)
			continue;
		if (!strncmp(name, "[vdso]", 6))
			places[nr_places++] = (struct place){ start, end, KIND_VDSO };
		else if (!strncmp(name, "[vvar", 5))
			places[nr_places++] = (struct place){ start, end, KIND_VVAR };
		else if (!strcmp(name, "[stack]"))
			places[nr_places++] = (struct place){ end - 4 * PAGE_4K, end, KIND_STACK };
	}
	fclose(maps);
	for (size_t i = 0; i < ARRAY_SIZE(beyond); i++)
		places[nr_places++] = (struct place){ beyond[i], beyond[i] + PAGE_4K - 1, KIND_BEYOND };
}

static uint64_t pick_in_page(struct rng *rng)
{
	switch (rng_between(rng, 0, 7)) {
	case 0 ... 2:
		return 0;
	case 3:
		return PAGE_4K - 1;
	case 4:
		return rng_between(rng, 1, 63);
	default:
		return rng_between(rng, 0, PAGE_4K - 1);
	}
}

uint64_t space_pick(struct rng *rng)
{
	const struct place *place;
	size_t page, back;

	if (!nr_places)
		find_places();
	switch (rng_between(rng, 0, 99)) {
	case 0 ... 1:
		place = &places[rng_between(rng, 0, nr_places - 1)];
		return place->start + rng_between(rng, 0, (place->end - place->start) / PAGE_4K) *
			PAGE_4K + pick_in_page(rng);
	case 2 ... 3:
		page = MIDDLE + rng_between(rng, 0, 2 * GIGA_PAGES - 1);
		break;
	case 4 ... 8:
		/* Where two gigabytes meet, or one and something small. */
		page = MIDDLE + rng_between(rng, 0, 2) * GIGA_PAGES;
		page -= rng_between(rng, 0, 40);
		break;
	case 9:
		page = rng_next(rng) & 1 ? rng_between(rng, 0, LEFT) :
			rng_between(rng, NR_PAGES - EDGE_PAGES - 8, NR_PAGES - 1);
		break;
	case 10 ... 49:
		/* Just before a border of kinds, if there is one ahead. */
		page = pick_side_page(rng);
		back = rng_between(rng, 0, rng_next(rng) & 1 ? 3 : 40);
		for (size_t i = 1; i < SLOT_PAGES && page + i < NR_PAGES; i++) {
			if (memcmp(&space_state[page + i], &space_state[page], sizeof(*space_state))) {
				page += i;
				break;
			}
		}
		page -= back < page ? back : page;
		break;
	default:
		page = pick_side_page(rng);
	}
	return (uintptr_t)page_addr(page) + pick_in_page(rng);
}

bool space_has(uint64_t addr)
{
	return addr >= SPACE && addr < SPACE + NR_PAGES * PAGE_4K;
}

bool space_is_giga(uint64_t addr)
{
	return addr >= (uintptr_t)page_addr(MIDDLE - 40) &&
	       addr < (uintptr_t)page_addr(MIDDLE + GIGA_PAGES);
}

struct page_state space_at(uint64_t addr, uint64_t *bytes)
{
	struct page_state s = { .kind = KIND_ELSEWHERE };
	size_t page = (addr - SPACE) / PAGE_4K, end = page + 1, limit;

	*bytes = PAGE_4K - addr % PAGE_4K;
	if (space_has(addr)) {
		if (page >= MIDDLE && page < RIGHT) {
			end = page < MIDDLE + GIGA_PAGES ? MIDDLE + GIGA_PAGES : RIGHT;
		} else {
			limit = page < MIDDLE ? MIDDLE : NR_PAGES;
			while (end < limit && !memcmp(&space_state[end], &space_state[page], sizeof(s)))
				end++;
		}
		*bytes = (uintptr_t)page_addr(end) - addr;
		return space_state[page];
	}
	for (unsigned int i = 0; i < nr_places; i++) {
		if (addr >= places[i].start && addr < places[i].end)
			s.kind = places[i].kind;
	}
	return s;
}

enum verdict space_verdict(struct page_state s, unsigned int gup_flags)
{
	bool write = gup_flags & FOLL_WRITE, longterm = gup_flags & FOLL_LONGTERM;

	switch (s.kind) {
	case KIND_BEYOND:
	case KIND_HOLE:
	case KIND_SECRET:
	case KIND_PFNMAP:
	case KIND_GUARD:
		return NEVER_PIN;
	case KIND_UFFD:
	case KIND_UFFD_WP:
	case KIND_POISON:
	case KIND_HUGE_1G_PRIVATE:
		return MAY_PIN;
	case KIND_DISK_SHARED:
		if (longterm)
			return write ? NEVER_PIN : MAY_PIN;
		break;
	default:
		if (s.kind >= NR_MADE)
			return MAY_PIN;
	}
	if (s.prot & (write ? PROT_WRITE : PROT_READ))
		return MUST_PIN;
	return gup_flags & FOLL_FORCE ? MAY_PIN : NEVER_PIN;
}
