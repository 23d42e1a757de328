// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User MRs over memory that can be taken away
 *
 * The exporter of a dma-buf may revoke it, and who has memory mapped that can't
 * be pinned, a BAR for instance, may unmap it.  From the moment that we have been
 * told nobody may access the memory.  Neither the state of an MR nor a reference to
 * it helps there: packets are handled without a look at the one, and the other is
 * held from the first to the last packet of a message.
 *
 * Such an MR has a gate.  Who accesses the memory holds the gate for reading, for
 * the data of one packet at most and without allocation or fault in between, and
 * looks whether it has been closed.  Closing holds it for writing.  So what was
 * under way is over when closing returns, and what comes later fails: with a
 * remote or local access error, like an access outside of an MR.
 *
 * The key stays the MR's until the MR is deregistered.
 *
 * The map of the ranges is found by way of the gate alone.  That leaves mr->phyrs
 * empty, which is how all other MRs get along without knowing of gates.
 */

#include "rxe.h"
#include "rxe_loc.h"

struct rxe_gate {
	/* Taken by work queues and by who revokes, never in softirqs. */
	rwlock_t		lock;
	bool			closed;
	struct ib_phyr_map	map;
};

static void rxe_gate_close(struct rxe_gate *gate)
{
	write_lock(&gate->lock);
	gate->closed = true;
	write_unlock(&gate->lock);
}

/*
 * Called where nothing can be unmapped.  The kernel's mapping of the memory stays
 * until the MR is deregistered.
 */
static void rxe_gate_revoke_pfnmap(void *priv)
{
	rxe_gate_close(priv);
}

/* Called with the reservation lock held: nothing of it stays mapped. */
static void rxe_gate_revoke_dmabuf(void *priv)
{
	struct rxe_gate *gate = priv;

	rxe_gate_close(gate);
	ib_phyr_map_free(&gate->map);
}

/* Returns with the gate held, or false. */
static bool rxe_gate_enter(struct rxe_mr *mr, u64 iova, size_t length)
{
	if (mr_check_range(mr, iova, length))
		return false;

	read_lock(&mr->gate->lock);
	if (likely(!mr->gate->closed))
		return true;

	read_unlock(&mr->gate->lock);
	rxe_dbg_mr(mr, "memory was revoked\n");
	return false;
}

static void rxe_gate_leave(struct rxe_mr *mr)
{
	if (mr->gate->map.io) {
		/* What is written has left the CPU when the gate is closed. */
		wmb();
	}
	read_unlock(&mr->gate->lock);
}

static void rxe_gate_copy_bytes(const struct ib_phyr_map *map, void *va,
				void *addr, size_t bytes,
				enum rxe_mr_copy_dir dir)
{
	void __iomem *io = (void __iomem __force *)va;

	if (dir == RXE_FROM_MR_OBJ) {
		if (map->io)
			memcpy_fromio(addr, io, bytes);
		else
			memcpy(addr, va, bytes);
	} else {
		if (map->io)
			memcpy_toio(io, addr, bytes);
		else
			memcpy(va, addr, bytes);
	}
}

int rxe_gate_copy(struct rxe_mr *mr, u64 iova, void *addr, unsigned int length,
		  enum rxe_mr_copy_dir dir)
{
	struct ib_phyr_map *map = &mr->gate->map;
	u64 off = iova - mr->ibmr.iova;

	if (!rxe_gate_enter(mr, iova, length))
		return -EFAULT;

	while (length) {
		size_t bytes;
		void *va;

		va = ib_phyr_map_va(map, off, &bytes);
		bytes = min_t(size_t, bytes, length);
		rxe_gate_copy_bytes(map, va, addr, bytes, dir);
		addr += bytes;
		off += bytes;
		length -= bytes;
	}

	rxe_gate_leave(mr);
	return 0;
}

/*
 * The 8 bytes at @iova, with the gate held, or NULL and why not.  What the CPU
 * does to memory of a device need not be atomic there, so that is refused.
 */
static u64 *rxe_gate_enter_u64(struct rxe_mr *mr, u64 iova,
			       enum resp_states *err)
{
	size_t bytes;
	u64 *va;

	*err = RESPST_ERR_RKEY_VIOLATION;
	if (!rxe_gate_enter(mr, iova, sizeof(*va)))
		return NULL;

	va = ib_phyr_map_va(&mr->gate->map, iova - mr->ibmr.iova, &bytes);
	if (!IS_ALIGNED((unsigned long)va, sizeof(*va))) {
		*err = RESPST_ERR_MISALIGNED_ATOMIC;
		va = NULL;
	} else if (mr->gate->map.io) {
		va = NULL;
	}
	if (!va)
		rxe_gate_leave(mr);
	return va;
}

enum resp_states rxe_gate_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				    u64 compare, u64 swap_add, u64 *orig_val)
{
	enum resp_states err;
	u64 *va;

	va = rxe_gate_enter_u64(mr, iova, &err);
	if (!va)
		return err;
	rxe_atomic_op(va, opcode, compare, swap_add, orig_val);
	rxe_gate_leave(mr);
	return RESPST_NONE;
}

