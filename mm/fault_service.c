/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The threads that read the userfaultfd and have its faults resolved.
 *
 * A handler never waits for an operation: behind it other vCPUs' faults are queued. A fault that
 * meets an operation, or a protection that holds it, is parked; the retry thread tries it again
 * each time an operation ends. Its vCPU sleeps in the kernel meanwhile, as it does for any fault,
 * and can be interrupted there; what is parked for it is then merely resolved early.
 *
 * Where operations follow each other without a pause, the retry thread might always come when the
 * next one has begun. So the queue thread queues for the tree lock, which is fair: the operation
 * after the present one comes after the faults that wait. It does nothing else that is urgent, as
 * it waits for operations on any range.
 *
 * While a mapping is exchanged (reback), userfaultfd has everybody's UFFDIO_COPY fail with EAGAIN
 * until somebody has read that the mapping moved. Handlers and all who populate try again and again
 * meanwhile; all of them may do so at once. So the event thread reads then: it parks what are
 * faults, and never resolves one.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mm/mm.h"
#include "mm/rank.h"
#include "mm/parked.h"
#include "mm/trace.h"

/*
 * A flag of what is parked, beside GUEST_MM_FAULT_*: it was counted as held, and is not once more,
 * though it is tried each time an operation ends.
 */
#define COUNTED_HELD     0x400u

/* A host that is short of memory is asked again after this time. */
#define TROUBLE_RETRY_NS UINT64_C(10000000)

/**
 * struct fault_service - one per guest_mm
 *
 * Lock key: I immutable while the threads run; l @lock. Rank of @lock: innermost.
 */
struct fault_service {
	struct guest_mm *mm;    /* I */
	int stop_fd;            /* I: an eventfd, readable once the handlers shall end */
	unsigned int handlers;  /* I */
	pthread_t *handler;     /* I */
	pthread_t retry_thread; /* I */
	pthread_t queue_thread; /* I */
	pthread_t event_thread; /* I */
	pthread_mutex_t lock;
	pthread_cond_t wake;   /* of the retry thread; with CLOCK_MONOTONIC */
	pthread_cond_t queue;  /* of the queue thread */
	pthread_cond_t events; /* of the event thread */
	struct parked parked;  /* l */
	unsigned int trying;   /* l: threads that have taken what was parked and try it */
	bool again;            /* l: something changed, try what is parked */
	bool busy;             /* l: something parked waits for an operation */
	bool moving;           /* l: a mapping is being exchanged */
	bool stop;             /* l */
};

/* Have the queue thread see to a fault that met an operation. Context: lock held. */
static void queue_locked(struct fault_service *service)
{
	service->busy = true;
	pthread_cond_signal(&service->queue);
}

static int park(struct fault_service *service, gpa_t gpa, unsigned int flags, bool busy)
{
	int ret;

	ranked_lock(&service->lock, RANK_SERVICE);
	ret = parked_add(&service->parked, gpa & ~(SAMARA_PAGE_BYTES - 1), flags);
	/* The operation may have ended before the fault was in the list: look once more. */
	if (ret != -EALREADY) {
		service->again = true;
		pthread_cond_signal(&service->wake);
	}
	if (busy)
		queue_locked(service);
	ranked_unlock(&service->lock, RANK_SERVICE);
	return ret;
}

