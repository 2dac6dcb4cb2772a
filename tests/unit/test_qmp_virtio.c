/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-mem and the balloon over the control socket, with drivers that do as they are asked. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_mmio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/memory_vm.h"
#include "tests/lib/virtio_driver.h"
#include "vmm/balloon.h"
#include "vmm/qmp_throttle.h"
#include "vmm/virtio_memory.h"

#define MAX_BYTES      (1024 * MIB) /* of the virtio-mem */
#define BLOCK_BYTES    (2 * MIB)
#define BIT(n)         (UINT64_C(1) << (n))
#define RING(n)        (MIB + 0x10000 * (gpa_t)(n))
#define MESSAGE        (2 * MIB) /* what drivers say, and hear */
#define LENT           (4 * MIB) /* pages of the balloon come from here on */
#define BALLOON_QUEUES 5

/* ---- The VM: one device of each kind --------------------------------------------------------- */

static struct virtio {
	struct guest guest;
	struct virtio_mem_options mem_options;
	struct balloon_options balloon_options;
	struct virtio_memory *memory;
	struct balloon *balloon;
	struct virtio_mmio mem_mmio, balloon_mmio;
	struct driver_queue requests, pages[BALLOON_QUEUES];
	int mem_irq, balloon_irq;
	gpa_t gpa;
	pthread_t thread;
	atomic_bool stop;
} virtio;

static void no_report(void *arg, const char *line)
{
	(void)arg;
	print_message("# %s\n", line);
}

static int create_mem(const struct virtio_mem_options *options, struct virtio_memory **out,
		      struct samara_error *err)
{
	const struct virtio_memory_config config = {
		.devices = straw.devices,
		.options = options,
		.gpa = virtio.gpa,
		.irq = {virtio.mem_irq},
		.report = no_report,
	};

	return virtio_memory_create(&config, out, err);
}

static int create_balloon(struct balloon **out, struct samara_error *err)
{
	const struct balloon_config config = {
		.devices = straw.devices,
		.options = &virtio.balloon_options,
		.memory_bytes = straw.config.memory_bytes,
		.irq = {virtio.balloon_irq},
		.report = no_report,
	};

	return balloon_create(&config, out, err);
}

static int start_virtio(void **state)
{
	struct samara_error err = {0};
	int ret = memory_vm_setup(state);

	memset(&virtio, 0, sizeof(virtio));
	virtio.mem_irq = eventfd(0, EFD_NONBLOCK);
	virtio.balloon_irq = eventfd(0, EFD_NONBLOCK);
	virtio.mem_options = (struct virtio_mem_options){
		.id = "vm0",
		.size_bytes = MAX_BYTES,
		.block_bytes = BLOCK_BYTES,
		.node = 1,
	};
	virtio.balloon_options.present = true;
	if (!ret)
		ret = layout_add_device(&straw.layout, MAX_BYTES, BLOCK_BYTES, 40, &virtio.gpa,
					&err);
	if (!ret)
		ret = guest_mm_add_window(straw.mm, straw.layout.device_gpa,
					  straw.layout.device_bytes, GUEST_MM_ANON, &err);
	if (!ret)
		ret = create_mem(&virtio.mem_options, &virtio.memory, &err);
	if (!ret)
		ret = create_balloon(&virtio.balloon, &err);
	if (ret) {
		print_error("%s\n", err.text);
		return ret;
	}
	straw.balloon = balloon_control(virtio.balloon);
	virtio.guest.mm = straw.mm;
	virtio_mmio_init(&virtio.mem_mmio, virtio_mem_device(virtio_memory_device(virtio.memory)));
	virtio_mmio_init(&virtio.balloon_mmio,
			 virtio_balloon_device(balloon_device(virtio.balloon)));
	return guest_mm_get_window(straw.mm, 0, &virtio.guest.window);
}

