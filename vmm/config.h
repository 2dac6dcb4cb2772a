/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>
#include <samara/guest_mm.h>

/*
 * APIC ids of a byte, as in the MADT's local APIC structure (ACPI 6.4, 5.2.12.2). 255 is all of
 * them; 254 is left free.
 */
#define VM_MAX_CPUS         254

/* Less than this holds no kernel, nor the tables beside it. */
#define VM_MIN_MEMORY_BYTES (UINT64_C(2) << 20)

/* NUMA nodes; Linux is built for many more. */
#define VM_MAX_NODES        8

/* DIMMs there may be: MEMORY_HOTPLUG_SLOTS_MAX. */
#define VM_MAX_DIMMS        32

enum chardev_kind {
	CHARDEV_NULL,
	CHARDEV_STDIO,
	CHARDEV_PTY,
	CHARDEV_FILE,
};

/* Where a serial port's bytes go. */
struct chardev_config {
	enum chardev_kind kind;
	char *path; /* CHARDEV_FILE */
};

/**
 * struct serial_tap - who hears what the guest sends on a serial port; @hear NULL: nobody
 *
 * Context of @hear: vCPU threads; should not sleep for long.
 */
struct serial_tap {
	void (*hear)(void *arg, const uint8_t *bytes, size_t count);
	void *arg;
};

/**
 * struct balloon_options - a balloon; without @present the others have no meaning
 * @left_bytes: asked for at first: what the guest shall keep; 0: all
 * @stats_period_s: how often the guest is asked for statistics; 0: not until somebody wants them
 */
struct balloon_options {
	bool present;
	bool deflate_on_oom, reporting, packed;
	uint64_t left_bytes;
	unsigned int stats_period_s;
};

/**
 * struct virtio_mem_options - a virtio-mem device
 * @node: NUMA node, -1: none
 * @packed: offer packed virtqueues
 */
struct virtio_mem_options {
	char *id;
	uint64_t size_bytes, block_bytes, requested_bytes;
	int node;
	bool packed;
};

/**
 * struct dimm_config - a DIMM that is there from the start
 * @id: owned; NULL: "dimmN"
 */
struct dimm_config {
	char *id;
	uint64_t size_bytes;
	uint32_t node;
};

/**
 * struct vm_config - what a VM shall be: filled from the command line or a domain XML
 *
 * Strings are owned by the config.
 * @console_tap: hears the first serial port, beside @serial
 * @second_serial: if somebody hears it there is a second port, to which vm_second_serial_receive()
 * sends; set by programs, no option names it
 */
struct vm_config {
	char *name;    /* NULL: "samara" */
	char *kernel;  /* bzImage or ELF with a PVH note */
	char *initrd;  /* NULL: none */
	char *cmdline; /* NULL: "" */
	unsigned int cpus;
	uint64_t memory_bytes;
	uint64_t max_memory_bytes; /* at least memory_bytes */
	unsigned int memory_slots; /* for DIMMs; 0: none */

	/* What is behind it; placement: on the host's NUMA nodes. */
	enum guest_mm_backing backing;
	char *memory_path;       /* GUEST_MM_FILE_*; else NULL */
	bool memory_small_pages; /* no transparent huge pages */
	bool memory_prealloc;    /* at start: all pages at once */
	struct guest_mm_placement placement;

	/*
	 * The guest's NUMA nodes, 0: it hears of none. Their node_bytes add up to the memory at
	 * start. A placement of GUEST_MM_NUMA_ANY: as all of the memory.
	 */
	unsigned int node_count;
	uint64_t node_bytes[VM_MAX_NODES];
	struct guest_mm_placement node_placements[VM_MAX_NODES];
	uint8_t cpu_nodes[VM_MAX_CPUS]; /* of each vCPU */

	struct dimm_config dimms[VM_MAX_DIMMS];
	unsigned int dimm_count;