static void handle_fault(struct fault_service *service, gpa_t gpa, unsigned int flags)
{
	struct guest_mm *mm = service->mm;
	struct timespec pause = {.tv_nsec = 1000000};
	int ret, parked;

	for (;;) {
		ret = guest_mm_fault(mm, gpa, flags | GUEST_MM_FAULT_NOWAIT);
		if (ret == GUEST_MM_FAULT_DONE || ret == GUEST_MM_FAULT_NOTHING)
			return;
		if (ret < 0)
			mm_count(&mm->counters.fault_errors, 1);
		parked = park(service, gpa,
			      ret == GUEST_MM_FAULT_HELD ? flags | COUNTED_HELD : flags,
			      ret == GUEST_MM_FAULT_BUSY);
		if (!parked && ret == GUEST_MM_FAULT_BUSY)
			mm_count(&mm->counters.faults_deferred, 1);
		else if (!parked && ret == GUEST_MM_FAULT_HELD)
			mm_count(&mm->counters.faults_held, 1);
		SAMARA_PROBE3(fault_deferred, gpa, flags, ret);
		if (parked != -ENOMEM)
			return;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
}

/* Which fault a message is about. Return: whether it is one, in a window. */
static bool fault_of(struct guest_mm *mm, const struct uffd_msg *message, gpa_t *gpa,
		     unsigned int *flags)
{
	uint64_t address = message->arg.pagefault.address;

	if (message->event != UFFD_EVENT_PAGEFAULT)
		return false;
	*flags = 0;
	if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE)
		*flags |= GUEST_MM_FAULT_WRITE;
	if (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
		*flags |= GUEST_MM_FAULT_PROTECT;
	for (unsigned int i = 0; i < mm_window_count(mm); i++) {
		struct window *window = &mm->windows[i];
		uint64_t offset = address - (uintptr_t)window->hva;

		if (offset < window->size_bytes) {
			*gpa = window->gpa + offset;
			return true;
		}
	}
	return false;
}

static void handle_message(struct fault_service *service, const struct uffd_msg *message)
{
	unsigned int flags;
	gpa_t gpa;

	if (fault_of(service->mm, message, &gpa, &flags))
		handle_fault(service, gpa, flags);
}

/* Read everything that is there; park what are faults. */
static void read_events(struct fault_service *service)
{
	struct guest_mm *mm = service->mm;
	struct uffd_msg message;
	unsigned int flags;
	gpa_t gpa;

	for (unsigned int i = 0; i < mm->uffd_count; i++)
		while (read(mm->uffd[i].fd, &message, sizeof(message)) == sizeof(message))
			/* One that cannot be parked is not lost: its vCPU tries again. */
			if (fault_of(mm, &message, &gpa, &flags) &&
			    park(service, gpa, flags, true) == -ENOMEM)
				window_wake(mm_window(mm, gpa, 1), gpa & ~(SAMARA_PAGE_BYTES - 1),
					    SAMARA_PAGE_BYTES);
}

static void *event_main(void *arg)
{
	struct fault_service *service = arg;
	struct timespec pause = {.tv_nsec = 20000};

	ranked_lock(&service->lock, RANK_SERVICE);
	while (!service->stop) {
		if (!service->moving) {
			pthread_cond_wait(&service->events, &service->lock);
			continue;
		}
		ranked_unlock(&service->lock, RANK_SERVICE);
		read_events(service);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		ranked_lock(&service->lock, RANK_SERVICE);
	}
	ranked_unlock(&service->lock, RANK_SERVICE);
	return NULL;
}

void fault_service_moving(struct guest_mm *mm, bool moving)
{
	struct fault_service *service = mm->service;

	ranked_lock(&service->lock, RANK_SERVICE);
	service->moving = moving;
	pthread_cond_signal(&service->events);
	ranked_unlock(&service->lock, RANK_SERVICE);
}

#define STOP UINT32_MAX

/*
 * EPOLLEXCLUSIVE: a fault wakes one handler, not all of them. Each handler watches every
 * userfaultfd: what divides vCPUs is the lock and the queue within each, not who reads it.
 */
static int watch(struct fault_service *service)
{
	struct epoll_event faults = {.events = EPOLLIN | EPOLLEXCLUSIVE};
	struct epoll_event stop = {.events = EPOLLIN, .data.u32 = STOP};
	int epoll = epoll_create1(EPOLL_CLOEXEC), ret;

	if (epoll < 0)
		return -errno;
	ret = epoll_ctl(epoll, EPOLL_CTL_ADD, service->stop_fd, &stop);
	for (unsigned int i = 0; i < service->mm->uffd_count && !ret; i++) {
		faults.data.u32 = i;
		ret = epoll_ctl(epoll, EPOLL_CTL_ADD, service->mm->uffd[i].fd, &faults);
	}
	if (ret) {
		ret = -errno;
		close(epoll);
		return ret;
	}
	return epoll;
}

static void *handler_main(void *arg)
{
	struct fault_service *service = arg;
	struct epoll_event event;
	struct uffd_msg message;
	int epoll;

	/*
	 * Handlers that cannot watch leave the work to the others; the first one was tried at
	 * start.
	 */
	epoll = watch(service);
	while (epoll >= 0) {
		if (epoll_wait(epoll, &event, 1, -1) < 1)
			continue;
		if (event.data.u32 == STOP)
			break;
		while (read(service->mm->uffd[event.data.u32].fd, &message, sizeof(message)) ==
		       sizeof(message))
			handle_message(service, &message);
	}
	if (epoll >= 0)
		close(epoll);
	return NULL;
}

/* Keep one that was tried for the next time. */
static void park_again(struct fault_service *service, gpa_t page, unsigned int flags, int why)
{
	struct guest_mm *mm = service->mm;
	bool held = why == GUEST_MM_FAULT_HELD && !(flags & COUNTED_HELD);
	int ret;

	ranked_lock(&service->lock, RANK_SERVICE);
	if (why == GUEST_MM_FAULT_BUSY)
		queue_locked(service);
	ret = parked_add(&service->parked, page, held ? flags | COUNTED_HELD : flags);
	/* It must not be lost. Its vCPU tries again and is seen again. */
	if (ret == -ENOMEM)
		window_wake(mm_window(mm, page, 1), page, SAMARA_PAGE_BYTES);
	ranked_unlock(&service->lock, RANK_SERVICE);
	mm_count(&mm->counters.faults_held, held && !ret);
}

/* Try all of these once. Return: whether something failed for want of resources. */
static bool try_parked(struct fault_service *service, struct parked *faults)
{
	struct guest_mm *mm = service->mm;
	bool trouble = false;
	unsigned int flags;
	gpa_t page;

	for (size_t at = 0; parked_next(faults, &at, &page, &flags);) {
		int ret = guest_mm_fault(mm, page, (flags & ~COUNTED_HELD) | GUEST_MM_FAULT_NOWAIT);

		if (ret == GUEST_MM_FAULT_DONE || ret == GUEST_MM_FAULT_NOTHING)
			continue;
		trouble |= ret < 0;
		mm_count(&mm->counters.fault_errors, ret < 0);
		park_again(service, page, flags, ret);
	}
	parked_free(faults);
	return trouble;
}

/* Sleep until there is something to try, a stray page is old enough, or @left_ns have passed. */
static void wait_for_work(struct fault_service *service, uint64_t left_ns)
{
	struct timespec until;

	if (left_ns == UINT64_MAX) {
		pthread_cond_wait(&service->wake, &service->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	left_ns += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(left_ns / 1000000000);
	until.tv_nsec = (long)(left_ns % 1000000000);
	pthread_cond_timedwait(&service->wake, &service->lock, &until);
}

static void *retry_main(void *arg)
{
	struct fault_service *service = arg;
	uint64_t left_ns, slow_ns;
	bool trouble = false;

	ranked_lock(&service->lock, RANK_SERVICE);
	while (!service->stop) {
		if (service->again || (trouble && service->parked.count)) {
			struct parked faults = parked_take(&service->parked);

			service->again = false;
			service->trying++;
			ranked_unlock(&service->lock, RANK_SERVICE);
			trouble = try_parked(service, &faults);
			ranked_lock(&service->lock, RANK_SERVICE);
			service->trying--;
		}
		ranked_unlock(&service->lock, RANK_SERVICE);
		left_ns = stray_expire(service->mm);
		slow_ns = slow_watch(service->mm);
		if (left_ns > slow_ns)
			left_ns = slow_ns;
		if (trouble && left_ns > TROUBLE_RETRY_NS)
			left_ns = TROUBLE_RETRY_NS;
		ranked_lock(&service->lock, RANK_SERVICE);
		if (!service->again && !service->stop)
			wait_for_work(service, left_ns);
	}
	ranked_unlock(&service->lock, RANK_SERVICE);
	return NULL;
}

static void *queue_main(void *arg)
{
	struct fault_service *service = arg;
	struct region_tree *tree = service->mm->tree;
	struct parked faults;
	bool trouble;

	ranked_lock(&service->lock, RANK_SERVICE);
	while (!service->stop) {
		if (!service->busy) {
			pthread_cond_wait(&service->queue, &service->lock);
			continue;
		}
		ranked_unlock(&service->lock, RANK_SERVICE);
		lock_tree_read(tree);
		ranked_lock(&service->lock, RANK_SERVICE);
		service->busy = false;
		faults = parked_take(&service->parked);
		service->trying++;
		ranked_unlock(&service->lock, RANK_SERVICE);
		/* No operation is on its way now: nothing is busy. */
		trouble = try_parked(service, &faults);
		unlock_tree_read(tree);
		ranked_lock(&service->lock, RANK_SERVICE);
		service->trying--;
		/* What failed for want of resources is the retry thread's. */
		if (trouble) {
			service->again = true;
			pthread_cond_signal(&service->wake);
		}
	}
	ranked_unlock(&service->lock, RANK_SERVICE);
	return NULL;
}

/*
 * Waking a thread costs more than many an operation, so it is done only when there is something to
 * try. A fault that is neither in the list nor among those being tried looks again when it is
 * parked.
 */
void fault_service_retry(struct guest_mm *mm)
{
	struct fault_service *service = mm->service;

	ranked_lock(&service->lock, RANK_SERVICE);
	if (service->parked.count || service->trying) {
		service->again = true;
		pthread_cond_signal(&service->wake);
	}
	ranked_unlock(&service->lock, RANK_SERVICE);
}

void fault_service_stray(struct guest_mm *mm)
{
	struct fault_service *service = mm->service;

	ranked_lock(&service->lock, RANK_SERVICE);
	service->again = true;
	pthread_cond_signal(&service->wake);
	ranked_unlock(&service->lock, RANK_SERVICE);
}

static void init_sync(struct fault_service *service)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&service->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&service->wake, &attr);
	pthread_cond_init(&service->queue, NULL);
	pthread_cond_init(&service->events, NULL);
	pthread_condattr_destroy(&attr);
}

/* Signals are for the program's own threads. */
static int start_thread(pthread_t *thread, const char *name, void *(*entry)(void *), void *arg)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(thread, NULL, entry, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!ret)
		pthread_setname_np(*thread, name);
	return -ret;
}