static int stop_virtio(void **state)
{
	virtio_device_pause(virtio_mem_device(virtio_memory_device(virtio.memory)));
	virtio_device_pause(virtio_balloon_device(balloon_device(virtio.balloon)));
	socket_close();
	balloon_destroy(virtio.balloon);
	virtio_memory_destroy(virtio.memory);
	close(virtio.mem_irq);
	close(virtio.balloon_irq);
	return memory_vm_teardown(state);
}

/* ---- Its drivers ----------------------------------------------------------------------------- */

/* Let the device have something, and wait until it has done with it. */
static void hand_over(struct virtio_mmio *mmio, int irq_fd, struct driver_queue *queue,
		      unsigned int index, const struct driver_buffer *buffers, unsigned int count)
{
	struct pollfd irq = {.fd = irq_fd, .events = POLLIN};
	uint32_t id, length;
	eventfd_t edges;

	driver_add(queue, buffers, count, 0);
	driver_write(mmio, VIRTIO_MMIO_QUEUE_NOTIFY, index);
	while (!driver_take(queue, &id, &length)) {
		assert_true(poll(&irq, 1, 60000) > 0);
		eventfd_read(irq_fd, &edges);
		driver_write(mmio, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	}
}

static uint16_t ask_mem(uint16_t type, uint64_t offset_bytes, uint64_t bytes)
{
	const struct driver_buffer buffers[] = {
		{MESSAGE, sizeof(struct virtio_mem_req), false},
		{MESSAGE + 0x1000, sizeof(struct virtio_mem_resp), true},
	};
	struct virtio_mem_req *request = guest_at(&virtio.guest, MESSAGE);
	const struct virtio_mem_resp *response = guest_at(&virtio.guest, MESSAGE + 0x1000);

	memset(request, 0, sizeof(*request));
	request->type = type;
	request->u.plug.addr = virtio.gpa + offset_bytes;
	request->u.plug.nb_blocks = (uint16_t)(bytes / BLOCK_BYTES);
	hand_over(&virtio.mem_mmio, virtio.mem_irq, &virtio.requests, 0, buffers, 2);
	return response->type;
}

static void move_pages(unsigned int index, uint32_t first, uint32_t count)
{
	uint32_t *list = guest_at(&virtio.guest, MESSAGE + 0x4000);
	const struct driver_buffer buffer = {MESSAGE + 0x4000, count * 4, false};

	for (uint32_t i = 0; i < count; i++)
		list[i] = (uint32_t)(LENT >> SAMARA_PAGE_SHIFT) + first + i;
	hand_over(&virtio.balloon_mmio, virtio.balloon_irq, &virtio.pages[index], index, &buffer,
		  1);
}

static void say_actual(uint32_t pages)
{
	driver_write(&virtio.balloon_mmio,
		     VIRTIO_MMIO_CONFIG + offsetof(struct virtio_balloon_config, actual), pages);
}

static void load_drivers(void)
{
	assert_true(driver_negotiate(&virtio.mem_mmio,
				     BIT(VIRTIO_F_VERSION_1) |
					     BIT(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE) |
					     BIT(VIRTIO_MEM_F_ACPI_PXM)));
	driver_queue_init(&virtio.requests, &virtio.guest, RING(8), 8, false, false);
	driver_setup_queue(&virtio.mem_mmio, 0, &virtio.requests);
	driver_ok(&virtio.mem_mmio);
	assert_true(driver_negotiate(&virtio.balloon_mmio,
				     BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_BALLOON_F_STATS_VQ)));
	for (unsigned int i = 0; i < 3; i++) {
		driver_queue_init(&virtio.pages[i], &virtio.guest, RING(i), 64, false, false);
		driver_setup_queue(&virtio.balloon_mmio, i, &virtio.pages[i]);
	}
	driver_ok(&virtio.balloon_mmio);
}

static uint64_t mem_field(size_t offset)
{
	return driver_config(&virtio.mem_mmio, offset, 8);
}

static uint32_t wanted_pages(void)
{
	return (uint32_t)driver_config(&virtio.balloon_mmio,
				       offsetof(struct virtio_balloon_config, num_pages), 4);
}

