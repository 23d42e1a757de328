/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef VFIO_MEMORY_H
#define VFIO_MEMORY_H

#include "memory.h"

#define VFIO_MEMORY_USAGE "<address>[:<bar>]"

/* Whether rdma-core can register dma-bufs */
bool vfio_memory_supported(void);

/*
 * Whether where is an address as lspci -D prints it and the number of a BAR, as in
 * 0000:00:04.0:2, or the address alone, for BAR 0. There need be no such device.
 */
bool vfio_memory_valid(const char *where);

/*
 * The BAR of a PCI device that vfio-pci is bound to. Buffers are taken from it one
 * after the other, from offset on. Each comes as a dma-buf to register and mapped
 * for the CPU. Messages go to stderr.
 */
struct memory_ctx *vfio_memory_create(const char *where, uint64_t offset);

#endif /* VFIO_MEMORY_H */