/*
 * Keep a handler on the @which-th CPU that the caller may use, round and round. Handlers that the
 * scheduler moves about are woken across CPUs now and then, which is dear: a fault took 9.1 to 14.2
 * us in the middle, 8.8 to 9.6 with handlers that stay. Where it cannot be, it is left alone.
 */
static void keep_on_cpu(pthread_t thread, unsigned int which)
{
	cpu_set_t allowed, one;
	int count;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	count = CPU_COUNT(&allowed);
	which %= (unsigned int)(count ? count : 1);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !which--)
			CPU_SET(cpu, &one);
	pthread_setaffinity_np(thread, sizeof(one), &one);
}

static void stop_handlers(struct fault_service *service)
{
	uint64_t one = 1;
	ssize_t written = write(service->stop_fd, &one, sizeof(one));

	(void)written; /* an eventfd takes its first 1 always */
	for (unsigned int i = 0; i < service->handlers; i++)
		pthread_join(service->handler[i], NULL);
}

static void tell_to_stop(struct fault_service *service)
{
	ranked_lock(&service->lock, RANK_SERVICE);
	service->stop = true;
	pthread_cond_signal(&service->wake);
	pthread_cond_signal(&service->queue);
	pthread_cond_signal(&service->events);
	ranked_unlock(&service->lock, RANK_SERVICE);
}