/* A kernel's part: 64 MiB, or 256 pages, at a time. */
static void *run_drivers(void *arg)
{
	uint64_t plugged = 0, wanted;
	uint32_t lent = 0, pages;

	(void)arg;
	while (!virtio.stop) {
		wanted = mem_field(offsetof(struct virtio_mem_config, requested_size));
		if (plugged < wanted &&
		    ask_mem(VIRTIO_MEM_REQ_PLUG, plugged, 64 * MIB) == VIRTIO_MEM_RESP_ACK)
			plugged += 64 * MIB;
		else if (plugged > wanted && ask_mem(VIRTIO_MEM_REQ_UNPLUG, plugged - 64 * MIB,
						     64 * MIB) == VIRTIO_MEM_RESP_ACK)
			plugged -= 64 * MIB;
		pages = wanted_pages();
		if (lent < pages) {
			move_pages(0, lent, 256);
			say_actual(lent += 256);
		} else if (lent > pages) {
			lent -= 256;
			move_pages(1, lent, 256);
			say_actual(lent);
		}
		usleep(1000);
	}
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * UINT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- What is asked and heard ------------------------------------------------------------------- */

static json_t *get_property(int fd, const char *object, const char *name)
{
	char text[256];
	json_t *reply, *value;

	snprintf(text, sizeof(text),
		 "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/%s\","
		 "\"property\":\"%s\"}}",
		 object, name);
	reply = peer_ask(fd, text);
	value = json_incref(json_object_get(reply, "return"));
	if (!value)
		fail_msg("%s.%s: %s", object, name, peer_text_at(reply, "error", "desc"));
	json_decref(reply);
	return value;
}

static uint64_t number_of(int fd, const char *object, const char *name)
{
	json_t *value = get_property(fd, object, name);
	uint64_t number = (uint64_t)json_integer_value(value);

	assert_true(json_is_integer(value));
	json_decref(value);
	return number;
}

static const char *set_text(const char *object, const char *name, const char *value)
{
	static char text[256];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/%s\","
		 "\"property\":\"%s\",\"value\":%s}}",
		 object, name, value);
	return text;
}

static uint64_t number_in(const json_t *object, const char *key)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void expect_size_change(int fd, uint64_t bytes)
{
	json_t *data = peer_expect_event(fd, "MEMORY_DEVICE_SIZE_CHANGE");

	assert_string_equal(peer_text_at(data, "id", NULL), "vm0");
	assert_string_equal(peer_text_at(data, "qom-path", NULL), "/machine/peripheral/vm0");
	assert_true(number_in(data, "size") == bytes);
	json_decref(data);
}

static void expect_balloon_change(int fd, uint64_t left_bytes)
{
	json_t *data = peer_expect_event(fd, "BALLOON_CHANGE");

	assert_true(number_in(data, "actual") == left_bytes);
	json_decref(data);
}

static uint64_t balloon_left(int fd)
{
	json_t *result = peer_query(fd, "query-balloon");
	uint64_t bytes = number_in(result, "actual");

	json_decref(result);
	return bytes;
}

/* ---- virtio-mem -------------------------------------------------------------------------------- */

static void a_virtio_mem_is_listed(void **state)
{
	int fd = peer_greet();
	json_t *list, *data;

	(void)state;
	list = peer_query(fd, "query-memory-devices");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(peer_text_at(json_array_get(list, 0), "type", NULL), "virtio-mem");
	data = json_object_get(json_array_get(list, 0), "data");
	assert_string_equal(peer_text_at(data, "id", NULL), "vm0");
	assert_string_equal(peer_text_at(data, "memdev", NULL), "/objects/memvm0");
	assert_true(number_in(data, "memaddr") == virtio.gpa);
	assert_true(number_in(data, "max-size") == MAX_BYTES);
	assert_true(number_in(data, "block-size") == BLOCK_BYTES);
	assert_int_equal(number_in(data, "size"), 0);
	assert_int_equal(number_in(data, "requested-size"), 0);
	assert_int_equal(number_in(data, "node"), 1);
	json_decref(list);
	/* It takes nothing of what DIMMs may have. */
	add_backend(fd, "all", 1024);
	add_dimm(fd, "dimm0", "all");
	assert_int_equal(plugged_bytes(fd), 1024 * MIB);
	close(fd);
}

