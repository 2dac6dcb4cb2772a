/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_UFFD_ABI_H
#define MM_UFFD_ABI_H

#include <linux/userfaultfd.h>

/*
 * What newer kernels' include/uapi/linux/userfaultfd.h has and Debian 12's headers lack.
 */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE                (1 << 16)
#define _UFFDIO_MOVE                     (0x05)
#define UFFDIO_MOVE                      _IOWR(UFFDIO, _UFFDIO_MOVE, struct uffdio_move)
#define UFFDIO_MOVE_MODE_DONTWAKE        ((__u64)1 << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)

struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move; /* out: bytes moved, or -errno */
};
#endif

/* drivers: /dev/userfaultfd, Linux 6.1 */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC     0xAA
#define USERFAULTFD_IOC_NEW _IO(USERFAULTFD_IOC, 0x00)
#endif

#endif