enum resp_states rxe_gate_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	enum resp_states err;
	u64 *va;

	va = rxe_gate_enter_u64(mr, iova, &err);
	if (!va)
		return err;
	/* Do atomic write after all prior operations have completed */
	smp_store_release(va, value);
	rxe_gate_leave(mr);
	return RESPST_NONE;
}

/**
 * rxe_gate_map - the map of an MR's ranges
 * @mr: MR with a gate
 *
 * Context: Any context.
 * Return: the map, not for accesses.
 */
const struct ib_phyr_map *rxe_gate_map(const struct rxe_mr *mr)
{
	return &mr->gate->map;
}

/* The map goes before its ranges, and the gate after who may still close it. */
void rxe_gate_release(struct rxe_gate *gate, struct ib_umem *umem)
{
	if (!umem->is_dmabuf)
		ib_phyr_map_free(&gate->map);
	ib_umem_release(umem);
	kfree(gate);
}

static struct rxe_gate *rxe_gate_alloc(void)
{
	struct rxe_gate *gate = kzalloc_obj(*gate);

	if (gate)
		rwlock_init(&gate->lock);
	return gate;
}

static void rxe_gate_attach(struct rxe_mr *mr, struct rxe_gate *gate,
			    struct ib_umem *umem, u64 iova)
{
	mr->gate = gate;
	mr->umem = umem;
	mr->ibmr.iova = iova;
	mr->ibmr.length = umem->length;
	mr->ibmr.type = IB_MR_TYPE_USER;
	mr->state = RXE_MR_STATE_VALID;
}

/**
 * rxe_gate_init_dmabuf - make an MR use a dma-buf
 * @rxe: the device
 * @offset: of the first byte in the dma-buf
 * @length: bytes
 * @iova: address of the first byte for users of the MR
 * @fd: file descriptor of the dma-buf
 * @access: IB access flags
 * @mr: MR without memory
 *
 * Context: Process context.  May sleep.
 * Return: 0, -ENOMEM, or an error of ib_umem_dmabuf_get_phyrs_and_lock().
 */
int rxe_gate_init_dmabuf(struct rxe_dev *rxe, u64 offset, u64 length, u64 iova,
			 int fd, int access, struct rxe_mr *mr)
{
	struct ib_umem_dmabuf *umem_dmabuf;
	struct rxe_gate *gate;
	int err;

	rxe_mr_init(access, mr);

	gate = rxe_gate_alloc();
	if (!gate)
		return -ENOMEM;

	umem_dmabuf = ib_umem_dmabuf_get_phyrs_and_lock(&rxe->ib_dev, offset,
							length, fd, access);
	if (IS_ERR(umem_dmabuf)) {
		err = PTR_ERR(umem_dmabuf);
		goto err_free;
	}

	err = ib_phyr_map_init(&gate->map, &umem_dmabuf->phyrs);
	if (!err)
		ib_umem_dmabuf_set_revoke_locked(umem_dmabuf,
						 rxe_gate_revoke_dmabuf, gate);
	ib_umem_dmabuf_revoke_unlock(umem_dmabuf);
	if (err)
		goto err_release;

	rxe_gate_attach(mr, gate, &umem_dmabuf->umem, iova);
	return 0;

err_release:
	ib_umem_release(&umem_dmabuf->umem);
err_free:
	kfree(gate);
	return err;
}

/**
 * rxe_gate_init_pfnmap - make an MR use memory that is mapped by PFN
 * @rxe: the device
 * @start: user virtual address of the first byte
 * @length: bytes
 * @iova: address of the first byte for users of the MR
 * @access: IB access flags
 * @mr: MR that rxe_mr_init() has seen
 *
 * Context: Process context.  May sleep.
 * Return: 0, -EINVAL if the MR is for flushing to persistent memory, -ENOMEM, or
 * an error of ib_umem_get_pfnmap(), which is -EFAULT where the memory is another.
 */
int rxe_gate_init_pfnmap(struct rxe_dev *rxe, u64 start, u64 length, u64 iova,
			 int access, struct rxe_mr *mr)
{
	struct rxe_gate *gate;
	struct ib_umem *umem;
	int err;

	gate = rxe_gate_alloc();
	if (!gate)
		return -ENOMEM;

	umem = ib_umem_get_pfnmap(&rxe->ib_dev, start, length, access,
				  rxe_gate_revoke_pfnmap, gate);
	if (IS_ERR(umem)) {
		err = PTR_ERR(umem);
		goto err_free;
	}

	if (access & IB_ACCESS_FLUSH_PERSISTENT) {
		err = -EINVAL;
		goto err_release;
	}

	err = ib_phyr_map_init(&gate->map, to_ib_umem_phyrs(umem));
	if (err)
		goto err_release;

	rxe_gate_attach(mr, gate, umem, iova);
	return 0;

err_release:
	ib_umem_release(umem);
err_free:
	kfree(gate);
	return err;
}
