/* A CUDA driver without a GPU: its memory is the host's, and what is put on a stream is done at once.
 *
 * It has what mmedge's adapters reach of a driver through cuda.bindings and cuda.core, and what these
 * ask for themselves; it refuses arguments that a driver would refuse. Compile it with -DSTATUS=100
 * for a driver that finds no GPU.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201 };
#define TOTAL ((size_t)1 << 30)
#define REFUSE_UNLESS(condition) if (!(condition)) return INVALID_VALUE

typedef int Result;
typedef void *Handle;
typedef unsigned long long Address;

static Handle context = NULL;
static size_t held = 0;

Result cuInit(unsigned flags) { return flags ? INVALID_VALUE : STATUS; }
Result cuDriverGetVersion(int *version) { *version = 13000; return OK; }
Result cuGetErrorName(int code, const char **name) {
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR";
    return OK;
}
Result cuGetErrorString(int code, const char **text) { return cuGetErrorName(code, text); }

Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal; }
Result cuDeviceGetCount(int *count) { *count = 1; return OK; }
Result cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Host", size); return OK; }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = TOTAL; return OK; }
Result cuDeviceGetAttribute(int *value, int which, int device) {
    /* CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT 16, INTEGRATED 18, COMPUTE_CAPABILITY 75 and 76. */
    *value = which == 16 ? 28 : which == 18 ? 0 : which == 75 ? 8 : which == 76 ? 6 : 1;
    return device ? INVALID_VALUE : OK;
}

Result cuDevicePrimaryCtxRetain(Handle *c, int device) { *c = (Handle)0x1000; return OK; }
Result cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
Result cuCtxSetCurrent(Handle c) { context = c; return OK; }
Result cuCtxGetCurrent(Handle *c) { *c = context; return OK; }
Result cuCtxPushCurrent_v2(Handle c) { context = c; return OK; }
Result cuCtxPopCurrent_v2(Handle *c) { *c = context; return OK; }
Result cuCtxGetDevice(int *device) { *device = 0; return context ? OK : INVALID_CONTEXT; }
Result cuCtxGetStreamPriorityRange(int *least, int *most) { *least = 0; *most = -5; return OK; }

/* Streams of mmedge do not wait for the default stream: CU_STREAM_NON_BLOCKING is 1. */
Result cuStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) {
    *stream = malloc(8);
    return flags == 1 ? OK : INVALID_VALUE;
}
Result cuStreamDestroy_v2(Handle stream) { free(stream); return OK; }
Result cuStreamSynchronize(Handle stream) { return OK; }
Result cuStreamGetFlags(Handle stream, unsigned *flags) { *flags = 1; return OK; }
Result cuStreamGetPriority(Handle stream, int *priority) { *priority = 0; return OK; }
Result cuStreamGetCtx(Handle stream, Handle *c) { *c = (Handle)0x1000; return OK; }
Result cuStreamIsCapturing(Handle stream, int *status) { *status = 0; return OK; }

/* Flags of 0 are an event with timing. */
Result cuEventCreate(Handle *event, unsigned flags) {
    *event = calloc(1, sizeof(struct timespec));
    return flags ? INVALID_VALUE : OK;
}
Result cuEventDestroy_v2(Handle event) { free(event); return OK; }
Result cuEventRecord(Handle event, Handle stream) { return clock_gettime(CLOCK_MONOTONIC, event); }
Result cuEventSynchronize(Handle event) { return OK; }
Result cuEventElapsedTime(float *ms, Handle start, Handle end) {
    struct timespec *from = start, *to = end;
    *ms = (to->tv_sec - from->tv_sec) * 1e3 + (to->tv_nsec - from->tv_nsec) / 1e6;
    return OK;
}
Result cuEventElapsedTime_v2(float *ms, Handle start, Handle end) {
    return cuEventElapsedTime(ms, start, end);
}

/* A block knows its size: it stands before the address that is given out. */
static void *take(size_t bytes) {
    char *block = aligned_alloc(256, (bytes + 511) / 256 * 256);
    *(size_t *)block = bytes;
    held += bytes;
    return block + 256;
}
static void give_back(void *address) {
    char *block = (char *)address - 256;
    held -= *(size_t *)block;
    free(block);
}
Result cuMemAlloc_v2(Address *address, size_t bytes) {
    REFUSE_UNLESS(bytes);
    if (!context) return INVALID_CONTEXT;
    if (held + bytes > TOTAL) return OUT_OF_MEMORY;
    *address = (Address)take(bytes);
    return OK;
}
Result cuMemFree_v2(Address address) { give_back((void *)address); return OK; }
Result cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
    REFUSE_UNLESS(bytes && (flags == 0 || flags == 2)); /* CU_MEMHOSTALLOC_DEVICEMAP is 2 */
    *address = take(bytes);
    return OK;
}
Result cuMemFreeHost(void *address) { give_back(address); return OK; }
Result cuMemHostGetDevicePointer_v2(Address *mapped, void *address, unsigned flags) {
    REFUSE_UNLESS(flags == 0);
    *mapped = (Address)address;
    return OK;
}
Result cuMemGetInfo_v2(size_t *left, size_t *total) {
    *total = TOTAL;
    *left = TOTAL - held;
    return OK;
}
Result cuMemcpyAsync(Address target, Address source, size_t bytes, Handle stream) {
    REFUSE_UNLESS(stream);
    memcpy((void *)target, (void *)source, bytes);
    return OK;
}

/* CU_STREAM_CAPTURE_MODE_RELAXED is 2. What is put on a stream meanwhile is done, not kept. */
static int capturing = 0;
Result cuStreamBeginCapture_v2(Handle stream, int mode) {
    REFUSE_UNLESS(stream && mode == 2 && !capturing);
    capturing = 1;
    return OK;
}
Result cuStreamEndCapture(Handle stream, Handle *graph) {
    REFUSE_UNLESS(stream && capturing);
    capturing = 0;
    *graph = malloc(8);
    return OK;
}
Result cuGraphInstantiateWithFlags(Handle *executable, Handle graph, Address flags) {
    REFUSE_UNLESS(graph && flags == 0);
    *executable = malloc(8);
    return OK;
}
Result cuGraphLaunch(Handle executable, Handle stream) {
    return executable && stream ? OK : INVALID_VALUE;
}
Result cuGraphDestroy(Handle graph) { free(graph); return OK; }
Result cuGraphExecDestroy(Handle executable) { free(executable); return OK; }

/* Callers name functions without the versions that their names have in the library. */
Result cuGetProcAddress_v2(const char *name, void **function, int version, Address flags, int *status) {
    static const char *const versions[] = {"_v3", "_v2", ""};
    char symbol[200];
    *function = NULL;
    for (int i = 0; i < 3 && !*function; i++) {
        snprintf(symbol, sizeof symbol, "%s%s", name, versions[i]);
        *function = dlsym(RTLD_DEFAULT, symbol);
    }
    if (status) *status = *function ? 0 : 1;
    return OK;
}
Result cuGetProcAddress(const char *name, void **function, int version, Address flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
