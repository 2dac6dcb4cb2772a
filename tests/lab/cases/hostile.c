/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostile HOW ...: for a guest. Does to its machine what no kernel would, from user space: memory and
 * registers by way of /dev/mem, the devices' drivers not loaded. Says how often it did what, so that
 * the host's counters can be held against it.
 *
 *   touch GPA MIB PASSES   writes to and reads every page, whatever is there
 *   balloon                inflates with numbers of pages that are nowhere
 *   mem                    asks virtio-mem for blocks that are none of its business
 *   fill GPA MIB           writes to every page
 *   scatter GPA MIB        gives every other page to the balloon
 *   check GPA MIB          that these are empty now, and those in between as they were
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#define PAGE_BYTES 4096u
#define SLOT_GPA   0xd0000000u /* vmm/virtio_slots.h */
#define SLOTS      8u
#define QUEUE_SIZE 8u
#define NUMBERS    (PAGE_BYTES / sizeof(uint32_t))

static void die(const char *what)
{
	fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void *map(uint64_t gpa, uint64_t bytes)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)gpa);

	if (fd < 0 || at == MAP_FAILED)
		die("/dev/mem");
	close(fd);
	return at;
}

/* A page that the device can be told of, and where it is. */
struct page {
	void *at;
	uint64_t gpa;
};

static struct page take_page(void)
{
	struct page page = {.at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1,
				       0)};
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (page.at == MAP_FAILED || fd < 0 ||
	    pread(fd, &entry, sizeof(entry),
		  (off_t)((uintptr_t)page.at / PAGE_BYTES * sizeof(entry))) != sizeof(entry))
		die("a page");
	close(fd);
	/* Linux Documentation/admin-guide/mm/pagemap.rst: bits 0 to 54 are the number. */
	page.gpa = (entry & ((UINT64_C(1) << 55) - 1)) * PAGE_BYTES;
	if (!page.gpa)
		die("no page number");
	return page;
}

/* ---- A device and its queue 0, by hand (virtio 1.2, 3.1, 4.2) ------------------------------------ */

struct device {
	volatile uint32_t *registers;
	struct page descriptors, available, used;
	uint16_t next;
};

static void set(const struct device *device, unsigned int offset, uint32_t value)
{
	device->registers[offset / 4] = value;
}

static uint32_t get(const struct device *device, unsigned int offset)
{
	return device->registers[offset / 4];
}

static void set_place(const struct device *device, unsigned int offset, uint64_t gpa)
{
	set(device, offset, (uint32_t)gpa);
	set(device, offset + 4, (uint32_t)(gpa >> 32));
}

static void find(struct device *device, uint32_t id)
{
	for (unsigned int i = 0; i < SLOTS; i++) {
		device->registers = map(SLOT_GPA + i * PAGE_BYTES, PAGE_BYTES);
		if (get(device, VIRTIO_MMIO_DEVICE_ID) == id)
			return;
	}
	die("no such device");
}