static void its_size_changes(void **state)
{
	int fd = peer_greet();
	uint64_t word = 1;
	json_t *counters;

	(void)state;
	load_drivers();
	peer_expect_ok(fd, set_text("vm0", "requested-size", "\"64M\""));
	assert_true(number_of(fd, "vm0", "requested-size") == 64 * MIB);
	assert_int_equal(number_of(fd, "vm0", "size"), 0);
	assert_true(mem_field(offsetof(struct virtio_mem_config, requested_size)) == 64 * MIB);
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_PLUG, 0, 32 * MIB), VIRTIO_MEM_RESP_ACK);
	expect_size_change(fd, 32 * MIB);
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_PLUG, 32 * MIB, 32 * MIB), VIRTIO_MEM_RESP_ACK);
	expect_size_change(fd, 64 * MIB);
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_PLUG, 64 * MIB, 32 * MIB), VIRTIO_MEM_RESP_NACK);
	assert_true(number_of(fd, "vm0", "size") == 64 * MIB);
	assert_int_equal(plugged_bytes(fd), 64 * MIB);
	assert_int_equal(guest_mm_write(straw.mm, virtio.gpa + 64 * MIB - 8, &word, 8), 0);

	peer_expect_ok(fd, set_text("vm0", "requested-size", "0"));
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_UNPLUG, 0, 64 * MIB), VIRTIO_MEM_RESP_ACK);
	expect_size_change(fd, 0);
	assert_int_equal(plugged_bytes(fd), 0);
	assert_int_equal(guest_mm_write(straw.mm, virtio.gpa, &word, 8), -EFAULT);
	counters = get_property(fd, "vm0", "x-samara-counters");
	assert_int_equal(number_in(counters, "plugs"), 2);
	assert_int_equal(number_in(counters, "unplugs"), 1);
	assert_int_equal(number_in(counters, "denied"), 1);
	assert_int_equal(number_in(counters, "refused"), 0);
	assert_true(number_in(counters, "work-ns") > 0);
	json_decref(counters);
	peer_expect_silence(fd);
	close(fd);
}

/* What was plugged is gone with a reset, and said to be. */
static void a_reset_unplugs(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	peer_expect_ok(fd, set_text("vm0", "requested-size", "\"8M\""));
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_PLUG, 0, 8 * MIB), VIRTIO_MEM_RESP_ACK);
	expect_size_change(fd, 8 * MIB);
	peer_expect_ok(fd, "{\"execute\":\"system_reset\"}");
	virtio_mem_reset(virtio_memory_device(virtio.memory));
	expect_size_change(fd, 0);
	assert_int_equal(plugged_bytes(fd), 0);
	assert_true(number_of(fd, "vm0", "requested-size") == 8 * MIB);
	close(fd);
}

#define DEL(what, id) "{\"execute\":\"" what "\",\"arguments\":{\"id\":\"" id "\"}}"

