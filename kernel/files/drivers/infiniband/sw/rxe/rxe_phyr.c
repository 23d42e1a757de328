// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User MRs held as physical ranges
 *
 * The umem holds the ranges and the pins, a struct ib_phyr_map finds the memory
 * at an offset into the MR.
 */

#include <linux/error-injection.h>
#include <linux/libnvdimm.h>

#include "rxe.h"
#include "rxe_loc.h"

/*
 * Kernel address of @iova, which the caller has checked to be in the MR, and in
 * @len the number of bytes that lie in a row from there on.
 */
static __always_inline void *rxe_phyr_va(struct rxe_mr *mr, u64 iova,
					 size_t *len)
{
	return ib_phyr_map_va(&mr->phyrs, iova - mr->ibmr.iova, len);
}

int rxe_phyr_copy(struct rxe_mr *mr, u64 iova, void *addr, unsigned int length,
		  enum rxe_mr_copy_dir dir)
{
	int err;

	err = mr_check_range(mr, iova, length);
	if (unlikely(err)) {
		rxe_dbg_mr(mr, "iova out of range\n");
		return err;
	}

	for (;;) {
		size_t bytes;
		void *va;

		va = rxe_phyr_va(mr, iova, &bytes);
		bytes = min_t(size_t, bytes, length);

		if (dir == RXE_FROM_MR_OBJ)
			memcpy(addr, va, bytes);
		else
			memcpy(va, addr, bytes);

		length -= bytes;
		if (!length)
			return 0;
		addr += bytes;
		iova += bytes;
	}
}

int rxe_phyr_flush_pmem_iova(struct rxe_mr *mr, u64 iova, u64 length)
{
	int err;

	err = mr_check_range(mr, iova, length);
	if (err)
		return err;

	while (length) {
		size_t bytes;
		void *va;

		va = rxe_phyr_va(mr, iova, &bytes);
		bytes = min3((u64)bytes, length, (u64)SZ_1M);
		arch_wb_cache_pmem(va, bytes);

		iova += bytes;
		length -= bytes;
		cond_resched();
	}
	return 0;
}

/* Returns NULL if the 8 bytes at @iova are not in the MR. */
static u64 *rxe_phyr_u64(struct rxe_mr *mr, u64 iova)
{
	size_t bytes;

	if (mr_check_range(mr, iova, sizeof(u64))) {
		rxe_dbg_mr(mr, "iova out of range\n");
		return NULL;
	}
	return rxe_phyr_va(mr, iova, &bytes);
}

enum resp_states rxe_phyr_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				    u64 compare, u64 swap_add, u64 *orig_val)
{
	u64 *va = rxe_phyr_u64(mr, iova);

	if (!va)
		return RESPST_ERR_RKEY_VIOLATION;
	/* Aligned, all 8 bytes are in one page and so in one range. */
	if (!IS_ALIGNED((unsigned long)va, sizeof(*va))) {
		rxe_dbg_mr(mr, "iova not aligned\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}
	rxe_atomic_op(va, opcode, compare, swap_add, orig_val);
	return RESPST_NONE;
}

enum resp_states rxe_phyr_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	/* See IBA oA19-28 */
	u64 *va = rxe_phyr_u64(mr, iova);

	if (!va)
		return RESPST_ERR_RKEY_VIOLATION;
	/* See IBA A19.4.2 */
	if (!IS_ALIGNED((unsigned long)va, sizeof(*va))) {
		rxe_dbg_mr(mr, "misaligned address\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}
	/* Do atomic write after all prior operations have completed */
	smp_store_release(va, value);
	return RESPST_NONE;
}

static bool rxe_phyrs_are_pmem(const struct ib_umem_phyrs *list)
{
	unsigned long i;

	for (i = 0; i < list->nr; i++) {
		const struct phyr *phyr = ib_umem_phyr(list, i);

		if (region_intersects(phyr->addr, phyr->len, IORESOURCE_MEM,
				      IORES_DESC_PERSISTENT_MEMORY) !=
		    REGION_INTERSECTS)
			return false;
		if (i % 4096 == 4095)
			cond_resched();
	}
	return true;
}

bool rxe_phyr_is_pmem(struct rxe_mr *mr)
{
	return rxe_phyrs_are_pmem(to_ib_umem_phyrs(mr->umem));
}

/**
 * rxe_phyr_init - make an MR use the physical ranges of its umem
 * @mr: MR without memory
 * @umem: umem with is_phyr set, stays the caller's
 *
 * Context: Process context.  May sleep.
 * Return: 0, -ENOMEM, or -EINVAL if the MR is for flushing to persistent memory
 * and @umem has other memory.
 */
int rxe_phyr_init(struct rxe_mr *mr, struct ib_umem *umem)
{
	const struct ib_umem_phyrs *list = to_ib_umem_phyrs(umem);

	if ((mr->access & IB_ACCESS_FLUSH_PERSISTENT) &&
	    !rxe_phyrs_are_pmem(list)) {
		rxe_dbg_mr(mr, "Page can't be persistent\n");
		return -EINVAL;
	}
	return ib_phyr_map_init(&mr->phyrs, list);
}
ALLOW_ERROR_INJECTION(rxe_phyr_init, ERRNO);