static void start(struct device *device, uint32_t id)
{
	find(device, id);
	device->descriptors = take_page();
	device->available = take_page();
	device->used = take_page();
	set(device, VIRTIO_MMIO_STATUS, 0);
	set(device, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	/* VIRTIO_F_VERSION_1 alone. */
	set(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set(device, VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
	set(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	set(device, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	set(device, VIRTIO_MMIO_STATUS,
	    get(device, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_FEATURES_OK);
	set(device, VIRTIO_MMIO_QUEUE_SEL, 0);
	set(device, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
	set_place(device, VIRTIO_MMIO_QUEUE_DESC_LOW, device->descriptors.gpa);
	set_place(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, device->available.gpa);
	set_place(device, VIRTIO_MMIO_QUEUE_USED_LOW, device->used.gpa);
	set(device, VIRTIO_MMIO_QUEUE_READY, 1);
	set(device, VIRTIO_MMIO_STATUS,
	    get(device, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Its pages are about to be others'. */
static void end(const struct device *device)
{
	set(device, VIRTIO_MMIO_STATUS, 0);
}

/* Have the device take a buffer, with an answer or without. No interrupt is ever looked at. */
static void ask(struct device *device, const struct page *question, uint32_t bytes,
		const struct page *answer, uint32_t answer_bytes)
{
	struct vring_desc *descriptors = device->descriptors.at;
	struct vring_avail *available = device->available.at;
	volatile struct vring_used *used = device->used.at;

	descriptors[0] = (struct vring_desc){
		.addr = question->gpa,
		.len = bytes,
		.flags = answer ? VRING_DESC_F_NEXT : 0,
		.next = 1,
	};
	if (answer)
		descriptors[1] = (struct vring_desc){
			.addr = answer->gpa, .len = answer_bytes, .flags = VRING_DESC_F_WRITE};
	available->ring[device->next % QUEUE_SIZE] = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	available->idx = ++device->next;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	set(device, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	while (used->idx != device->next) {
		if (get(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
			die("the device needs a reset");
		usleep(1000);
	}
}

/* ---- What it does --------------------------------------------------------------------------------- */

static uint64_t pattern(uint64_t page)
{
	return (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void touch(uint64_t gpa, uint64_t mib, uint64_t passes)
{
	volatile uint64_t *memory = map(gpa, mib << 20);
	uint64_t pages = (mib << 20) / PAGE_BYTES, alien = 0;

	for (uint64_t pass = 0; pass < passes; pass++)
		for (uint64_t page = 0; page < pages; page++) {
			volatile uint64_t *word = memory + page * (PAGE_BYTES / sizeof(*word));
			uint64_t seen = *word;

			/* What was written here, or nothing: not what was written elsewhere. */
			alien += seen && seen != pattern(page);
			*word = pattern(page);
		}
	printf("guest: touched %" PRIu64 " pages, %" PRIu64 " with what is others'\n",
	       pages * passes, alien);
}

static void balloon(void)
{
	/* Between RAM and 4 GiB; where nothing is plugged; past every window; the last ones. */
	static const uint32_t firsts[] = {0xc0000, 0x170000, 0x40000000, UINT32_MAX - NUMBERS + 1};
	struct page list = take_page();
	struct device device = {0};
	uint64_t named = 0;

	start(&device, VIRTIO_ID_BALLOON);
	for (unsigned int round = 0; round < 4; round++)
		for (unsigned int i = 0; i < sizeof(firsts) / sizeof(*firsts); i++) {
			for (uint32_t n = 0; n < NUMBERS; n++)
				((uint32_t *)list.at)[n] = firsts[i] + n;
			ask(&device, &list, PAGE_BYTES, NULL, 0);
			named += NUMBERS;
		}
	end(&device);
	printf("guest: named %" PRIu64 " wild pages\n", named);
}

static uint16_t request(struct device *device, const struct page *pages, uint16_t type,
			uint64_t gpa, uint16_t count)
{
	struct virtio_mem_req *question = pages[0].at;
	volatile struct virtio_mem_resp *answer = pages[1].at;

	*question = (struct virtio_mem_req){.type = type};
	question->u.plug.addr = gpa;
	question->u.plug.nb_blocks = count;
	answer->type = UINT16_MAX;
	ask(device, &pages[0], sizeof(*question), &pages[1], sizeof(*answer));
	return answer->type;
}

static void mem(void)
{
	const struct page pages[2] = {take_page(), take_page()};
	uint64_t first, bytes, usable, refused = 0, other = 0;
	const volatile struct virtio_mem_config *config;
	struct device device = {0};

	start(&device, VIRTIO_ID_MEM);
	config = (const volatile void *)((const volatile char *)device.registers +
					 VIRTIO_MMIO_CONFIG);
	first = config->addr;
	bytes = config->region_size;
	usable = config->usable_region_size;

	const struct {
		uint64_t gpa;
		uint16_t count;
	} places[] = {
		{first - config->block_size, 1},
		{first + bytes, 1},
		{first + usable, 1},
		{first + 4096, 1},
		{first, 0},
		{first, UINT16_MAX},
		{0, 1},
		{UINT64_MAX, 1},
		{UINT64_MAX & -config->block_size, 2},
	};
	for (unsigned int round = 0; round < 20; round++)
		for (uint16_t type = 0; type < 5; type++)
			for (unsigned int i = 0; i < sizeof(places) / sizeof(*places); i++) {
				/* Unplug-all has no blocks, and is right with any. */
				if (type == VIRTIO_MEM_REQ_UNPLUG_ALL)
					continue;
				if (request(&device, pages, type, places[i].gpa, places[i].count) ==
				    VIRTIO_MEM_RESP_ERROR)
					refused++;
				else
					other++;
			}
	printf("guest: asked for %" PRIu64 " wrong blocks, %" PRIu64 " not refused\n",
	       refused + other, other);
	printf("guest: a right question: %s\n",
	       request(&device, pages, VIRTIO_MEM_REQ_STATE, first, 1) == VIRTIO_MEM_RESP_ACK
		       ? "answered"
		       : "refused");
	end(&device);
}

static void fill(uint64_t gpa, uint64_t mib)
{
	volatile uint64_t *memory = map(gpa, mib << 20);
	uint64_t pages = (mib << 20) / PAGE_BYTES;

	for (uint64_t page = 0; page < pages; page++)
		memory[page * (PAGE_BYTES / sizeof(*memory))] = pattern(page);
	printf("guest: filled %" PRIu64 " pages\n", pages);
}

static void scatter(uint64_t gpa, uint64_t mib)
{
	uint64_t pages = (mib << 20) / PAGE_BYTES;
	struct page list = take_page();
	struct device device = {0};
	uint32_t count = 0;

	start(&device, VIRTIO_ID_BALLOON);
	for (uint64_t page = 0; page < pages; page += 2) {
		((uint32_t *)list.at)[count++] = (uint32_t)(gpa / PAGE_BYTES + page);
		if (count == NUMBERS || page + 2 >= pages) {
			ask(&device, &list, count * sizeof(uint32_t), NULL, 0);
			count = 0;
		}
	}
	end(&device);
	printf("guest: gave %" PRIu64 " single pages\n", pages / 2);
}

static void check(uint64_t gpa, uint64_t mib)
{
	volatile uint64_t *memory = map(gpa, mib << 20);
	uint64_t pages = (mib << 20) / PAGE_BYTES, wrong = 0;

	for (uint64_t page = 0; page < pages; page++)
		wrong += memory[page * (PAGE_BYTES / sizeof(*memory))] !=
			 (page % 2 ? pattern(page) : 0);
	printf("guest: checked %" PRIu64 " pages, %" PRIu64 " wrong\n", pages, wrong);
}

int main(int argc, char **argv)
{
	uint64_t numbers[3] = {0};

	for (int i = 2; i < argc && i < 5; i++)
		numbers[i - 2] = strtoull(argv[i], NULL, 0);
	if (argc == 5 && !strcmp(argv[1], "touch")) {
		touch(numbers[0], numbers[1], numbers[2]);
	} else if (argc == 2 && !strcmp(argv[1], "balloon")) {
		balloon();
	} else if (argc == 2 && !strcmp(argv[1], "mem")) {
		mem();
	} else if (argc == 4 && !strcmp(argv[1], "scatter")) {
		scatter(numbers[0], numbers[1]);
	} else if (argc == 4 && !strcmp(argv[1], "fill")) {
		fill(numbers[0], numbers[1]);
	} else if (argc == 4 && !strcmp(argv[1], "check")) {
		check(numbers[0], numbers[1]);
	} else {
		fprintf(stderr, "usage: hostile touch GPA MIB PASSES | balloon | mem |\n"
				"       fill GPA MIB | scatter GPA MIB | check GPA MIB\n");
		return 2;
	}
	return 0;
}
