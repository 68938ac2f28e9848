/* A Vulkan driver that loses its device, for tests. It forwards every call to the driver in LANGEVIN_TEST_DRIVER. From
 * the n-th call of the kind in LANGEVIN_TEST_LOSE on ("wait:n" or "submit:n"), all calls that can report the loss of
 * the device return VK_ERROR_DEVICE_LOST. With LANGEVIN_TEST_RECOVER, a device that is created later is not lost. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LOST (-4)
#define EXPORT __attribute__((visibility("default")))

typedef void (*Function)(void);
typedef Function (*GetProc)(void *, const char *);
typedef int32_t (*Fences)(void *, uint32_t, const void *, uint32_t, uint64_t);
typedef int32_t (*Semaphores)(void *, const void *, uint64_t);
typedef int32_t (*Submit)(void *, uint32_t, const void *, uint64_t);
typedef int32_t (*Status)(void *, uint64_t);
typedef int32_t (*Counter)(void *, uint64_t, uint64_t *);
typedef int32_t (*Idle)(void *);
typedef int32_t (*Create)(void *, const void *, const void *, void **);

static int waits, submits, lost, recovered;

/* Counts a call of a kind. Returns whether the device is lost. */
static int counted(const char *kind, int *calls) {
    const char *text = getenv("LANGEVIN_TEST_LOSE");
    size_t length = strlen(kind);
    int call = __sync_add_and_fetch(calls, 1);
    if (text && !recovered && !strncmp(text, kind, length) && call >= atoi(text + length)) {
        lost = 1;
    }
    return lost;
}

static Fences fences;
static int32_t wait_fences(void *device, uint32_t n, const void *list, uint32_t all, uint64_t timeout) {
    /* The work is completed before the loss, so that the driver below is not left with work in flight. */
    int32_t result = fences(device, n, list, all, timeout);
    return counted("wait:", &waits) ? LOST : result;
}

static Semaphores semaphores;
static int32_t wait_semaphores(void *device, const void *info, uint64_t timeout) {
    int32_t result = semaphores(device, info, timeout);
    return counted("wait:", &waits) ? LOST : result;
}

static Submit submit, submit2;
static int32_t queue_submit(void *queue, uint32_t n, const void *list, uint64_t fence) {
    return counted("submit:", &submits) ? LOST : submit(queue, n, list, fence);
}
static int32_t queue_submit2(void *queue, uint32_t n, const void *list, uint64_t fence) {
    return counted("submit:", &submits) ? LOST : submit2(queue, n, list, fence);
}

static Status status;
static int32_t fence_status(void *device, uint64_t fence) { return lost ? LOST : status(device, fence); }

static Counter counter;
static int32_t semaphore_counter(void *device, uint64_t semaphore, uint64_t *value) {
    return lost ? LOST : counter(device, semaphore, value);
}

static Idle device_idle, queue_idle;
static int32_t device_wait(void *device) {
    int32_t result = device_idle(device);
    return lost ? LOST : result;
}
static int32_t queue_wait(void *queue) {
    int32_t result = queue_idle(queue);
    return lost ? LOST : result;
}

static Create create;
static int32_t create_device(void *adapter, const void *info, const void *allocator, void **device) {
    if (lost && getenv("LANGEVIN_TEST_RECOVER")) {
        lost = 0;
        recovered = 1;
    }
    return create(adapter, info, allocator, device);
}

static GetProc device_proc;
static Function wrapped(const char *name, Function real);
static Function get_device_proc(void *device, const char *name) { return wrapped(name, device_proc(device, name)); }

/* The function that takes the place of `real`. */
static Function wrapped(const char *name, Function real) {
#define WRAP(vulkan, slot, own)      \
    if (!strcmp(name, vulkan)) {     \
        *(Function *)&(slot) = real; \
        return (Function)(own);      \
    }
    if (!real) {
        return real;
    }
    WRAP("vkGetDeviceProcAddr", device_proc, get_device_proc)
    WRAP("vkCreateDevice", create, create_device)
    WRAP("vkWaitForFences", fences, wait_fences)
    WRAP("vkWaitSemaphores", semaphores, wait_semaphores)
    WRAP("vkWaitSemaphoresKHR", semaphores, wait_semaphores)
    WRAP("vkQueueSubmit", submit, queue_submit)
    WRAP("vkQueueSubmit2", submit2, queue_submit2)
    WRAP("vkQueueSubmit2KHR", submit2, queue_submit2)
    WRAP("vkGetFenceStatus", status, fence_status)
    WRAP("vkGetSemaphoreCounterValue", counter, semaphore_counter)
    WRAP("vkGetSemaphoreCounterValueKHR", counter, semaphore_counter)
    WRAP("vkDeviceWaitIdle", device_idle, device_wait)
    WRAP("vkQueueWaitIdle", queue_idle, queue_wait)
    return real;
}

/* Keeps this library, with its counters, when the instance of Vulkan is destroyed. */
__attribute__((constructor)) static void stay(void) {
    Dl_info self;
    if (dladdr((void *)(uintptr_t)stay, &self)) {
        dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
    }
}

static Function exported(const char *name) {
    const char *path = getenv("LANGEVIN_TEST_DRIVER");
    void *driver = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    return driver ? (Function)dlsym(driver, name) : NULL;
}

EXPORT int32_t vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    int32_t (*real)(uint32_t *) = (int32_t (*)(uint32_t *))exported("vk_icdNegotiateLoaderICDInterfaceVersion");
    return real ? real(version) : -3;
}

EXPORT Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    static GetProc real;
    real = real ? real : (GetProc)exported("vk_icdGetInstanceProcAddr");
    return real ? wrapped(name, real(instance, name)) : NULL;
}

EXPORT Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    static GetProc real;
    real = real ? real : (GetProc)exported("vk_icdGetPhysicalDeviceProcAddr");
    return real ? real(instance, name) : NULL;
}