	struct chardev_config serial;
	struct serial_tap console_tap, second_serial;
	struct balloon_options balloon;
	struct virtio_mem_options *virtio_mems;
	unsigned int virtio_mem_count;
	char *qmp_path; /* NULL: no control socket */
	char *metrics;  /* NULL: no endpoint; else as metrics_parse() takes it */
	bool no_reboot; /* a guest reset ends samara */
	bool start_paused;
};

/**
 * vm_config_init() - the defaults: 1 vCPU, 512 MiB, anonymous memory, serial on stdio
 */
void vm_config_init(struct vm_config *config);

/* Free the strings, not @config itself. */
void vm_config_free(struct vm_config *config);

/**
 * vm_config_check() - whether the parts fit together
 *
 * Return: 0, -EINVAL with the option by name.
 */
int vm_config_check(const struct vm_config *config, struct samara_error *err);

/**
 * parse_size() - a size as people write it: 512M, 4G, 0x1000, 65536, 4KiB; binary multiples
 * @what: what it is, for the message
 *
 * Return: 0, -EINVAL (no number, unknown suffix), -ERANGE (over 64 bits).
 */
int parse_size(const char *text, const char *what, uint64_t *bytes, struct samara_error *err);

/**
 * parse_memory(), parse_serial(), parse_qmp() - the values of options of samara run
 * @text: "512M,max=4G,slots=8,backing=memfd,host-nodes=0-1,policy=bind"; "stdio", "pty", "file:PATH" or "null"; "unix:PATH"
 *
 * What was there before is freed, and stays when @text is refused.
 *
 * Return: 0, -EINVAL, -ERANGE, -ENOMEM; with the option by name.
 */
int parse_memory(const char *text, struct vm_config *config, struct samara_error *err);
int parse_serial(const char *text, struct chardev_config *serial, struct samara_error *err);
int parse_qmp(const char *text, char **path, struct samara_error *err);

/**
 * parse_balloon(), parse_virtio_mem() - have a balloon, add a virtio-mem device
 * @text: "deflate-on-oom=off,free-page-reporting=off,packed=off", each of which may be missing, or
 *        NULL; "id=mem0,size=8G,block=2M,requested=1G,node=0,packed=on", of which id and size may
 *        not
 *
 * Return: as above; also -EEXIST (the id is taken), -E2BIG (too many devices).
 */
int parse_balloon(const char *text, struct vm_config *config, struct samara_error *err);
int parse_virtio_mem(const char *text, struct vm_config *config, struct samara_error *err);

/**
 * add_virtio_mem() - add one that is described already
 * @mem: on success its id is the config's
 *
 * Return: as parse_virtio_mem().
 */
int add_virtio_mem(struct vm_config *config, const struct virtio_mem_options *mem,
		   struct samara_error *err);

/**
 * parse_host_nodes(), parse_policy() - where on the host memory shall come from
 * @text: "0-1:3"; "default", "preferred", "bind" or "interleave", as QEMU names them
 * @what: what it is, for the message
 *
 * Return: 0, -EINVAL.
 */
int parse_host_nodes(const char *text, const char *what, uint64_t *nodes, struct samara_error *err);
int parse_policy(const char *text, const char *what, enum guest_mm_numa *policy,
		 struct samara_error *err);

/**
 * check_placement() - whether a policy has its nodes, and nodes have their policy
 *
 * What nodes the host has is not looked at. Return: 0, -EINVAL.
 */
int check_placement(const struct guest_mm_placement *placement, const char *what,
		    struct samara_error *err);

/**
 * parse_numa(), parse_dimm() - add a NUMA node, a DIMM
 * @text: "memory=2G,cpus=0-1,host-nodes=1,policy=bind"; "1G,node=1,id=NAME"
 *
 * Return: as above; -E2BIG (too many).
 */
int parse_numa(const char *text, struct vm_config *config, struct samara_error *err);
int parse_dimm(const char *text, struct vm_config *config, struct samara_error *err);

#endif