int fault_service_start(struct guest_mm *mm, unsigned int threads, bool anywhere,
			struct samara_error *err)
{
	struct fault_service *service = calloc(1, sizeof(*service));
	int ret, probe;

	if (!service)
		return samara_error_set(err, -ENOMEM, "fault handlers: out of memory");
	service->mm = mm;
	init_sync(service);
	service->handler = calloc(threads, sizeof(*service->handler));
	service->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = !service->handler ? -ENOMEM : service->stop_fd < 0 ? -errno : 0;
	if (ret)
		goto fail;
	probe = watch(service);
	if (probe < 0) {
		ret = probe;
		goto fail;
	}
	close(probe);
	ret = start_thread(&service->retry_thread, "fault-retry", retry_main, service);
	if (ret)
		goto fail;
	ret = start_thread(&service->queue_thread, "fault-queue", queue_main, service);
	if (ret) {
		tell_to_stop(service);
		pthread_join(service->retry_thread, NULL);
		goto fail;
	}
	ret = start_thread(&service->event_thread, "fault-events", event_main, service);
	if (ret) {
		tell_to_stop(service);
		pthread_join(service->retry_thread, NULL);
		pthread_join(service->queue_thread, NULL);
		goto fail;
	}
	mm->service = service;
	for (; service->handlers < threads; service->handlers++) {
		ret = start_thread(&service->handler[service->handlers], "fault", handler_main,
				   service);
		if (ret)
			break;
		if (!anywhere)
			keep_on_cpu(service->handler[service->handlers], service->handlers);
	}
	if (ret) {
		fault_service_stop(mm);
		return samara_error_set(err, ret, "fault handlers: %s", strerror(-ret));
	}
	return 0;
fail:
	samara_error_set(err, ret, "fault handlers: %s", strerror(-ret));
	if (service->stop_fd >= 0)
		close(service->stop_fd);
	free(service->handler);
	free(service);
	return ret;
}

void fault_service_stop(struct guest_mm *mm)
{
	struct fault_service *service = mm->service;

	stop_handlers(service);
	tell_to_stop(service);
	pthread_join(service->retry_thread, NULL);
	pthread_join(service->queue_thread, NULL);
	pthread_join(service->event_thread, NULL);
	pthread_cond_destroy(&service->wake);
	pthread_cond_destroy(&service->queue);
	pthread_cond_destroy(&service->events);
	pthread_mutex_destroy(&service->lock);
	close(service->stop_fd);
	free(service->handler);
	parked_free(&service->parked);
	free(service);
	mm->service = NULL;
}