static void what_can_not_be_is_refused(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_error(fd, set_text("vm0", "requested-size", "3145728"), "GenericError",
			  "no multiple of the block size");
	peer_expect_error(fd, set_text("vm0", "requested-size", "\"1026M\""), "GenericError",
			  "more than the size");
	peer_expect_error(fd, set_text("vm0", "requested-size", "-2097152"), "GenericError",
			  "not negative");
	peer_expect_error(fd, set_text("vm0", "size", "2097152"), "GenericError", "not writable");
	peer_expect_error(fd, DEL("device_del", "vm0"), "GenericError", "requested-size of 0");
	peer_expect_error(fd, DEL("object-del", "memvm0"), "GenericError", "in use");
	peer_expect_error(
		fd,
		"{\"execute\":\"device_add\",\"arguments\":{\"driver\":"
		"\"virtio-mem-pci\",\"id\":\"vm1\",\"memdev\":\"m\",\"requested-size\":0}}",
		"GenericError", "m of straw, block 2097152");
	assert_int_equal(number_of(fd, "vm0", "requested-size"), 0);
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

/* A device that can not be made leaves nothing behind. */
static int plug_mem(const char *memdev, uint64_t requested_bytes, struct virtio_memory **out,
		    struct samara_error *err)
{
	char id[] = "hot";
	const struct virtio_mem_options options = {
		.id = id,
		.block_bytes = BLOCK_BYTES,
		.requested_bytes = requested_bytes,
		.node = 0,
	};
	const struct virtio_memory_config config = {
		.devices = straw.devices,
		.options = &options,
		.memdev = memdev,
		.gpa = MEMORY_DEVICES_ANYWHERE,
		.hotplugged = true,
		.irq = {virtio.mem_irq},
		.report = no_report,
	};

	return virtio_memory_create(&config, out, err);
}

/* One that is plugged later: in the place that DIMMs have, of a backend that is there. */
static void one_comes_and_goes(void **state)
{
	const uint64_t page = 0;
	struct virtio_memory *memory;
	struct virtio_mmio mmio;
	struct samara_error err;
	int fd = peer_greet();

	(void)state;
	add_backend(fd, "m0", 256);
	assert_int_equal(plug_mem("m0", 4 * MIB, &memory, &err), 0);
	assert_int_equal(device_count(fd), 2);
	assert_int_equal(number_of(fd, "hot", "max-size"), 256 * MIB);
	assert_int_equal(number_of(fd, "hot", "memaddr"), straw.layout.hotplug_gpa);
	assert_true(virtio_memory_is(memory, "hot"));
	assert_true(virtio_memory_is(memory, "/machine/peripheral/hot"));
	assert_false(virtio_memory_is(memory, "vm0"));
	/* Nothing is memory until the guest asks. */
	assert_int_equal(guest_mm_write(straw.mm, straw.layout.hotplug_gpa, &page, sizeof(page)),
			 -EFAULT);

	assert_int_equal(virtio_memory_begin_unplug(memory, &err), -EBUSY);
	assert_non_null(strstr(err.text, "still plugged"));
	peer_expect_ok(fd, set_text("hot", "requested-size", "0"));
	virtio_mmio_init(&mmio, virtio_mem_device(virtio_memory_device(memory)));
	driver_write(&mmio, VIRTIO_MMIO_STATUS,
		     VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	assert_int_equal(virtio_memory_begin_unplug(memory, &err), -EBUSY);
	assert_non_null(strstr(err.text, "driver uses it"));
	/* So it is still to be had. */
	peer_expect_ok(fd, set_text("hot", "requested-size", "\"4M\""));
	peer_expect_ok(fd, set_text("hot", "requested-size", "0"));
	/* As Linux leaves it when its driver is unbound. */
	driver_write(&mmio, VIRTIO_MMIO_STATUS, 0);
	driver_write(&mmio, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(virtio_memory_begin_unplug(memory, &err), 0);
	/* Nobody gets memory of it any more that would be left without an owner. */
	peer_expect_error(fd, set_text("hot", "requested-size", "\"4M\""), "GenericError",
			  "hot: the device is being unplugged");

	virtio_memory_delete(memory);
	expect_deleted(fd, "hot");
	assert_int_equal(device_count(fd), 1);
	peer_expect_ok(fd, DEL("object-del", "m0"));
	close(fd);
}

static void what_can_not_come_is_named(void **state)
{
	struct virtio_memory *memory;
	struct samara_error err;
	int fd = peer_greet();

	(void)state;
	assert_int_equal(plug_mem("m9", 0, &memory, &err), -ENODEV);
	add_backend(fd, "odd", 3);
	assert_int_equal(plug_mem("odd", 0, &memory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "block size"));
	add_backend(fd, "large", 2048);
	assert_int_equal(plug_mem("large", 0, &memory, &err), -ENOSPC);
	peer_expect_ok(fd, "{\"execute\":\"object-add\",\"arguments\":{\"qom-type\":"
			   "\"memory-backend-memfd\",\"id\":\"own\",\"size\":4194304}}");
	assert_int_equal(plug_mem("own", 0, &memory, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "virtio-mem hot: memdev own"));
	/* They are as they were. */
	assert_int_equal(device_count(fd), 1);
	peer_expect_ok(fd, DEL("object-del", "own"));
	peer_expect_ok(fd, DEL("object-del", "odd"));
	close(fd);
}

static void a_failed_start_leaves_nothing(void **state)
{
	struct virtio_mem_options options = virtio.mem_options;
	struct virtio_memory *memory;
	struct samara_error err = {0};
	struct balloon *balloon;
	int fd = peer_greet();

	(void)state;
	options.id = "0bad";
	assert_int_equal(create_mem(&options, &memory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "identifier"));
	options.id = "vm0";
	assert_int_equal(create_mem(&options, &memory, &err), -EEXIST);
	options.id = "vm1"; /* in the same place */
	assert_int_equal(create_mem(&options, &memory, &err), -EEXIST);
	assert_non_null(strstr(err.text, "vm1: address range"));
	options.node = 2;
	assert_int_equal(create_mem(&options, &memory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "NUMA nodes: 2"));
	assert_int_equal(create_balloon(&balloon, &err), -EEXIST);
	assert_int_equal(device_count(fd), 1);
	add_backend(fd, "memvm1", 4);
	close(fd);
}

/* ---- The balloon --------------------------------------------------------------------------------- */

static void the_balloon_takes_and_gives(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	assert_true(balloon_left(fd) == 64 * MIB);
	peer_expect_ok(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":50331648}}");
	assert_int_equal(wanted_pages(), 4096);
	assert_true(balloon_left(fd) == 64 * MIB);
	move_pages(0, 0, 1024);
	say_actual(1024);
	expect_balloon_change(fd, 60 * MIB);
	assert_true(balloon_left(fd) == 60 * MIB);
	/* What memory devices give counts. */
	add_backend(fd, "mem0", 128);
	add_dimm(fd, "dimm0", "mem0");
	assert_true(balloon_left(fd) == 188 * MIB);
	peer_expect_ok(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":\"188M\"}}");
	assert_int_equal(wanted_pages(), 1024);
	/* More than there is: all of it. */
	peer_expect_ok(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":\"1T\"}}");
	assert_int_equal(wanted_pages(), 0);
	/* The guest may lie. */
	say_actual(UINT32_MAX);
	expect_balloon_change(fd, 0);
	assert_int_equal(balloon_left(fd), 0);
	close(fd);
}

/* As many changes as it likes: clients hear of some, and of the last one. */
static void a_storm_of_changes_is_thinned_out(void **state)
{
	int fd = peer_greet(), heard = 0;
	uint64_t left = 0, began, took_ms;

	(void)state;
	load_drivers();
	began = now_ms();
	for (uint32_t i = 1; i <= 400; i++) {
		say_actual(i);
		usleep(1000);
	}
	while (left != 64 * MIB - 400 * SAMARA_PAGE_BYTES) {
		json_t *data = peer_expect_event(fd, "BALLOON_CHANGE");

		left = number_in(data, "actual");
		json_decref(data);
		heard++;
	}
	/* It took 400 ms at least, and maybe much more on a busy host. */
	took_ms = now_ms() - began;
	assert_in_range(heard, 2, took_ms / QMP_THROTTLE_MS + 2);
	usleep(2 * QMP_THROTTLE_MS * 1000);
	peer_expect_silence(fd);
	/* Each device has its own. */
	peer_expect_ok(fd, set_text("vm0", "requested-size", "\"8M\""));
	say_actual(0);
	expect_balloon_change(fd, 64 * MIB);
	assert_int_equal(ask_mem(VIRTIO_MEM_REQ_PLUG, 0, 8 * MIB), VIRTIO_MEM_RESP_ACK);
	expect_size_change(fd, 8 * MIB);
	close(fd);
}

/* The two are there from the start, by a domain's currentMemory and its balloon's stats. */
static void a_balloon_can_be_asked_from_the_start(void **state)
{
	struct samara_error err = {0};
	int fd = peer_greet();

	(void)state;
	balloon_destroy(virtio.balloon);
	virtio.balloon_options.left_bytes = 32 * MIB;
	virtio.balloon_options.stats_period_s = 7;
	assert_int_equal(create_balloon(&virtio.balloon, &err), 0);
	straw.balloon = balloon_control(virtio.balloon);
	virtio_mmio_init(&virtio.balloon_mmio,
			 virtio_balloon_device(balloon_device(virtio.balloon)));
	assert_int_equal(wanted_pages(), 8192);
	assert_int_equal(number_of(fd, BALLOON_ID, "guest-stats-polling-interval"), 7);
	close(fd);
}

static void statistics_are_asked_for(void **state)
{
	const struct virtio_balloon_stat tell[] = {
		{VIRTIO_BALLOON_S_MEMFREE, 12345678},
		{VIRTIO_BALLOON_S_MEMTOT, UINT64_MAX - 1}, /* no number that JSON has */
		{VIRTIO_BALLOON_S_SWAP_IN, 0},
	};
	const struct driver_buffer buffer = {MESSAGE + 0x2000, sizeof(tell), false};
	int fd = peer_greet(), tries = 0;
	json_t *result, *stats;

	(void)state;
	load_drivers();
	result = get_property(fd, BALLOON_ID, "guest-stats");
	stats = json_object_get(result, "stats");
	assert_int_equal(json_object_size(stats), 16);
	assert_int_equal(number_in(stats, "stat-free-memory"), -1);
	assert_int_equal(number_in(result, "last-update"), 0);
	json_decref(result);

	memcpy(guest_at(&virtio.guest, buffer.gpa), tell, sizeof(tell));
	driver_add(&virtio.pages[2], &buffer, 1, 0);
	driver_write(&virtio.balloon_mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	peer_expect_ok(fd, set_text(BALLOON_ID, "guest-stats-polling-interval", "2"));
	assert_int_equal(number_of(fd, BALLOON_ID, "guest-stats-polling-interval"), 2);
	for (;;) {
		result = get_property(fd, BALLOON_ID, "guest-stats");
		if (number_in(result, "last-update"))
			break;
		json_decref(result);
		assert_true(tries++ < 6000);
		usleep(10000);
	}
	stats = json_object_get(result, "stats");
	assert_int_equal(number_in(stats, "stat-free-memory"), 12345678);
	assert_int_equal(number_in(stats, "stat-total-memory"), -1);
	assert_int_equal(number_in(stats, "stat-swap-in"), 0);
	assert_int_equal(number_in(stats, "stat-swap-out"), -1);
	json_decref(result);
	peer_expect_error(fd, set_text(BALLOON_ID, "guest-stats-polling-interval", "-1"),
			  "GenericError", "seconds");
	peer_expect_error(fd, set_text(BALLOON_ID, "guest-stats-polling-interval", "4294967296"),
			  "GenericError", "seconds");
	peer_expect_error(fd, set_text(BALLOON_ID, "guest-stats", "{}"), "GenericError",
			  "not writable");
	assert_int_equal(number_of(fd, BALLOON_ID, "guest-stats-polling-interval"), 2);
	close(fd);
}

/* ---- samara ctl ---------------------------------------------------------------------------------- */

static void ctl_waits_until_it_is_so(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	assert_int_equal(pthread_create(&virtio.thread, NULL, run_drivers, NULL), 0);
	assert_int_equal(ctl("resize", "576M", NULL, NULL), 0);
	assert_int_equal(plugged_bytes(fd), 512 * MIB);
	assert_int_equal(ctl("resize", "576M", NULL, NULL), 0);
	assert_int_equal(ctl("devices", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("balloon", "568M", NULL, NULL), 0);
	assert_true(balloon_left(fd) == 568 * MIB);
	assert_int_equal(ctl("balloon", "576M", NULL, NULL), 0);
	assert_true(balloon_left(fd) == 576 * MIB);
	assert_int_equal(ctl("resize", "128M", NULL, NULL), 0);
	assert_int_equal(plugged_bytes(fd), 64 * MIB);
	assert_int_equal(ctl("resize", "32M", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("resize", "2G", NULL, NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("balloon", "much", NULL, NULL), SAMARA_EXIT_USAGE);
	virtio.stop = true;
	pthread_join(virtio.thread, NULL);
	/* Nobody is there to do it. */
	assert_int_equal(ctl("balloon", "64M", "--timeout", "1"), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("resize", "64M", "--timeout", "1"), SAMARA_EXIT_FAILURE);
	assert_int_equal(plugged_bytes(fd), 64 * MIB);
	close(fd);
}

/* The guest begins when a DIMM has come, which it has in addition to what it was told to keep. */
static void *run_drivers_after_a_plug(void *arg)
{
	int fd = *(int *)arg;

	while (!wanted_pages())
		usleep(1000);
	add_backend(fd, "more", 64);
	add_dimm(fd, "dimm0", "more");
	return run_drivers(NULL);
}

static void ctl_balloon_looks_at_the_balloon_alone(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	pthread_create(&virtio.thread, NULL, run_drivers_after_a_plug, &fd);
	assert_int_equal(ctl("balloon", "56M", "--timeout", "60"), 0);
	assert_int_equal(plugged_bytes(fd), 64 * MIB);
	assert_true(balloon_left(fd) == 120 * MIB);
	virtio.stop = true;
	pthread_join(virtio.thread, NULL);
	close(fd);
}

/* Somebody else asks for another size. */
static void *ask_for_less(void *arg)
{
	int fd = *(int *)arg;

	while (!wanted_pages())
		usleep(1000);
	peer_expect_ok(fd, "{\"execute\":\"balloon\",\"arguments\":{\"value\":\"62M\"}}");
	return NULL;
}

static void ctl_is_told_that_another_size_is_wanted(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	pthread_create(&virtio.thread, NULL, ask_for_less, &fd);
	assert_int_equal(ctl("balloon", "56M", "--timeout", "600"), SAMARA_EXIT_FAILURE);
	pthread_join(virtio.thread, NULL);
	assert_int_equal(wanted_pages(), 2 * MIB / SAMARA_PAGE_BYTES);
	close(fd);
}

static void ctl_shows_the_balloon(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_drivers();
	assert_int_equal(ctl("balloon", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("balloon", "--interval", "7", "--json"), 0);
	assert_int_equal(number_of(fd, "balloon0", "guest-stats-polling-interval"), 7);
	assert_int_equal(ctl("balloon", "--interval", "-1", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(number_of(fd, "balloon0", "guest-stats-polling-interval"), 7);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_virtio, stop_virtio)
	const struct CMUnitTest tests[] = {
		TEST(a_virtio_mem_is_listed),
		TEST(its_size_changes),
		TEST(a_reset_unplugs),
		TEST(what_can_not_be_is_refused),
		TEST(one_comes_and_goes),
		TEST(what_can_not_come_is_named),
		TEST(a_failed_start_leaves_nothing),
		TEST(the_balloon_takes_and_gives),
		TEST(a_storm_of_changes_is_thinned_out),
		TEST(a_balloon_can_be_asked_from_the_start),
		TEST(statistics_are_asked_for),
		TEST(ctl_waits_until_it_is_so),
		TEST(ctl_balloon_looks_at_the_balloon_alone),
		TEST(ctl_is_told_that_another_size_is_wanted),
		TEST(ctl_shows_the_balloon),
	};

	return cmocka_run_group_tests_name("qmp virtio", tests, make_folder, remove_folder);
}
